import Tensor

extension PEFTFolder {
    /// The layout of adapters that share one config and are stored elsewhere than in a folder each: from the config and
    /// the PEFT keys with their shapes. Throws as `read`.
    public static func layout(
        config json: JSON, tensors: [(name: String, shape: [Int])], source: String
    ) throws(LoragenError) -> Layout {
        let parts = try PEFTParts.sorted(
            tensors.map { .init(name: $0.name, shape: $0.shape, value: ()) }, source: source)
        return try layout(of: parts, config: PEFTConfig(json: json, source: source), source: source)
    }

    static func layout<Value>(
        of parts: [ByteKey: PEFTParts<Value>], config: PEFTConfig, source: String
    ) throws(LoragenError) -> Layout {
        var modules: [ModuleShape] = []
        modules.reserveCapacity(parts.count)
        for (name, part) in parts {
            modules.append(try part.module(name.text, config: config, source: source))
        }
        do throws(LoragenError) {
            return try Layout(modules: modules, baseModel: config.baseModel, targetModules: config.targets.plainList)
        } catch {
            throw LoragenError(.unsupported, "\(source): \(error.message)")
        }
    }
}
