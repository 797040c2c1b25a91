import Tensor

extension PEFTFolder {
    /// The layout of adapters that share one config and are stored elsewhere than in a folder each: from the config and
    /// the PEFT keys with their shapes, `[r, in]` for lora_A and `[out, r]` for lora_B. Throws as `read`.
    public static func layout(
        config json: JSON, tensors: [(name: String, shape: [Int])], source: String
    ) throws(LoragenError) -> Layout {
        let config = try PEFTConfig(json: json, source: source)
        var shapes: [ByteKey: [Int]] = [:]
        for tensor in tensors { shapes[ByteKey(tensor.name)] = tensor.shape }
        var modules: [ModuleShape] = []
        for (name, a) in tensors where name.hasPrefix("base_model.model.") && name.hasSuffix(".lora_A.weight") {
            let module = String(name.dropFirst("base_model.model.".count).dropLast(".lora_A.weight".count))
            let (rank, alpha) = try config.rankAndAlpha(of: module)
            guard a.count == 2, a[0] == rank, let b = shapes[ByteKey("base_model.model.\(module).lora_B.weight")],
                b.count == 2, b[1] == rank
            else {
                throw LoragenError(
                    .mismatch,
                    "\(source): module '\(shortened(module))': expected lora_A [\(rank), in] and lora_B [out, \(rank)]")
            }
            let shape = try ModuleShape(
                name: module, inputs: a[1], outputs: b[0], rank: rank, alpha: alpha, scaling: config.scaling)
            try config.checkTargets(shape)
            modules.append(shape)
        }
        return try Layout(modules: modules, baseModel: config.baseModel, targetModules: config.targetModules ?? [])
    }
}
