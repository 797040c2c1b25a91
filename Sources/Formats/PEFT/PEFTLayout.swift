import Adapters
import Files
import Tensor

extension PEFTFolder {
    /// The layout of adapters that share one config and are stored elsewhere than in a folder each: from the config and
    /// the PEFT keys with their shapes. Throws as `read`.
    public static func layout(
        config json: JSON, tensors: [(name: String, shape: [Int])], source: String
    ) throws(LoragenError) -> Layout {
        let parts = try PEFTParts.sorted(
            tensors.map { .init(name: $0.name, shape: $0.shape, value: ()) }, source: source)
        let config = try PEFTConfig(json: json, source: source)
        if !config.targetParameters.isEmpty {
            throw LoragenError(
                .unsupported,
                "\(source): 'target_parameters' asks for fused experts, which this library reads from PEFT folders")
        }
        return try layout(of: parts, experts: [], config: config, source: source)
    }

    static func layout<Value>(
        of parts: [ByteKey: PEFTParts<Value>], experts: [PEFTExperts<Value>], config: PEFTConfig, source: String
    ) throws(LoragenError) -> Layout {
        var modules: [ModuleShape] = []
        modules.reserveCapacity(parts.count)
        for (name, part) in parts.sorted(by: { precedes($0.key.text, $1.key.text) }) {
            modules.append(try part.module(name.text, config: config, source: source))
        }
        do throws(LoragenError) {
            for fused in experts { modules += try fused.modules() }
            return try Layout(
                modules: modules, baseModel: config.baseModel, targetModules: config.targets.plainList,
                taskType: config.taskType)
        } catch {
            throw LoragenError(.unsupported, "\(source): \(error.message)")
        }
    }
}
