import Files
import Formats
import Tensor

extension Corpus {
    /// Writes the corpus as PEFT folders with a manifest. Throws `.io` when `folder` exists. It appears whole or not at all.
    public func unpack(to folder: String) throws(LoragenError) {
        let target = try AtomicFolder(path: folder, isNew: true)
        try target.fill { (inside) throws(LoragenError) in
            var manifest = ""
            var names = Set(entries.map(\.path))
            for (i, stored) in entries.enumerated() {
                let entry = Self.asFolder(stored, besides: &names)
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

    /// A file's suffix would not be a folder's: "cat.safetensors" becomes "cat", or "cat-2" where that is taken.
    private static func asFolder(_ stored: CorpusEntry, besides names: inout Set<String>) -> CorpusEntry {
        guard let suffix = AdapterFormat.suffixes.first(where: stored.path.hasSuffix) else { return stored }
        var entry = stored
        var stem = String(stored.path.dropLast(suffix.count))
        if stem.isEmpty || stem.hasSuffix("/") { stem += "adapter" }
        var count = 1
        repeat {
            entry.path = count == 1 ? stem : "\(stem)-\(count)"
            count += 1
        } while !names.insert(entry.path).inserted
        return entry
    }
}
