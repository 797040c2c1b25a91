import Adapters
import Files
import Tensor

/// Adapters as kohya-ss writes them, which ComfyUI, A1111, Forge and diffusers read: one `.safetensors` file with
/// `<name>.lora_down.weight`, `<name>.lora_up.weight` and `<name>.alpha` for each module; scale = alpha / rank.
public enum KohyaFile {
    /// Writes one file, for Stable Diffusion 1, SDXL or Flux. Throws `.unsupported` for what hosts of such files drop or
    /// misread, with the reason; `.io`, `.nonFinite` (also for values beyond the range of F16), `.invalidArgument`.
    ///
    /// All modules get one rank and one alpha, the rank, with the scale inside `lora_up`: diffusers (0.42) gives attention the
    /// most common alpha of the file whatever its own says, and before August 2026 misread ranks that differ.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        try options.checkType()
        try adapter.checkFinite(source: "the adapter")
        let layout = adapter.layout
        let names = try layout.diffusionNames()
        guard let model = options.model ?? DiffusionModel.of(layout, names) else {
            throw LoragenError(
                .unsupported,
                "the adapter's modules do not say which diffusion model they are of, and kohya's names depend on it; say "
                    + "which: sd1, sdxl or flux")
        }
        if options.form == .portable {
            throw LoragenError(
                .unsupported, "the portable form is one of language models; write kohya's files without it")
        }
        let scales = Set(layout.modules.map(\.scale))
        let ranks = Set(layout.modules.map(\.rank))
        if options.form == .kept, scales.count > 1 || ranks.count > 1 {
            throw LoragenError(
                .unsupported,
                "the modules have \(ranks.count) ranks and \(scales.count) scales, and diffusers misreads alphas that differ; "
                    + "write the adapter with its scale in the weights")
        }
        let image = KohyaImage(image: try AdapterImage(adapter, options), names: names, options: options)
        defer { withExtendedLifetime(image) {} }
        var writer = SafetensorsWriter(metadata: metadata(image.image, model))
        switch model {
        case .pixart:
            throw LoragenError(
                .unsupported,
                "there are no kohya names for PixArt; write a PEFT folder, which ComfyUI reads too, and load it with "
                    + "PeftModel.from_pretrained(pipe.transformer, folder)")
        case .stableDiffusion1, .stableDiffusionXL:
            for i in names.indices {
                let name = try flatName(of: names[i], model)
                try image.add(name, module: i, to: &writer)
            }
        case .flux: try image.addFlux(to: &writer)
        }
        try writer.write(to: path)
    }

    private static func flatName(of name: DiffusionName, _ model: DiffusionModel) throws(LoragenError) -> String {
        switch (name.component, model) {
        case (.unet, .stableDiffusion1): return "lora_unet_" + FlatName.flat(name.path)
        case (.unet, .stableDiffusionXL):
            if let path = UNetNames.original(name.path) { return "lora_unet_" + FlatName.flat(path) }
        case (.textEncoder, .stableDiffusion1): return "lora_te_" + FlatName.flat(name.path)
        case (.textEncoder, _): return "lora_te1_" + FlatName.flat(name.path)
        case (.textEncoder2, .stableDiffusionXL): return "lora_te2_" + FlatName.flat(name.path)
        default: break
        }
        throw unnamed(name, model)
    }

    static func unnamed(_ name: DiffusionName, _ model: DiffusionModel) -> LoragenError {
        LoragenError(
            .unsupported,
            "module '\(name.text)' has no name in kohya's files for \(model.rawValue) that hosts apply; leave it out, or write "
                + "the diffusers format")
    }

    static func textEncoderName(_ name: DiffusionName) throws(LoragenError) -> String {
        try flatName(of: name, .flux)
    }

    /// What UIs guess the base model and the title from. Keys that the adapter brings of its own stay; no dates.
    private static func metadata(_ image: AdapterImage, _ model: DiffusionModel) -> [String: String] {
        var metadata = image.adapter.metadata.filter { !$0.key.hasPrefix("peft.") }
        let first = image.layout.modules.first
        // Of a source's own keys these would speak of another rank.
        for key in ["ss_network_dim", "ss_network_alpha"] { metadata[key] = nil }
        let defaults: [(String, String?)] = [
            ("ss_network_module", "networks.lora"), ("ss_network_dim", first.map { String($0.rank) }),
            ("ss_network_alpha", first.map { String($0.scale * Double($0.rank)) }),
            ("ss_base_model_version", model.labels?.version), ("modelspec.sai_model_spec", "1.0.1"),
            ("modelspec.architecture", model.labels?.architecture),
            ("modelspec.implementation", model.labels?.implementation),
        ]
        for (key, value) in defaults {
            if let value, metadata[key] == nil { metadata[key] = value }
        }
        metadata["format"] = "pt"
        return metadata
    }
}

/// The tensors of a kohya file, made from an adapter that must live until they are written.
private struct KohyaImage {
    let image: AdapterImage
    let names: [DiffusionName]
    let options: WriteOptions

    private var adapter: Adapter { image.adapter }

    private func addAlpha(_ name: String, rows: Int, scale: Double, to writer: inout SafetensorsWriter)
        throws(LoragenError)
    {
        try writer.add(name + ".alpha", shape: [], elements: [Float(scale * Double(rows))])
    }

    /// One module under its own name.
    func add(_ name: String, module index: Int, to writer: inout SafetensorsWriter) throws(LoragenError) {
        let module = image.layout.modules[index]
        let parts = adapter.layout.parts[index]
        let (a, b) = (adapter.tensor(at: parts.a), adapter.tensor(at: parts.b))
        try writer.add(name + ".lora_down.weight", shape: a.shape, floats: a.values, as: options.type)
        try writer.add(
            name + ".lora_up.weight", shape: b.shape, floats: b.values, as: options.type,
            scale: image.factor(of: parts.b))
        try addAlpha(name, rows: module.rank, scale: module.scale, to: &writer)
    }

    /// Flux: the parts of a fused matrix become one module, block by block, with zeros where the adapter has no part.
    func addFlux(to writer: inout SafetensorsWriter) throws(LoragenError) {
        var fused: [String: (fusion: FluxNames.Fusion, parts: [Int: Int])] = [:]
        for (i, name) in names.enumerated() {
            if name.component == .textEncoder {
                try add(KohyaFile.textEncoderName(name), module: i, to: &writer)
                continue
            }
            guard name.component == .transformer, let place = FluxNames.place(of: name.path),
                adapter.layout.modules[i].kind == .linear
            else { throw KohyaFile.unnamed(name, .flux) }
            let key = "lora_unet_" + place.block + place.fusion.original
            fused[key, default: (place.fusion, [:])].parts[place.part] = i
        }
        for (key, entry) in fused.sorted(by: { precedes($0.key, $1.key) }) {
            try add(key, entry.fusion, entry.parts, to: &writer)
        }
    }

    private func add(
        _ name: String, _ fusion: FluxNames.Fusion, _ parts: [Int: Int], to writer: inout SafetensorsWriter
    ) throws(LoragenError) {
        let modules = parts.mapValues { adapter.layout.modules[$0] }
        guard let inputs = modules.values.first?.inputs, modules.values.allSatisfy({ $0.inputs == inputs }) else {
            throw LoragenError(
                .mismatch, "the modules of '\(name)' read inputs of different widths, and Flux has them as one matrix")
        }
        let rank = modules.values.lazy.map(\.rank).max() ?? 1
        let count = fusion.paths.count
        let outputs = fusion.paths.enumerated().map { part, path in
            modules[part]?.outputs ?? FluxNames.rows(path, width: inputs)
        }
        let rows = count * rank
        let total = outputs.reduce(0, +)
        // Sizes come from checked modules: at most 4 · 2^14 ranks and 4 · 2^32 outputs, so no product overflows.
        try Memory.require(
            rows * max(inputs, total), of: Float.self, for: "'\(name)', which has all parts of a matrix,")
        let (held, type) = (adapter, options.type)
        let scales = parts.mapValues { image.factor(of: held.layout.parts[$0].b) }
        try writer.add(name + ".lora_down.weight", type: type, shape: [rows, inputs]) { (sink) throws(LoragenError) in
            var values = [Float](repeating: 0, count: rows * inputs)
            for (part, index) in parts {
                let source = held.factors(of: index, group: 0).valuesA
                values.replaceSubrange((part * rank * inputs)..<(part * rank * inputs + source.count), with: source)
            }
            try FloatEncoder(type: type, scale: 1, name: name).encode(values, to: sink)
        }
        try writer.add(name + ".lora_up.weight", type: type, shape: [total, rows]) { (sink) throws(LoragenError) in
            var values = [Float](repeating: 0, count: total * rows)
            var row = 0
            for (part, size) in outputs.enumerated() {
                if let index = parts[part] {
                    let factors = held.factors(of: index, group: 0)
                    let (own, scale) = (factors.module.rank, scales[part] ?? 1)
                    for i in 0..<size {
                        for k in 0..<own {
                            values[(row + i) * rows + part * rank + k] = Float(
                                Double(factors.valuesB[i * own + k]) * scale)
                        }
                    }
                }
                row += size
            }
            try FloatEncoder(type: type, scale: 1, name: name).encode(values, to: sink)
        }
        // alpha is divided by the rows of lora_down, all parts together.
        try addAlpha(name, rows: rows, scale: image.layout.modules.first?.scale ?? 1, to: &writer)
    }
}

extension FloatEncoder {
    fileprivate func encode(_ values: [Float], to sink: SafetensorsWriter.Sink) throws(LoragenError) {
        try values.withUnsafeBufferPointer { values in
            Result { () throws(LoragenError) in try encode(values, to: sink) }
        }.get()
    }
}
