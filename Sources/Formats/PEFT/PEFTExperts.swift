import Adapters
import Files
import Tensor

/// The experts of a mixture that PEFT adapts as one parameter of three dimensions (`target_parameters`), taken apart into
/// a module for each expert and projection, which is what other hosts read.
///
/// `A [E·r, in]` has expert e in rows `e·r + k`, `B [out, r·E]` in columns `k·E + e`; PEFT 0.17 and 0.18 have the factors
/// exchanged, `A [E·r, out]` and `B [in, r·E]`. In the file the module has no parameter's name: of two, gate_up_proj is
/// the inner one, `<experts>.base_layer`, and down_proj the outer.
struct PEFTExperts<Value> {
    private let parts: PEFTParts<Value>
    private let isExchanged: Bool
    private let rank: Int
    private let count: Int
    private let inputs: Int
    private let outputs: Int
    /// Path of an expert's projection without the expert's index: what comes before it and the names after.
    private let path: String
    private let names: [String]
    private let alpha: Double
    private let scaling: ModuleScaling

    /// Takes the parts that belong to `target_parameters` out of the rest. Throws `.unsupported` for parameters that are
    /// no experts, and when it is not known which PEFT wrote them; `.mismatch` for shapes that are not of the rank.
    static func taken(
        from parts: inout [ByteKey: PEFTParts<Value>], config: PEFTConfig, source: String
    ) throws(LoragenError) -> [PEFTExperts] {
        var leaves: [String: Set<String>] = [:]
        for parameter in config.targetParameters {
            let names = parameter.split(separator: ".").map(String.init)
            guard names.count > 1, let leaf = names.last, ["gate_up_proj", "down_proj"].contains(leaf) else {
                throw LoragenError(
                    .unsupported,
                    "\(config.source): 'target_parameters' names '\(shortened(parameter))'; this library reads experts' "
                        + "gate_up_proj and down_proj")
            }
            leaves[names.dropLast().joined(separator: "."), default: []].insert(leaf)
        }
        var result: [PEFTExperts] = []
        for (key, part) in parts {
            let isInner = key.text.hasSuffix(".base_layer")
            let root = isInner ? String(key.text.dropLast(".base_layer".utf8.count)) : key.text
            guard let own = leaves.first(where: { root == $0.key || root.hasSuffix("." + $0.key) })?.value else {
                continue
            }
            let leaf = own.count == 2 ? (isInner ? "gate_up_proj" : "down_proj") : own.first
            guard let leaf, own.count == 2 || !isInner else {
                throw LoragenError(
                    .mismatch,
                    "\(source): '\(shortened(key.text))' is adapted twice, and 'target_parameters' names it once")
            }
            parts[key] = nil
            result.append(try PEFTExperts(part, root: root, leaf: leaf, config: config, source: source))
        }
        return result
    }

    private init(
        _ parts: PEFTParts<Value>, root: String, leaf: String, config: PEFTConfig, source: String
    ) throws(LoragenError) {
        let base = config.baseModel?.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init) ?? []
        if base.contains("gpt"), base.contains("oss") {
            throw LoragenError(
                .unsupported,
                "\(source): GPT-OSS interleaves its experts' gate and up projections, for which hosts have no other keys"
            )
        }
        guard let version = config.version else {
            throw LoragenError(
                .unsupported,
                "\(config.source): it has no 'peft_version', and PEFT before 0.19 stored experts otherwise; add the version "
                    + "that wrote it")
        }
        isExchanged = version.major == 0 && version.minor < 19
        guard let a = parts.a, let b = parts.b, parts.magnitude == nil, !parts.isEmbedding else {
            throw LoragenError(
                .format, "\(source): '\(shortened(root))' has not both lora_A and lora_B, and nothing more")
        }
        (rank, alpha) = try config.rankAndAlpha(of: "\(root).\(leaf)")
        scaling = config.scaling
        guard a.shape.count == 2, b.shape.count == 2, a.shape[0] > 0, a.shape[0] % rank == 0, b.shape[1] == a.shape[0]
        else {
            throw LoragenError(
                .mismatch,
                "\(source): '\(shortened(root))' has lora_A \(a.shape) and lora_B \(b.shape); with rank \(rank) of "
                    + "\(config.source) expected [experts·\(rank), in] and [out, \(rank)·experts]")
        }
        count = a.shape[0] / rank
        (inputs, outputs) = isExchanged ? (b.shape[0], a.shape[1]) : (a.shape[1], b.shape[0])
        let isMixtral = base.contains("mixtral")
        path =
            isMixtral && root.hasSuffix("mlp.experts")
            ? root.dropLast("mlp.experts".count) + "block_sparse_moe.experts" : root
        switch (leaf, isMixtral) {
        case ("down_proj", false): names = ["down_proj"]
        case ("down_proj", true): names = ["w2"]
        case (_, false): names = ["gate_proj", "up_proj"]
        case (_, true): names = ["w1", "w3"]
        }
        if outputs % names.count != 0 {
            throw LoragenError(
                .mismatch,
                "\(source): '\(shortened(root))' has \(outputs) outputs for gate and up; expected an even number")
        }
        self.parts = parts
    }

    /// A module for each expert and projection.
    func modules() throws(LoragenError) -> [ModuleShape] {
        guard count <= Layout.moduleLimit / names.count else {
            throw LoragenError(.unsupported, "'\(path)' has \(count) experts; expected at most \(Layout.moduleLimit)")
        }
        var modules: [ModuleShape] = []
        for expert in 0..<count {
            for name in names {
                modules.append(
                    try ModuleShape(
                        name: "\(path).\(expert).\(name)", inputs: inputs, outputs: outputs / names.count, rank: rank,
                        alpha: alpha, scaling: scaling))
            }
        }
        return modules
    }

    /// Writes the factors of all experts to their places in a vector of `layout`. `floats` reads a tensor.
    func store(
        in target: UnsafeMutableBufferPointer<Float>, of layout: Layout, places: [ByteKey: Int],
        floats: (Value) throws(LoragenError) -> [Float]
    ) throws(LoragenError) {
        guard let tensorA = parts.a, let tensorB = parts.b else { return }
        let (a, b) = (try floats(tensorA.value), try floats(tensorB.value))
        let (columnsA, columnsB) = (tensorA.shape[1], rank * count)
        let rows = outputs / names.count
        for expert in 0..<count {
            // Factor k of the expert as [in] and [out].
            func input(_ k: Int, _ j: Int) -> Float {
                isExchanged ? b[j * columnsB + k * count + expert] : a[(expert * rank + k) * columnsA + j]
            }
            func output(_ k: Int, _ o: Int) -> Float {
                isExchanged ? a[(expert * rank + k) * columnsA + o] : b[o * columnsB + k * count + expert]
            }
            for (part, name) in names.enumerated() {
                guard let place = places[ByteKey("\(path).\(expert).\(name)")] else { continue }
                let ownA = layout.range(.a, of: place, group: 0, in: target)
                let ownB = layout.range(.b, of: place, group: 0, in: target)
                for k in 0..<rank {
                    for j in 0..<inputs { ownA[k * inputs + j] = input(k, j) }
                    for o in 0..<rows { ownB[o * rank + k] = output(k, part * rows + o) }
                }
            }
        }
    }
}

extension PEFTExperts: Sendable where Value: Sendable {}
