import Adapters
import Glibc
import Tensor

/// Adapters at one place that need not fit together, and may be broken: what is looked at before there is a corpus.
public struct AdapterCollection: Sendable {
    /// One adapter, not yet read.
    public struct Item: Sendable {
        /// Relative to the collection.
        public let name: String
        /// What a manifest says of it.
        public let entry: CorpusEntry?
        fileprivate let index: Int
    }

    public let path: String
    public let items: [Item]
    /// Lines of the manifest that cannot be used.
    public let problems: [LoragenError]
    private let source: (any CorpusSource)?

    private static let depthLimit = 8

    /// Finds the adapters of a corpus with a manifest, of a packed corpus, or of a folder: every folder below it that has
    /// an `adapter_config.json`, and every file whose name ends like an adapter's. Throws `.io`, and `.format` when there
    /// is none.
    public init(path: String) throws(LoragenError) {
        self.path = path
        var info = stat()
        guard !path.isEmpty, stat(path, &info) == 0 else {
            throw LoragenError(.io, "\(path): there is no such file or folder; expected a folder of adapters")
        }
        let isFolder = info.st_mode & S_IFMT == S_IFDIR
        if isFolder && access("\(path)/\(Corpus.manifestName)", F_OK) != 0 {
            var names: [String] = []
            try Self.find(in: path, below: "", depth: 0, &names)
            items = names.sorted(by: precedes).enumerated().map { Item(name: $1, entry: nil, index: $0) }
            problems = []
            source = nil
        } else {
            let source = try corpusSource(path)
            var items: [Item] = []
            var problems: [LoragenError] = []
            for (i, line) in source.lines.enumerated() {
                do throws(LoragenError) {
                    let entry = try line.entry()
                    items.append(Item(name: entry.path, entry: entry, index: i))
                } catch {
                    problems.append(error)
                }
            }
            self.items = items
            self.problems = problems
            self.source = source
        }
        if items.isEmpty && problems.isEmpty {
            throw LoragenError(
                .format,
                "\(path): no adapter in it; expected folders with an adapter_config.json, or adapter files")
        }
    }

    /// Reads one adapter.
    public func read(_ item: Item) throws(LoragenError) -> Adapter {
        if let source, let entry = item.entry { return try source.adapter(item.index, entry) }
        return try Adapter.read(path: item.name == "." ? path : "\(path)/\(item.name)")
    }

    /// Adapter folders may have others inside, a run's checkpoints; their own files are not adapters of their own.
    private static func find(
        in path: String, below name: String, depth: Int, _ names: inout [String]
    ) throws(LoragenError) {
        guard let directory = opendir(path) else {
            if depth > 0 { return }
            throw LoragenError(.io, "\(path): cannot list it: \(String(cString: strerror(errno)))")
        }
        defer { closedir(directory) }
        let isAdapter = access("\(path)/adapter_config.json", F_OK) == 0
        if isAdapter { names.append(name.isEmpty ? "." : name) }
        while let entry = readdir(directory) {
            let child = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
            }
            guard let child, !child.hasPrefix(".") else { continue }
            let (inner, full) = (name.isEmpty ? child : "\(name)/\(child)", "\(path)/\(child)")
            var info = stat()
            guard stat(full, &info) == 0 else { continue }
            switch info.st_mode & S_IFMT {
            case S_IFDIR where depth < depthLimit: try find(in: full, below: inner, depth: depth + 1, &names)
            case S_IFREG where !isAdapter && isAdapterFile(child): names.append(inner)
            default: break
            }
        }
    }

    private static func isAdapterFile(_ name: String) -> Bool {
        [".safetensors", ".onnx", ".onnx_adapter", ".gguf", ".npz"].contains { name.hasSuffix($0) }
    }
}
