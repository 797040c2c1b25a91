import Adapters
import Glibc
import Tensor

extension Corpus {
    /// Writes the corpus as PEFT folders with a manifest. Throws `.io` when `folder` exists. On failure what was written
    /// is removed.
    public func unpack(to folder: String) throws(LoragenError) {
        guard !folder.isEmpty, mkdir(folder, 0o777) == 0 else {
            throw LoragenError(.io, "\(folder): cannot make the folder: \(String(cString: strerror(errno)))")
        }
        var made: [String] = []
        do throws(LoragenError) {
            var manifest = ""
            for (i, entry) in entries.enumerated() {
                let parts = entry.path.split(separator: "/").map(String.init)
                for depth in 1..<max(1, parts.count) {
                    let parent = "\(folder)/" + parts[..<depth].joined(separator: "/")
                    if mkdir(parent, 0o777) == 0 { made.append(parent) }
                }
                let path = "\(folder)/\(parts.joined(separator: "/"))"
                try adapter(at: i).write(to: path, format: .peft, options: WriteOptions(form: .kept))
                made.append(path)
                manifest += try entry.json.text() + "\n"
            }
            let file = try AtomicFile(path: "\(folder)/\(Self.manifestName)")
            try file.append(manifest)
            try file.commit()
        } catch {
            for path in made.reversed() {
                for name in ["adapter_config.json", "adapter_model.safetensors"] { unlink("\(path)/\(name)") }
                rmdir(path)
            }
            rmdir(folder)
            throw error
        }
    }
}
