import Adapters
import Files
import Tensor

/// An adapter that is written while it is made: its modules come one after the other, and no more than one of them is in
/// memory. The bytes are those that `Adapter.write` gives for the same adapter.
public struct AdapterStream {
    /// Gives the modules of the layout in order, each as an adapter of its own.
    public typealias Modules = () throws(LoragenError) -> Adapter

    private let layout: Layout
    private let form: Layout
    private let options: WriteOptions

    /// Throws `.unsupported` for the form `portable`, and as `Adapter.write`.
    public init(layout: Layout, options: WriteOptions = WriteOptions()) throws(LoragenError) {
        guard [.f32, .f16, .bf16].contains(options.type) else {
            throw LoragenError(
                .invalidArgument, "an adapter cannot be written as \(options.type.rawValue); expected F32, F16 or BF16")
        }
        switch options.form {
        case .kept: form = layout
        case .baked: form = try layout.withUniformRank()
        case .portable:
            throw LoragenError(
                .unsupported, "the portable form needs the adapter in memory; write it without a memory limit")
        }
        (self.layout, self.options) = (layout, options)
    }

    /// Writes an adapter of one format while it is made.
    typealias Writer =
        @Sendable (AdapterStream, _ path: String, _ metadata: Metadata, _ modules: Modules) throws(LoragenError) -> Void
    typealias Metadata = () throws(LoragenError) -> [String: String]

    /// Whether an adapter of the layout can be written in parts.
    public static func takes(_ layout: Layout, _ format: AdapterFormat, options: WriteOptions) -> Bool {
        format.stream != nil && options.form != .portable && !options.quantized && keepsNames(layout, format: format)
    }

    /// Whether the modules have the same names in the format: those of a diffusion pipeline change in a PEFT folder.
    private static func keepsNames(_ layout: Layout, format: AdapterFormat) -> Bool {
        format != .peft
            || !layout.modules.contains { module in
                DiffusionName(module.name).map { module.name.hasPrefix($0.component.rawValue + ".") } ?? false
            }
    }

    /// Writes the adapter, whole or not at all. `metadata` is asked a second time when all modules have come; its text must
    /// then be as long as the first time.
    public func write(
        to path: String, format: AdapterFormat, metadata: () throws(LoragenError) -> [String: String],
        modules: Modules
    ) throws(LoragenError) {
        try options.sources.check(writing: format.files(at: path))
        guard let stream = format.stream else {
            throw LoragenError(
                .unsupported,
                "the format \(format.name) needs the adapter in memory; write it without a memory limit, or as a PEFT "
                    + "folder or safetensors file")
        }
        try stream(self, path, metadata, modules)
    }

    static let writeFile: Writer = { stream, path, metadata, modules throws(LoragenError) in
        func all() throws(LoragenError) -> [String: String] {
            try AdapterFile.metadata(metadata(), layout: stream.form)
        }
        let file = try AtomicFile(path: path, expectedSize: try stream.size(all()))
        try stream.emit(modules, all, into: file)
        try file.commit()
    }

    static let writeFolder: Writer = { stream, path, metadata, modules throws(LoragenError) in
        guard keepsNames(stream.layout, format: .peft) else {
            throw LoragenError(
                .unsupported,
                "an adapter of a diffusion pipeline needs to be in memory to become a PEFT folder; write it "
                    + "without a memory limit, or as a safetensors file")
        }
        let config = try PEFTConfig.text(for: stream.form, metadata: metadata())
        func all() throws(LoragenError) -> [String: String] { try PEFTFolder.metadata(metadata()) }
        let folder = try AtomicFolder(path: path)
        try folder.add(PEFTFolder.weightsName, expectedSize: try stream.size(all())) { (file) throws(LoragenError) in
            try stream.emit(modules, all, into: file)
        }
        try folder.add(PEFTConfig.fileName) { (file) throws(LoragenError) in try file.append(config) }
        try folder.commit()
    }

    private func size(_ metadata: [String: String]) throws(LoragenError) -> Int {
        var writer = SafetensorsWriter(metadata: metadata)
        for tensor in form.tensors {
            try writer.add(tensor.name, type: options.type, shape: tensor.shape) { _ throws(LoragenError) in }
        }
        return try writer.size()
    }

    private func emit(
        _ modules: Modules, _ metadata: () throws(LoragenError) -> [String: String], into file: AtomicFile
    ) throws(LoragenError) {
        // The writer asks for tensors by name, which is the order of the layout: the modules come as they are needed.
        try withoutActuallyEscaping(modules) { modules in
            Result { () throws(LoragenError) in
                let pieces = Pieces(layout: layout, form: form, options: options, modules: modules)
                var writer = SafetensorsWriter(metadata: try metadata())
                for (i, tensor) in form.tensors.enumerated() {
                    try writer.add(tensor.name, type: options.type, shape: tensor.shape) {
                        (sink) throws(LoragenError) in
                        try pieces.encode(i, to: sink)
                    }
                }
                let start = try writer.start()
                try writer.write(into: file)
                writer.metadata = try metadata()
                let end = try writer.start()
                guard end.count == start.count else {
                    throw LoragenError(
                        .internalError,
                        "\(file.path): its metadata changed from \(start.count) to \(end.count) bytes")
                }
                try file.replaceStart(end)
            }
        }.get()
    }
}

/// The modules of a streamed adapter as they go into the file.
private final class Pieces {
    private let layout: Layout
    private let form: Layout
    private let options: WriteOptions
    private let modules: AdapterStream.Modules
    private var current: (index: Int, image: Adapter)?

    init(layout: Layout, form: Layout, options: WriteOptions, modules: @escaping AdapterStream.Modules) {
        (self.layout, self.form, self.options, self.modules) = (layout, form, options, modules)
    }

    /// Hands a tensor's bytes on.
    func encode(_ index: Int, to sink: SafetensorsWriter.Sink) throws(LoragenError) {
        let place = form.tensors[index]
        if current.map({ $0.index < place.module }) ?? true { try advance(to: place.module) }
        guard let current, current.index == place.module else {
            throw LoragenError(.internalError, "tensor '\(place.name)' was asked for out of order")
        }
        let scale = options.form == .baked && place.role == .b ? layout.modules[place.module].scale : 1
        let tensor = current.image.tensor(at: index - form.tensors(of: place.module).lowerBound)
        try FloatEncoder(type: options.type, scale: scale, name: place.name).encode(tensor.values, to: sink)
        withExtendedLifetime(current.image) {}
    }

    private func advance(to index: Int) throws(LoragenError) {
        guard index == (current?.index ?? -1) + 1 else {
            throw LoragenError(.internalError, "module \(index) was asked for out of order")
        }
        current = nil
        let module = try modules()
        guard module.layout.modules == [layout.modules[index]] else {
            throw LoragenError(.internalError, "a module came that is not '\(layout.modules[index].name)'")
        }
        try module.checkFinite(source: "the adapter")
        current = (index, try module.padded(to: form.only(index)))
    }
}
