import Files
import Glibc
import Tensor

extension Corpus {
    /// Drafts the manifest of a folder that has none: a line for each adapter that training would use, in the order of
    /// their names. Tasks and runs are guessed from the names; a tenth of the tasks goes to validation and a tenth to the
    /// test, by a hash of seed and task, from five tasks on. Where all tasks are bits of one length they are the
    /// condition; else it is null, to be filled in. Throws `.io` when there is a manifest, and `.format` when there is no
    /// adapter.
    public static func draft(path: String, seed: UInt64) throws(LoragenError) {
        let manifest = try freshManifest(path)
        let walk = try FolderWalk(path)
        let source = try FolderSource(walk)
        let names = try source.lines.map { (line) throws(LoragenError) in try line.entry().path }
        let drafts = names.map { AdapterName($0) }
        let splits = splits(of: Set(drafts.map(\.task)), seed: seed)
        let areBits = areBits(drafts.map(\.task))
        let file = try AtomicFile(path: manifest)
        for draft in drafts {
            var line: JSONObject = [
                "path": .string(draft.path), "task": .string(draft.task), "run": .string(draft.run),
                "split": .string((splits[draft.task] ?? .train).name),
            ]
            line[areBits ? "bits" : "condition"] = areBits ? .string(draft.task) : .null
            line["text"] = .null
            try file.append(try JSON.object(line).text() + "\n")
        }
        try file.commit()
        for remark in source.remarks([]) where remark.code != "unlisted" { remark.log() }
    }

    /// Where the manifest of a folder is to be written. Throws `.io` when there is one.
    static func freshManifest(_ path: String) throws(LoragenError) -> String {
        let manifest = "\(path)/\(manifestName)"
        var info = stat()
        if lstat(manifest, &info) == 0 {
            throw LoragenError(.io, "\(manifest): it is there already; a manifest is never replaced")
        }
        return manifest
    }

    /// Whether all names are bits of one length.
    static func areBits(_ tasks: [String]) -> Bool {
        tasks.allSatisfy { task in
            task.utf8.count == tasks[0].utf8.count && task.utf8.count > 1
                && task.utf8.allSatisfy { $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }
        }
    }

    /// A tenth of the tasks each for validation and test, from five on; the others are not in it.
    static func splits(of tasks: Set<String>, seed: UInt64) -> [String: Split] {
        let held = tasks.count < 5 ? 0 : max(1, (tasks.count + 5) / 10)
        let order = tasks.map { task in
            var digest = SHA256()
            digest.update("\(seed) \(task)")
            return (digest.finish(), task)
        }.sorted { $0 < $1 }.map(\.1)
        var splits: [String: Split] = [:]
        for (place, task) in order.enumerated() where place < 2 * held {
            splits[task] = place < held ? .validation : .test
        }
        return splits
    }
}
