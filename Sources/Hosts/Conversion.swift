import Adapters
import Files
import Formats
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
        losses(
            of: adapter.layout, adapter.metadata, format: format, options: options,
            rounded: roundedCount(adapter, options))
    }

    /// `rounded`: how many numbers change in the element type.
    private static func losses(
        of layout: Layout, _ metadata: [String: String], format: AdapterFormat, options: WriteOptions,
        rounded count: Int
    ) -> [Loss] {
        var losses: [Loss] = []
        func add(_ text: String, changesNumbers: Bool = false) {
            losses.append(Loss(text: text, changesNumbers: changesNumbers))
        }
        let modules = layout.modules
        if format == .gguf && options.quantized {
            add("Q8_0 keeps 8 bits of each number: products change by about one part in 200", changesNumbers: true)
        } else if count > 0 {
            add("\(count) of \(layout.valueCount) numbers are rounded to \(options.type.rawValue)")
        }
        if options.form == .portable {
            add(
                "that modules are missing from layers: every layer gets each kind of module, with zeros where there was none"
            )
        }
        if options.form != .kept, modules.contains(where: { $0.scale != 1 }) {
            add("alpha: the scale goes into lora_B, which is rounded once, and alpha becomes the rank")
        }
        if options.form != .kept, Set(modules.map(\.rank)).count > 1 {
            add("ranks of single modules: all get the largest, filled up with zeros")
        }
        if !format.keepsBase {
            if let base = layout.baseModel { add("the name of the base model, '\(base)'") }
            if !layout.targetModules.isEmpty { add("the list of target modules") }
            if modules.contains(where: { $0.kind == .transposedLinear }) {
                add("that the base model keeps weights transposed (fan_in_fan_out)")
            }
        }
        if !format.keepsNotes, !metadata.isEmpty {
            add("origin and notes: \(metadata.keys.sorted(by: precedes).joined(separator: ", "))")
        }
        return losses
    }

    private static func roundedCount(_ adapter: Adapter, _ options: WriteOptions) -> Int {
        options.type == .f32 ? 0 : adapter.values.count { options.type.rounded($0) != $0 }
    }

    /// Reads the adapter at `source` and writes it to `target`. Each loss goes to `note` before anything is written.
    /// Throws `.unsupported` when numbers would change beyond rounding and `isLossy` does not allow it, what `note`
    /// throws, and what reading and writing throw. With `rank` updates are cut to that rank. `isLoRAEnough` leaves out what stands beside LoRA's tensors. From PEFT
    /// folders and safetensors files to PEFT folders and safetensors files it goes module by module, in memory for one.
    public static func run(
        from source: String, to target: String, format: AdapterFormat, options: WriteOptions, isLossy: Bool = false,
        isLoRAEnough: Bool = false, rank: Int? = nil, note: (String) throws(LoragenError) -> Void = { _ in }
    ) throws(LoragenError) {
        var options = options
        options.sources.add(source)
        try options.sources.check(writing: format.files(at: target))
        func refuse(_ losses: [Loss]) throws(LoragenError) {
            for loss in losses { try note(loss.text) }
            if !isLossy, let loss = losses.first(where: \.changesNumbers) {
                throw LoragenError(.unsupported, "\(target): not written, for numbers would change: \(loss.text)")
            }
        }
        let part = LoRAPart(isEnough: isLoRAEnough, base: options.base)
        var notes: [String] = []
        if rank == nil, format == .peft || format == .safetensors,
            let (stored, metadata, file) = try Adapter.stored(path: source, part: part, note: { notes.append($0) }),
            AdapterStream.takes(stored.layout, format, options: options)
        {
            for text in notes { try note(text) }
            var count = 0
            if options.type != .f32 {
                for index in stored.layout.modules.indices {
                    count += roundedCount(try stored.module(index), options)
                }
            }
            try refuse(losses(of: stored.layout, metadata, format: format, options: options, rounded: count))
            var next = 0
            try AdapterStream(layout: stored.layout, options: options).write(to: target, format: format) {
                metadata
            } modules: { () throws(LoragenError) in
                let module = try stored.module(next)
                try module.checkFinite(source: file)
                next += 1
                return module
            }
            return
        }
        let adapter = try Adapter.read(path: source, base: options.base, part: part, rank: rank, note: note)
        try refuse(losses(of: adapter, format: format, options: options))
        try adapter.write(to: target, format: format, options: options)
    }
}
