import Adapters
import Files
import Tensor

/// Adapters as diffusers saves them: one `.safetensors` file with `<component>.<module>.lora_A.weight` and `.lora_B.weight`,
/// the component being unet, transformer, text_encoder or text_encoder_2. Alpha is the rank of each module, unless the
/// file's metadata brings configs.
public enum DiffusersFile {
    static let metadataKey = "lora_adapter_metadata"
    /// Of a PEFT config what such metadata needs.
    private static let fields = [
        "alpha_pattern", "bias", "lora_alpha", "r", "rank_pattern", "target_modules", "use_rslora",
    ]

    /// Writes one file. Throws `.unsupported` for what pipelines do not load, with the reason; `.io`, `.nonFinite` (also for
    /// values beyond the range of F16), `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        let own = try adapter.layout.diffusionNames()
        if DiffusionModel.of(adapter.layout, own) == .pixart {
            throw LoragenError(
                .unsupported,
                "diffusers (0.42) loads no LoRA files into PixArt; write a PEFT folder and load it with "
                    + "PeftModel.from_pretrained(pipe.transformer, folder)")
        }
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        // The image may have modules that the adapter has not.
        let names = try image.layout.diffusionNames()
        var metadata = adapter.metadata.filter { !$0.key.hasPrefix("peft.") }
        metadata["format"] = "pt"
        if options.form == .kept { metadata[metadataKey] = try configs(of: image.layout, names) }
        var writer = SafetensorsWriter(metadata: metadata)
        for (i, tensor) in image.adapter.tensors.enumerated() {
            let ending = tensor.layout.role == .a ? ".lora_A.weight" : ".lora_B.weight"
            try writer.add(
                names[tensor.layout.module].text + ending, shape: tensor.shape, floats: tensor.values, as: image.type,
                scale: image.factor(of: i))
        }
        try writer.write(to: path)
    }

    private static func configs(of layout: Layout, _ names: [DiffusionName]) throws(LoragenError) -> String {
        var result = JSONObject()
        for component in DiffusionName.Component.allCases {
            var modules: [ModuleShape] = []
            for (module, name) in zip(layout.modules, names) where name.component == component {
                modules.append(try module.named(name.path))
            }
            if modules.isEmpty { continue }
            let config = try PEFTConfig.json(for: Layout(modules: modules), metadata: [:])
            for field in fields { result[component.rawValue + "." + field] = config[field] }
        }
        return try JSON.object(result).text(order: .sorted)
    }
}
