import Adapters
import Files
import Tensor

/// A kind of file that an adapter is written as, and read from.
public struct AdapterFormat: Sendable {
    public let name: String
    /// `LORAGEN_FORMAT_...`
    public let code: Int32
    /// What the names of its files end in; a PEFT folder has no suffix. Of formats that share one the first is meant by it.
    public let suffix: String
    /// Writes the adapter; what is at the path is replaced as a whole or left as it is.
    let write: @Sendable (Adapter, _ path: String, WriteOptions) throws(LoragenError) -> Void
    /// Reads what it recognises; nil for a file of another format. A format that is only written has none.
    var read: (@Sendable (AdapterSource) throws(LoragenError) -> Adapter?)?
    /// The files that an adapter written to a path consists of.
    var files: @Sendable (_ path: String) -> [String] = { [$0] }
    /// Writes an adapter while it is made; nil for a format that needs it in memory.
    var stream: AdapterStream.Writer?
    /// Whether the base model's name, the targets and the orientation of its weights have a place in it, and notes.
    public var keepsBase = true
    public var keepsNotes = true

    /// The files that an adapter written to `path` consists of.
    public func files(at path: String) -> [String] { files(path) }
}

extension AdapterFormat: Hashable, CustomStringConvertible {
    public var description: String { name }
    public static func == (a: AdapterFormat, b: AdapterFormat) -> Bool { a.name == b.name }
    public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

public let formats = Registry<AdapterFormat>(
    "format", [.peft, .safetensors, .kohya, .diffusers, .onnx, .gguf, .onnxAdapter, .npz]
) { $0.name }

/// A file or folder that is to be read as an adapter, and what was asked for.
struct AdapterSource {
    let path: String
    let isFolder: Bool
    /// nil for a folder.
    let file: MappedFile?
    /// The file as safetensors, where nothing else recognised it before.
    var tensors: SafetensorsFile?
    /// The base model, where a format needs it.
    let base: String?
    let part: LoRAPart
    let note: (String) throws(LoragenError) -> Void
}

extension AdapterFormat {
    /// A folder that PEFT and the servers that read its folders load. mlx-lm's are read too.
    public static let peft = AdapterFormat(
        name: "peft", code: 0, suffix: "",
        write: { adapter, path, options throws(LoragenError) in
            try PEFTFolder.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard source.isFolder else { return nil }
            if try MLXFolder.isOne(source.path) { return try MLXFolder.read(path: source.path) }
            return try PEFTFolder.read(path: source.path, part: source.part, note: source.note)
        },
        files: { path in [PEFTFolder.weightsName, PEFTConfig.fileName].map { joinPath(path, $0) } },
        stream: AdapterStream.writeFolder)

    /// One `.safetensors` file with PEFT's keys, and the layout in its metadata. What nothing else recognises is read as one.
    public static let safetensors = AdapterFormat(
        name: "safetensors", code: 1, suffix: ".safetensors",
        write: { adapter, path, options throws(LoragenError) in
            try AdapterFile.write(adapter, to: path, options: options)
        }, stream: AdapterStream.writeFile)

    /// One `.safetensors` file as diffusers saves it, for a pipeline's models.
    public static let diffusers = AdapterFormat(
        name: "diffusers", code: 3, suffix: ".safetensors",
        write: { adapter, path, options throws(LoragenError) in
            try DiffusersFile.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard let tensors = source.tensors, DiffusersFile.recognises(tensors) else { return nil }
            return try DiffusersFile.read(tensors, part: source.part, note: source.note)
        }, keepsBase: false)

    /// One `.safetensors` file with kohya's names, for Stable Diffusion 1, SDXL and Flux.
    public static let kohya = AdapterFormat(
        name: "kohya", code: 4, suffix: ".safetensors",
        write: { adapter, path, options throws(LoragenError) in
            try KohyaFile.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard let tensors = source.tensors, KohyaFile.recognises(tensors) else { return nil }
            return try KohyaFile.read(tensors, part: source.part, note: source.note)
        }, keepsBase: false)

    /// One `.onnx` file with the tensors as initializers, through `libloragen_onnx`.
    public static let onnx = AdapterFormat(
        name: "onnx", code: 2, suffix: ".onnx",
        write: { adapter, path, options throws(LoragenError) in try ONNX.write(adapter, to: path, options: options) },
        read: { source throws(LoragenError) in
            guard !source.isFolder, source.path.hasSuffix(".onnx") else { return nil }
            return try ONNX.read(path: source.path)
        }, files: { [$0, $0 + ".data"] })

    /// One `.gguf` file for llama.cpp.
    public static let gguf = AdapterFormat(
        name: "gguf", code: 5, suffix: ".gguf",
        write: { adapter, path, options throws(LoragenError) in
            try GGUFAdapter.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard let file = source.file, GGUFFile.isOne(file.bytes) else { return nil }
            return try GGUFAdapter.read(GGUFFile(file: file), base: source.base)
        })

    /// One `.onnx_adapter` file for ONNX Runtime's LoraAdapter.
    public static let onnxAdapter = AdapterFormat(
        name: "onnx-adapter", code: 6, suffix: ".onnx_adapter",
        write: { adapter, path, options throws(LoragenError) in
            try ONNXAdapter.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard let file = source.file, ONNXAdapter.isOne(file.bytes) else { return nil }
            return try ONNXAdapter.read(file)
        }, keepsBase: false, keepsNotes: false)

    /// One `.npz` file for NumPy.
    public static let npz = AdapterFormat(
        name: "npz", code: 7, suffix: ".npz",
        write: { adapter, path, options throws(LoragenError) in
            try NumPyArchive.write(adapter, to: path, options: options)
        },
        read: { source throws(LoragenError) in
            guard let file = source.file, ZipFile.isOne(file.bytes) else { return nil }
            return try NumPyArchive.read(file)
        })

    /// What the suffix of a path says. A path without one, or with '/' at its end, or of a folder, is a PEFT folder.
    /// Throws `.invalidArgument` for a suffix that is of no format.
    public init(path: String) throws(LoragenError) {
        let name = splitPath(path).name
        if let known = formats.all.first(where: { !$0.suffix.isEmpty && name.hasSuffix($0.suffix) }) {
            self = known
            return
        }
        self = .peft
        if path.utf8.last == UInt8(ascii: "/") { return }
        if try PathKind.of(path) == .folder { return }
        // "llama-3.1" has none, "adapter.weird" has.
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return }
        let suffix = name[name.index(after: dot)...]
        guard let first = suffix.first, first.isLetter, suffix.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" })
        else { return }
        throw LoragenError(
            .invalidArgument,
            "\(path): no format has the suffix '.\(shortened(String(suffix)))'; expected "
                + "\(Self.suffixes.joined(separator: ", ")), a name without a suffix for a PEFT folder, or the format by name"
        )
    }

    /// Of all formats that are files.
    public static var suffixes: [String] {
        Set(formats.all.map(\.suffix)).subtracting([""]).sorted(by: precedes)
    }
}
