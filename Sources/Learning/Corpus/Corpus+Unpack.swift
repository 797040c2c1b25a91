import Files
import Formats
import Tensor

extension Corpus {
    /// Writes the corpus as PEFT folders with a manifest. Throws `.io` when `folder` exists. It appears whole or not at all.
    public func unpack(to folder: String) throws(LoragenError) {
        let target = try AtomicFolder(path: folder, isNew: true)
        try target.fill { (inside) throws(LoragenError) in
            var manifest = ""
            for (i, entry) in entries.enumerated() {
                let parts = entry.path.split(separator: "/").map(String.init)
                for depth in 1..<max(1, parts.count) {
                    try makeFolder("\(inside)/" + parts[..<depth].joined(separator: "/"))
                }
                try adapter(at: i).write(
                    to: "\(inside)/\(parts.joined(separator: "/"))", format: .peft, options: WriteOptions(form: .kept))
                manifest += try entry.json.text() + "\n"
            }
            let file = try AtomicFile(path: "\(inside)/\(Self.manifestName)")
            try file.append(manifest)
            try file.commit()
        }
        try target.commit()
    }
}
