import Adapters
import Files
import Formats
import Tensor

/// Which factor before `B · A` each host applies to an adapter as it lies in its file, and what it refuses. The rules are
/// those of the versions in docs/hosts.md, which says which were run and which were read.
struct HostRules {
    enum File {
        case peft, diffusers
        case kohya(hasAlphas: Bool)
        case gguf
        case onnxAdapter([ONNXAdapter.Signature])
        case other
    }

    let adapter: Adapter
    let file: File
    let layerCount: Int?
    let tiesEmbeddings: Bool
    /// Of a PEFT folder; of another file, as it would be in one.
    let config: PEFTConfig

    var modules: [ModuleShape] { adapter.layout.modules }

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
        guard hosts.find(verdict.host)?.isLenient ?? false else { return refused(verdict.host, what) }
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

    private var alone: [HostVerdict] { hosts.all.compactMap { $0.verdict(self) } }

    /// Of those modules that a diffusion pipeline has.
    var diffusionNames: [DiffusionName] { modules.compactMap { DiffusionName($0.name) } }
    var isOfDiffusion: Bool { diffusionNames.count == modules.count }

    /// Whether it is for a language model, in a file that its hosts load.
    var isOfLanguageModel: Bool {
        switch file {
        case .peft, .other: !isOfDiffusion
        default: false
        }
    }

    // MARK: Verdicts

    private func range(_ scales: [Double]) -> ClosedRange<Double>? {
        guard let low = scales.min(), let high = scales.max() else { return nil }
        return low...high
    }

    func stated(_ host: String, _ reason: String = "") -> HostVerdict {
        HostVerdict(host: host, outcome: .asStated, scale: range(modules.map(\.scale)), reason: reason)
    }

    func refused(_ host: String, _ reason: String) -> HostVerdict {
        HostVerdict(host: host, outcome: .refused, scale: nil, reason: reason)
    }

    /// The verdict on what a host applies to each module.
    func applied(_ host: String, _ scales: [Double], because reason: String) -> HostVerdict {
        let differs = zip(scales, modules).filter { abs($0 - $1.scale) > 1e-6 * abs($1.scale) }.count
        if differs == 0 { return stated(host) }
        return HostVerdict(
            host: host, outcome: .otherScale, scale: range(scales),
            reason:
                "\(reason); \(differs) of \(modules.count) modules differ. Write the adapter with the scale in its weights "
                + "(loragen convert, without --keep-alpha)")
    }

    func module(_ condition: (ModuleShape) -> Bool) -> String? { modules.first(where: condition)?.name }

    var dora: String? { module(\.hasMagnitude) }
    var convolution: String? { module { $0.kind == .convolution } }
}
