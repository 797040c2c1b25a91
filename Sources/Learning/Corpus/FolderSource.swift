import Adapters
import Files
import Formats
import Glibc
import Hosts
import Tensor

/// Finds out what kind of corpus is at a path.
func corpusSource(_ path: String) throws(LoragenError) -> any CorpusSource {
    var info = stat()
    guard !path.isEmpty, stat(path, &info) == 0 else {
        throw LoragenError(.io, "\(path): there is no such file or folder; expected a corpus of adapters")
    }
    return info.st_mode & S_IFMT == S_IFDIR ? try FolderSource(FolderWalk(path)) : try PackedSource(path)
}

/// A folder of adapters: those that a manifest lists, folders or files of any format, or every PEFT folder below it that is
/// not inside of another's.
struct FolderSource: CorpusSource {
    let path: String
    let lines: [ManifestLine]
    private let walk: FolderWalk
    /// The root without links.
    private let root: String?

    /// Throws `.format` when there is neither a manifest nor an adapter, or for a manifest that is no text.
    init(_ walk: FolderWalk) throws(LoragenError) {
        let path = walk.path
        self.path = path
        self.walk = walk
        root = resolved(path)
        let manifest = "\(path)/\(Corpus.manifestName)"
        if access(manifest, F_OK) == 0 {
            let file = try MappedFile(path: manifest)
            guard let text = String(validating: file.bytes, as: UTF8.self) else {
                throw LoragenError(.format, "\(manifest): not UTF-8 text; save it as UTF-8")
            }
            lines = ManifestLine.parse(text, name: manifest)
            if lines.isEmpty { throw LoragenError(.format, "\(manifest): it lists no adapter") }
        } else {
            lines = walk.found.filter { $0.isFolder && !$0.isNested && $0.name != "." }.map { .folder($0.name) }
            if lines.isEmpty { throw LoragenError(.format, Self.nothing(walk)) }
        }
    }

    static func nothing(_ walk: FolderWalk) -> String {
        let start =
            "\(walk.path): neither a manifest \(Corpus.manifestName) nor a folder with an adapter_config.json below it"
        if walk.found.contains(where: { $0.name == "." }) {
            return "\(walk.path): this is one adapter; a corpus is a folder of such folders"
        }
        let files = walk.found.filter { !$0.isFolder }.map(\.name)
        if !files.isEmpty {
            return start
                + "; files such as \(listed(files)) are read when a manifest lists them, which `loragen corpus import` "
                + "drafts"
        }
        return ([start] + walk.remarks.map(\.message)).joined(separator: "; ")
    }

    func name(_ entry: CorpusEntry) -> String {
        AdapterFormat.suffixes.contains(where: entry.path.hasSuffix)
            ? "\(path)/\(entry.path)" : "\(path)/\(entry.path)/adapter_model.safetensors"
    }

    func reader(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> any AdapterReader {
        if let compact = try compact(index, entry) { return try CoordinateReader(compact) }
        return try Adapter.reader(path: try folder(of: entry))
    }

    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter {
        if let compact = try compact(index, entry) { return try compact.coordinates() }
        return try Adapter.read(path: try folder(of: entry))
    }

    /// A manifest may list files of compact adapters, which are read in coordinates.
    func compact(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> CompactAdapter? {
        try CompactAdapter.found(at: try folder(of: entry))
    }

    func identity(_ entry: CorpusEntry) -> String? { resolved("\(path)/\(entry.path)") }

    /// A manifest may come from elsewhere: neither ".." nor a link leads out of the corpus. What a folder links to without
    /// a manifest, its owner has put there.
    private func folder(of entry: CorpusEntry) throws(LoragenError) -> String {
        let folder = "\(path)/\(entry.path)"
        guard hasManifest, let root, let real = resolved(folder) else { return folder }
        guard real == root || real.hasPrefix(root == "/" ? root : root + "/") else {
            throw LoragenError(
                .format,
                "\"\(entry.path)\" leaves the corpus: a link leads to \(real); move the adapter into the corpus")
        }
        return folder
    }

    private var hasManifest: Bool { lines.first?.place != nil }

    func remarks(_ listed: [CorpusEntry]) -> [Finding] {
        var remarks = walk.remarks
        if hasManifest {
            let paths = Set(listed.map { $0.path.split(separator: "/").filter { $0 != "." } })
            let folders = Set(listed.compactMap(identity))
            // Beside PEFT folders files are what they were converted to.
            let hasFiles = listed.contains { entry in AdapterFormat.suffixes.contains(where: entry.path.hasSuffix) }
            let names = walk.found.filter {
                ($0.isFolder || hasFiles) && !$0.isNested && $0.name != "."
                    && !paths.contains($0.name.split(separator: "/"))
            }.filter { found in
                let full = "\(path)/\(found.name)"
                if resolved(full).map(folders.contains) == true { return false }
                return found.isFolder || (try? OtherFile.kind(of: full)) == nil
            }.map(\.name)
            if !names.isEmpty {
                remarks.append(
                    Finding(
                        .warning, "unlisted",
                        "\(path): \(counted(names.count, "adapter")) not in \(Corpus.manifestName), so that nothing is "
                            + "learnt from it: \(Files.listed(names))",
                        "Add a line for each, or move them elsewhere.", names))
            }
            return remarks
        }
        return remarks + withoutManifest
    }

    private var withoutManifest: [Finding] {
        var remarks: [Finding] = []
        let nested = walk.found.filter { $0.isFolder && $0.isNested }.map(\.name)
        if !nested.isEmpty {
            remarks.append(
                Finding(
                    .warning, "nested",
                    "\(path): \(counted(nested.count, "adapter")) inside of another adapter's folder, as checkpoints are; "
                        + "not trained on: \(listed(nested))",
                    "Nothing, or list them in a manifest with the \"run\" of each.", nested))
        }
        let names = walk.rootFiles.filter(Self.isLikeManifest)
        if !names.isEmpty {
            remarks.append(
                Finding(
                    .warning, "misnamed-manifest",
                    "\(path): there is no \(Corpus.manifestName), but \(listed(names)), which is not read",
                    "If it is the manifest, name it \(Corpus.manifestName): else there are no conditions and no splits.",
                    names))
        }
        if !walk.manifests.isEmpty {
            remarks.append(
                Finding(
                    .warning, "misnamed-manifest",
                    "\(path): the manifest of \(listed(walk.manifests)) is not read, for it is not at the top",
                    "Give that folder, or move \(Corpus.manifestName) up and correct its paths.", walk.manifests))
        }
        return remarks
    }

    /// "Corpus.jsonl", "corpus.json", "corpus.jsonl.txt", "manifest.jsonl", "metadata.csv", ...
    private static func isLikeManifest(_ name: String) -> Bool {
        let name = name.lowercased()
        let stems = ["corpus", "manifest", "metadata", "index"]
        let suffixes = [".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".yaml", ".yml"]
        return name.hasSuffix(".jsonl") || name.hasSuffix(".ndjson") || name.hasPrefix("corpus.json")
            || stems.contains { stem in suffixes.contains { name == stem + $0 } }
    }
}

/// A path without links; nil when there is nothing.
func resolved(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
}
