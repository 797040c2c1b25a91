import Adapters
import Glibc
import Tensor

/// Finds out what kind of corpus is at a path.
func corpusSource(_ path: String) throws(LoragenError) -> any CorpusSource {
    var info = stat()
    guard !path.isEmpty, stat(path, &info) == 0 else {
        throw LoragenError(.io, "\(path): there is no such file or folder; expected a corpus of adapters")
    }
    return info.st_mode & S_IFMT == S_IFDIR ? try FolderSource(path) : try PackedSource(path)
}

/// A folder of PEFT adapter folders.
struct FolderSource: CorpusSource {
    let path: String
    let lines: [ManifestLine]

    init(_ path: String) throws(LoragenError) {
        self.path = path
        let manifest = "\(path)/\(Corpus.manifestName)"
        if access(manifest, F_OK) == 0 {
            let file = try MappedFile(path: manifest)
            guard let text = String(validating: file.bytes, as: UTF8.self) else {
                throw LoragenError(.format, "\(manifest): not UTF-8 text")
            }
            lines = ManifestLine.parse(text, name: manifest)
            if lines.isEmpty { throw LoragenError(.format, "\(manifest): it lists no adapter") }
        } else {
            lines = try Self.adapterFolders(in: path).map { .folder($0) }
            if lines.isEmpty {
                throw LoragenError(
                    .format,
                    "\(path): neither a manifest \(Corpus.manifestName) nor a sub-folder with an adapter_config.json")
            }
        }
    }

    func name(_ entry: CorpusEntry) -> String { "\(path)/\(entry.path)/adapter_model.safetensors" }

    func reader(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> any AdapterReader {
        try PEFTFolder.reader(path: "\(path)/\(entry.path)")
    }

    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter {
        try PEFTFolder.read(path: "\(path)/\(entry.path)")
    }

    /// The names of the sub-folders that hold an adapter, by their UTF-8 bytes.
    private static func adapterFolders(in path: String) throws(LoragenError) -> [String] {
        guard let directory = opendir(path) else {
            throw LoragenError(.io, "\(path): cannot list it: \(String(cString: strerror(errno)))")
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let item = readdir(directory) {
            let name = withUnsafePointer(to: &item.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
            }
            guard let name, !name.hasPrefix(".") else { continue }
            if access("\(path)/\(name)/adapter_config.json", F_OK) == 0 { names.append(name) }
        }
        return names.sorted(by: precedes)
    }
}
