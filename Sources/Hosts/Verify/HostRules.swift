import Adapters
import Files
import Formats
import Tensor

/// Which factor before `B · A` each host applies to an adapter as it lies in its file, and what it refuses. The rules are
/// those of the versions in docs/hosts.md, which says which were run and which were read.
struct HostRules {
    private enum File {
        case peft, diffusers
        case kohya(hasAlphas: Bool)
        case gguf
        case onnxAdapter([ONNXAdapter.Signature])
        case other
    }

    private let adapter: Adapter
    private let file: File
    private let layerCount: Int?
    private let tiesEmbeddings: Bool
    /// Of a PEFT folder; of another file, as it would be in one.
    private let config: PEFTConfig

    private var modules: [ModuleShape] { adapter.layout.modules }

    init(_ adapter: Adapter, path: String, base: BaseWeights?) throws(LoragenError) {
        self.adapter = adapter
        layerCount = base?.layerCount
        tiesEmbeddings = base?.hasTiedEmbeddings ?? false
        let configPath = joinPath(path, PEFTConfig.fileName)
        if try PathKind.of(path) == .folder {
            file = .peft
            config = try PEFTConfig(path: configPath)
            return
        }
        var found = File.other
        // As reading does, by the first bytes.
        let mapped = try MappedFile(path: path)
        let (isGGUF, isONNXAdapter) = withExtendedLifetime(mapped) {
            (GGUFFile.isOne(mapped.bytes), ONNXAdapter.isOne(mapped.bytes))
        }
        if isGGUF { found = .gguf }
        if isONNXAdapter { found = .onnxAdapter(try ONNXAdapter.signatures(path: path)) }
        if path.hasSuffix(".safetensors") {
            let tensors = try SafetensorsFile(path: path)
            if tensors.metadata[AdapterFile.layoutKey] == nil {
                if KohyaFile.recognises(tensors) {
                    found = .kohya(hasAlphas: tensors.tensors.contains { $0.name.hasSuffix(".alpha") })
                } else if DiffusersFile.recognises(tensors) {
                    found = .diffusers
                }
            }
        }
        file = found
        config = try PEFTConfig(json: PEFTConfig.json(for: adapter.layout, metadata: adapter.metadata), source: path)
    }

    /// What each host does with it, on a base model that it does not fit in `misfits`.
    func verdicts(given misfits: Misfits) -> [HostVerdict] {
        let verdicts = alone
        return misfits.isEmpty ? verdicts : verdicts.map { limited($0, misfits) }
    }

    /// Hosts that leave out what the base model does not have; others refuse the adapter.
    private static let lenient = ["PEFT", "diffusers", "ComfyUI"]

    private func limited(_ verdict: HostVerdict, _ misfits: Misfits) -> HostVerdict {
        if verdict.outcome == .refused { return verdict }
        if misfits.lacksInputs {
            return refused(
                verdict.host,
                "the model takes no adapter of these names; prepare it with loragen apply MODEL ADAPTER --inputs"
            )
        }
        if let name = misfits.misshapen.min(by: precedes) {
            return refused(verdict.host, "'\(name)' does not fit the base model's weight")
        }
        guard let name = misfits.missing.min(by: precedes) else { return verdict }
        let count = misfits.missing.count
        let what = "\(count) of \(modules.count) modules are not in the base model ('\(name)')"
        guard Self.lenient.contains(where: { verdict.host.hasPrefix($0) }) else { return refused(verdict.host, what) }
        return HostVerdict(
            host: verdict.host, outcome: .partial, scale: count >= modules.count ? nil : verdict.scale,
            reason: "\(what) and are left out" + (verdict.reason.isEmpty ? "" : "; \(verdict.reason)"))
    }

    /// The parameters of an .onnx_adapter file that are no inputs of a model, or of another type or shape.
    func lackingInputs(of model: ONNXGraph) throws(LoragenError) -> [String] {
        guard case .onnxAdapter(let signatures) = file else { return [] }
        let inputs = try model.inputs()
        return signatures.filter { signature in
            guard let input = inputs[ByteKey(signature.name)] else { return true }
            return input.type != signature.type || input.shape.count != signature.shape.count
                || zip(input.shape, signature.shape).contains { $0 != nil && $0 != $1 }
        }.map(\.name)
    }

    private var alone: [HostVerdict] {
        let names = modules.compactMap { DiffusionName($0.name) }
        let isDiffusion = names.count == modules.count
        switch file {
        case .gguf: return [stated("llama.cpp")]
        case .onnxAdapter:
            return [stated("ONNX Runtime 1.31", "for a model with these inputs (loragen apply --inputs, or Olive)")]
        case .diffusers: return [stated("diffusers 0.42"), comfy(names)]
        case .kohya(let hasAlphas): return [kohyaInDiffusers(names, hasAlphas), stated("ComfyUI")]
        case .peft where isDiffusion: return [stated("PEFT 0.21"), comfy(names)]
        case .other where isDiffusion: return []
        case .peft, .other: return [stated("PEFT 0.21"), vLLM, sgLang, tgi, mistral, llama]
        }
    }

    // MARK: Verdicts

    private func range(_ scales: [Double]) -> ClosedRange<Double>? {
        guard let low = scales.min(), let high = scales.max() else { return nil }
        return low...high
    }

    private func stated(_ host: String, _ reason: String = "") -> HostVerdict {
        HostVerdict(host: host, outcome: .asStated, scale: range(modules.map(\.scale)), reason: reason)
    }

    private func refused(_ host: String, _ reason: String) -> HostVerdict {
        HostVerdict(host: host, outcome: .refused, scale: nil, reason: reason)
    }

    /// The verdict on what a host applies to each module.
    private func applied(_ host: String, _ scales: [Double], because reason: String) -> HostVerdict {
        let differs = zip(scales, modules).filter { abs($0 - $1.scale) > 1e-6 * abs($1.scale) }.count
        if differs == 0 { return stated(host) }
        return HostVerdict(
            host: host, outcome: .otherScale, scale: range(scales),
            reason:
                "\(reason); \(differs) of \(modules.count) modules differ. Write the adapter with the scale in its weights "
                + "(loragen convert, without --keep-alpha)")
    }

    private func module(_ condition: (ModuleShape) -> Bool) -> String? { modules.first(where: condition)?.name }

    private var dora: String? { module(\.hasMagnitude) }
    private var convolution: String? { module { $0.kind == .convolution } }

    // MARK: Language models

    private var largestRank: Int { modules.lazy.map(\.rank).max() ?? 0 }

    private var vLLM: HostVerdict {
        let host = "vLLM 0.33"
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        guard let limit = ([1] + PortableForm.ranks).first(where: { $0 >= largestRank }) else {
            return refused(host, "rank \(largestRank) is above 512; cut it")
        }
        return stated(host, limit > 16 ? "start it with --max-lora-rank \(limit); the default is 16" : "")
    }

    private var sgLang: HostVerdict {
        let host = "SGLang 0.5"
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        return applied(
            host, modules.map { _ in config.alpha / Double(config.rank) },
            because: "it reads lora_alpha / r alone, no use_rslora and no patterns")
    }

    private var tgi: HostVerdict {
        let host = "TGI and LoRAX"
        if let dora { return refused(host, "they do not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if let odd = module({ $0.rank != config.rank }) {
            return refused(host, "they stack layers, so all ranks must be \(config.rank); '\(odd)' has another")
        }
        let root = config.scaling == .rankStabilised ? Double(config.rank).squareRoot() : Double(config.rank)
        let verdict = applied(
            host, modules.map { _ in config.alpha / root }, because: "they read no alpha_pattern")
        if verdict.outcome != .asStated { return verdict }
        var present: [String: Set<Int>] = [:]
        for module in modules {
            guard let layer = module.layerIndex, let last = module.name.split(separator: ".").last else { continue }
            present[String(last), default: []].insert(layer)
        }
        let count = layerCount ?? (modules.compactMap(\.layerIndex).max() ?? -1) + 1
        let gaps = present.filter { $0.value.count < count }.keys.sorted(by: precedes)
        if gaps.isEmpty { return verdict }
        return HostVerdict(
            host: host, outcome: .partial, scale: verdict.scale,
            reason:
                "a kind of module that one of the \(count) layers lacks is left out in all: \(gaps.joined(separator: ", ")). "
                + "Write the adapter with --portable --layers \(count), which fills them with zeros")
    }

    private var mistral: HostVerdict {
        let host = "mistral.rs 0.9"
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if let odd = module({ $0.kind == .embedding || $0.name == "lm_head" || $0.name.hasSuffix(".lm_head") }) {
            return refused(host, "it takes neither embeddings nor lm_head ('\(odd)'); leave them out")
        }
        return stated(host)
    }

    private var llama: HostVerdict {
        let host = "llama.cpp (convert_lora_to_gguf.py)"
        if let dora { return refused(host, "it does not take DoRA ('\(dora)')") }
        if let convolution { return refused(host, "'\(convolution)' is a convolution") }
        if tiesEmbeddings, let head = module({ $0.name == "lm_head" || $0.name.hasSuffix(".lm_head") }) {
            return refused(host, "the model has no output layer of its own for '\(head)'; leave it out")
        }
        return applied(
            host, modules.map { config.alpha / Double($0.rank) },
            because: "its converter reads neither use_rslora nor alpha_pattern")
    }

    // MARK: Diffusion models

    private func kohyaInDiffusers(_ names: [DiffusionName], _ hasAlphas: Bool) -> HostVerdict {
        let host = "diffusers 0.42"
        guard hasAlphas, DiffusionModel.of(adapter.layout, names) != .flux else { return stated(host) }
        let counts = Dictionary(grouping: modules.map(\.alpha), by: \.self).mapValues(\.count)
        let common = counts.max { $0.value == $1.value ? $0.key < $1.key : $0.value < $1.value }?.key ?? 1
        let attention: Set<Substring> = ["attn1", "attn2", "self_attn"]
        let scales: [Double] = zip(modules, names).map { module, name in
            let isAttention = !attention.isDisjoint(with: name.path.split(separator: "."))
            return isAttention ? common / Double(module.rank) : module.scale
        }
        return applied(host, scales, because: "it gives attention the most common alpha of the file, \(common)")
    }

    private func comfy(_ names: [DiffusionName]) -> HostVerdict {
        if names.contains(where: { $0.component == .unet }) {
            return refused("ComfyUI", "it knows UNets by kohya's names alone; write --format kohya")
        }
        return applied(
            "ComfyUI", modules.map { _ in 1 }, because: "it takes alpha as the rank where a file has no alphas")
    }
}
