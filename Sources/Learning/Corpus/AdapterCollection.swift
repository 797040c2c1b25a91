import Adapters
import Glibc
import Tensor

/// Adapters at one place that need not fit together, and may be broken: what is looked at before there is a corpus.
public struct AdapterCollection: Sendable {
    /// One adapter, not yet read.
    public struct Item: Sendable {
        /// Relative to the collection.
        public let name: String
        /// What the corpus says of it; nil for an adapter that training would not use.
        public let entry: CorpusEntry?
        /// The line of the corpus, or -1.
        public let line: Int
        /// A file with an adapter's suffix, which may be something else.
        public let isFile: Bool
    }

    public let path: String
    public let items: [Item]
    /// Lines of the manifest that cannot be used, or why there is no corpus.
    public let problems: [LoragenError]
    /// What training would use; nil when there is nothing.
    public let source: (any CorpusSource)?

    /// Finds the adapters of a corpus with a manifest, of a packed corpus, or of a folder: every folder below it that has
    /// an `adapter_config.json`, and every file whose name ends like an adapter's. Throws `.io`, and `.format` when there
    /// is none.
    public init(path: String) throws(LoragenError) {
        self.path = path
        var info = stat()
        guard !path.isEmpty, stat(path, &info) == 0 else {
            throw LoragenError(.io, "\(path): there is no such file or folder; expected a folder of adapters")
        }
        var items: [Item] = []
        var problems: [LoragenError] = []
        if info.st_mode & S_IFMT == S_IFDIR {
            let walk = try FolderWalk(path)
            let hasManifest = access("\(path)/\(Corpus.manifestName)", F_OK) == 0
            var source: (any CorpusSource)?
            do throws(LoragenError) { source = try FolderSource(walk) } catch {
                if error.code == .memory { throw error }
                if hasManifest || walk.found.isEmpty {
                    let reason = hasManifest ? error.message : "\(path): no adapter in it; \(error.message)"
                    throw LoragenError(error.code, reason)
                }
                problems.append(error)
            }
            self.source = source
            if !hasManifest {
                // In the order of their names, those of the corpus among the others.
                var lines: [String: Int] = [:]
                for (i, line) in (source?.lines ?? []).enumerated() {
                    if case .folder(let name) = line { lines[name] = i }
                }
                items = walk.found.map { found in
                    let line = lines[found.name]
                    return Item(
                        name: found.name, entry: line.map { _ in CorpusEntry(folder: found.name) }, line: line ?? -1,
                        isFile: !found.isFolder)
                }
            }
        } else {
            source = try PackedSource(path)
        }
        if items.isEmpty {
            for (i, line) in (source?.lines ?? []).enumerated() {
                do throws(LoragenError) {
                    let entry = try line.entry()
                    items.append(Item(name: entry.path, entry: entry, line: i, isFile: false))
                } catch { problems.append(error) }
            }
        }
        (self.items, self.problems) = (items, problems)
    }

    /// Reads one adapter.
    public func read(_ item: Item) throws(LoragenError) -> Adapter {
        if let source, let entry = item.entry { return try source.adapter(item.line, entry) }
        return try Adapter.read(path: item.name == "." ? path : "\(path)/\(item.name)")
    }
}
