import Tensor

/// From one file of an adapter to another.
public enum Conversion {
    /// Something that the new file does not have, or has otherwise.
    public struct Loss: Sendable, Equatable {
        /// A sentence for people.
        public let text: String
        /// Whether the products of the factors change by more than the rounding of the element type.
        public let changesNumbers: Bool
    }

    /// What is lost when the adapter is written so. Empty when reading the file again gives the same adapter.
    public static func losses(of adapter: Adapter, format: AdapterFormat, options: WriteOptions) -> [Loss] {
        var losses: [Loss] = []
        func add(_ text: String, changesNumbers: Bool = false) {
            losses.append(Loss(text: text, changesNumbers: changesNumbers))
        }
        let modules = adapter.layout.modules
        if format == .gguf && options.quantized {
            add("Q8_0 keeps 8 bits of each number: products change by about one part in 200", changesNumbers: true)
        } else if options.type != .f32 {
            let count = adapter.values.count { rounded($0, to: options.type) != $0 }
            if count > 0 {
                add("\(count) of \(adapter.values.count) numbers are rounded to \(options.type.rawValue)")
            }
        }
        if options.form == .portable {
            add(
                "that modules are missing from layers: every layer gets each kind of module, with zeros where there was none"
            )
        }
        if options.form != .kept, modules.contains(where: { $0.scale != 1 }) {
            add("alpha: the scale goes into lora_B, which is rounded once, and alpha becomes the rank")
        }
        if options.form != .kept, format != .kohya, Set(modules.map(\.rank)).count > 1 {
            add("ranks of single modules: all get the largest, filled up with zeros")
        }
        if [.onnxAdapter, .diffusers, .kohya].contains(format) {
            if let base = adapter.layout.baseModel { add("the name of the base model, '\(base)'") }
            if !adapter.layout.targetModules.isEmpty { add("the list of target modules") }
            if modules.contains(where: { $0.kind == .transposedLinear }) {
                add("that the base model keeps weights transposed (fan_in_fan_out)")
            }
        }
        if format == .onnxAdapter && !adapter.metadata.isEmpty {
            add("origin and notes: \(adapter.metadata.keys.sorted(by: precedes).joined(separator: ", "))")
        }
        return losses
    }

    private static func rounded(_ value: Float, to type: ElementType) -> Float {
        switch type {
        case .f16: Half.float(fromHalf: Half.half(value))
        case .bf16: Half.float(fromBrain: Half.brain(value))
        default: value
        }
    }

    /// Reads the adapter at `source` and writes it to `target`. Each loss goes to `note` before anything is written.
    /// Throws `.unsupported` when numbers would change beyond rounding and `isLossy` does not allow it, what `note`
    /// throws, and what reading and writing throw.
    public static func run(
        from source: String, to target: String, format: AdapterFormat, options: WriteOptions, isLossy: Bool = false,
        note: (String) throws(LoragenError) -> Void = { _ in }
    ) throws(LoragenError) {
        let adapter = try Adapter.read(path: source, base: options.base)
        let losses = losses(of: adapter, format: format, options: options)
        for loss in losses { try note(loss.text) }
        if !isLossy, let loss = losses.first(where: \.changesNumbers) {
            throw LoragenError(.unsupported, "\(target): not written, for numbers would change: \(loss.text)")
        }
        try adapter.write(to: target, format: format, options: options)
    }
}

extension AdapterFormat {
    /// What the suffix of a path says; a path without a known one is a PEFT folder.
    public init(path: String) {
        let suffixes: [(String, AdapterFormat)] = [
            (".safetensors", .safetensors), (".onnx", .onnx), (".gguf", .gguf), (".onnx_adapter", .onnxAdapter),
            (".npz", .npz),
        ]
        self = suffixes.first { path.hasSuffix($0.0) }?.1 ?? .peft
    }
}
