import Adapters
import Files
import Tensor

extension DiffusersFile {
    /// Whether a file's names are those of a LoRA of a pipeline, or of one model as ComfyUI or XLabs name it.
    public static func recognises(_ file: SafetensorsFile) -> Bool {
        file.tensors.contains { PathName($0.name) != nil }
            || file.tensors.contains { tensor in
                ForeignTensor.has(tensor.name, "lora")
                    && (DiffusionName.Component.allCases.map { $0.rawValue + "." } + ["diffusion_model."]).contains {
                        tensor.name.hasPrefix($0)
                    }
            }
    }

    /// Reads a file that diffusers or ComfyUI loads. Throws `.io`; `.format` for a file that is not what it should be,
    /// `.unsupported` for what this library does not know; `.mismatch` when metadata and tensors disagree; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        try read(SafetensorsFile(path: path))
    }

    private struct Group {
        let place: PathName.Place
        var a: SafetensorsTensor?
        var b: SafetensorsTensor?
        var alpha: SafetensorsTensor?
    }

    static func read(
        _ file: SafetensorsFile, part: LoRAPart = LoRAPart(),
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> Adapter {
        let (modules, metadata) = try gather(file, part: part, note: note)
        return try modules.adapter(metadata: metadata)
    }

    static func gather(
        _ file: SafetensorsFile, part: LoRAPart = LoRAPart(), note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> (modules: GatheredModules, metadata: [String: String]) {
        let groups = try groups(of: file, part, note)
        var metadata = file.metadata
        metadata["format"] = nil
        let configs = try configs(metadata.removeValue(forKey: metadataKey), file)
        var gathered = GatheredModules(file)
        for (key, group) in groups.sorted(by: { precedes($0.key.text, $1.key.text) }) {
            guard let a = group.a, let b = group.b else {
                throw LoragenError(
                    .format,
                    "\(file.path): module '\(shortened(key.text))' has no \(group.a == nil ? "lora_A" : "lora_B")")
            }
            let alpha = try group.alpha.map { (tensor) throws(LoragenError) in try KohyaFile.scalar(tensor, file) }
            switch group.place {
            case .fused(let prefix, let fusion):
                try KohyaFile.addFlux((prefix, fusion), down: a, up: b, alpha: alpha, to: &gathered)
            case .module(let name):
                var shape = try GatheredModules.module(key.text, a: a, b: b, alpha: alpha, source: file.path)
                if let config = configs[name.component] { shape = try configured(shape, name, a, config, file) }
                try gathered.add(shape, a: .tensor(a), b: .tensor(b))
            }
        }
        if configs.isEmpty, !groups.values.contains(where: { $0.alpha != nil }) {
            try KohyaFile.noteAlpha(in: file, gathered.modules, note)
        }
        return (gathered, metadata)
    }

    private static func groups(
        of file: SafetensorsFile, _ part: LoRAPart, _ note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> [ByteKey: Group] {
        var groups: [ByteKey: Group] = [:]
        let tensors = try part.tensors(of: file, note: note) { (name) throws(LoragenError) in
            PathName(name) != nil
        } refusal: { name in
            LoragenError(
                .unsupported,
                "\(file.path): tensor '\(shortened(name))' is \(ForeignTensor.meaning(of: name) ?? "of no module that is known"); "
                    + "expected <component>.<module>.lora_A.weight and .lora_B.weight, the component being unet, transformer, "
                    + "text_encoder, text_encoder_2 or diffusion_model"
                    + (ForeignTensor.isBeside(name) ? ". \(LoRAPart.advice)" : ""))
        }
        for tensor in tensors {
            guard let name = PathName(tensor.name) else { continue }
            let key = ByteKey(name.key)
            var group = groups[key] ?? Group(place: name.place)
            let old: SafetensorsTensor?
            switch name.side {
            case .a: (old, group.a) = (group.a, tensor)
            case .b: (old, group.b) = (group.b, tensor)
            case .alpha: (old, group.alpha) = (group.alpha, tensor)
            }
            if old != nil {
                throw LoragenError(.format, "\(file.path): '\(shortened(tensor.name))' is there under two names")
            }
            groups[key] = group
        }
        return groups
    }

    /// The module with rank and alpha of the file's own config.
    private static func configured(
        _ shape: ModuleShape, _ name: DiffusionName, _ a: SafetensorsTensor, _ config: PEFTConfig,
        _ file: SafetensorsFile
    ) throws(LoragenError) -> ModuleShape {
        let (rank, alpha) = try config.rankAndAlpha(of: name.path)
        if rank != shape.rank {
            throw LoragenError(
                .mismatch,
                "\(file.path): '\(shortened(a.name))' has rank \(shape.rank); the file's '\(metadataKey)' says \(rank)")
        }
        try config.targets.check(shape.named(name.path))
        return try ModuleShape(
            name: shape.name, kind: shape.kind, inputs: shape.inputs, outputs: shape.outputs, kernel: shape.kernel,
            rank: rank, alpha: alpha, scaling: config.scaling)
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
