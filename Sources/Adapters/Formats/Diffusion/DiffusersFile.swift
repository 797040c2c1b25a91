import Tensor

/// Adapters as diffusers saves them: one `.safetensors` file with `<component>.<module>.lora_A.weight` and `.lora_B.weight`,
/// the component being unet, transformer, text_encoder or text_encoder_2. Alpha is the rank of each module, unless the
/// file's metadata brings configs.
public enum DiffusersFile {
    private static let metadataKey = "lora_adapter_metadata"
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

    /// Whether a file's names are those of a pipeline's LoRA.
    static func recognises(_ file: SafetensorsFile) -> Bool {
        file.tensors.contains { tensor in
            DiffusionName.Component.allCases.contains { tensor.name.hasPrefix($0.rawValue + ".") }
        }
    }

    /// Reads a file that diffusers loads. Throws `.io`; `.format` for a file that is not what it should be, `.unsupported`
    /// for what this library or diffusers does not apply; `.mismatch` when metadata and tensors disagree; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        try read(SafetensorsFile(path: path))
    }

    static func read(_ file: SafetensorsFile) throws(LoragenError) -> Adapter {
        let endings = [
            (".lora_A.weight", true), (".lora_B.weight", false), (".lora.down.weight", true),
            (".lora.up.weight", false),
        ]
        var pairs: [ByteKey: (a: SafetensorsTensor?, b: SafetensorsTensor?)] = [:]
        for tensor in file.tensors {
            guard let (ending, isA) = endings.first(where: { tensor.name.hasSuffix($0.0) }),
                let name = DiffusionName(String(tensor.name.dropLast(ending.utf8.count))),
                tensor.name.hasPrefix(name.component.rawValue + ".")
            else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): tensor '\(shortened(tensor.name))' is none that diffusers applies; expected "
                        + "<component>.<module>.lora_A.weight or .lora_B.weight, the component being unet, transformer, "
                        + "text_encoder or text_encoder_2")
            }
            let key = ByteKey(name.text)
            let old = pairs[key] ?? (nil, nil)
            if (isA ? old.a : old.b) != nil {
                throw LoragenError(.format, "\(file.path): '\(shortened(tensor.name))' is there under two names")
            }
            pairs[key] = isA ? (tensor, old.b) : (old.a, tensor)
        }
        var metadata = file.metadata
        metadata["format"] = nil
        let configs = try configs(metadata.removeValue(forKey: metadataKey), file)
        var gathered = GatheredModules(file)
        for (key, pair) in pairs.sorted(by: { precedes($0.key.text, $1.key.text) }) {
            guard let a = pair.a, let b = pair.b, let name = DiffusionName(key.text) else {
                throw LoragenError(
                    .format,
                    "\(file.path): module '\(shortened(key.text))' has no \(pair.a == nil ? "lora_A" : "lora_B")")
            }
            var shape = try GatheredModules.module(key.text, a: a, b: b, alpha: nil, source: file.path)
            if let config = configs[name.component] {
                let (rank, alpha) = try config.rankAndAlpha(of: name.path)
                if rank != shape.rank {
                    throw LoragenError(
                        .mismatch,
                        "\(file.path): '\(shortened(a.name))' has rank \(shape.rank); the file's '\(metadataKey)' says \(rank)"
                    )
                }
                try config.targets.check(shape.named(name.path))
                shape = try ModuleShape(
                    name: shape.name, kind: shape.kind, inputs: shape.inputs, outputs: shape.outputs,
                    kernel: shape.kernel,
                    rank: rank, alpha: alpha, scaling: config.scaling)
            }
            try gathered.add(shape, a: .tensor(a), b: .tensor(b))
        }
        return try gathered.adapter(metadata: metadata)
    }

    private static func configs(
        _ text: String?, _ file: SafetensorsFile
    ) throws(LoragenError) -> [DiffusionName.Component: PEFTConfig] {
        guard let text else { return [:] }
        let source = "\(file.path): metadata '\(metadataKey)'"
        guard let object = try JSON.parse(text, source: source).object else {
            throw LoragenError(.format, "\(source): expected an object")
        }
        var result: [DiffusionName.Component: PEFTConfig] = [:]
        for component in DiffusionName.Component.allCases {
            var own: JSONObject = ["peft_type": "LORA"]
            for member in object.members where member.name.hasPrefix(component.rawValue + ".") {
                own[String(member.name.dropFirst(component.rawValue.count + 1))] = member.value
            }
            if own.count > 1 {
                result[component] = try PEFTConfig(json: .object(own), source: "\(source), \(component.rawValue)")
            }
        }
        return result
    }
}
