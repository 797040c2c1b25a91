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
        let manifest = "\(path)/\(manifestName)"
        var info = stat()
        if lstat(manifest, &info) == 0 {
            throw LoragenError(.io, "\(manifest): it is there already; a manifest is never replaced")
        }
        let walk = try FolderWalk(path)
        let source = try FolderSource(walk)
        let names = try source.lines.map { (line) throws(LoragenError) in try line.entry().path }
        let drafts = names.map(Draft.init)
        let splits = splits(of: Set(drafts.map(\.task)), seed: seed)
        let areBits = drafts.allSatisfy { draft in
            draft.task.utf8.count == drafts[0].task.utf8.count && draft.task.utf8.count > 1
                && draft.task.utf8.allSatisfy { $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }
        }
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

    /// What a folder's name says.
    private struct Draft {
        let path: String
        let task: String
        let run: String

        init(_ path: String) {
            self.path = path
            var parts = path.split(separator: "/").map(String.init)
            /// Drops last components that only count something: "checkpoint-500", "final", and a cache's "snapshots/HASH".
            func drop(_ stems: [String], _ words: [String]) {
                while parts.count > 1, let last = parts.last {
                    let stem = stems.first { last.lowercased().hasPrefix($0) }
                    let rest = stem.map { last.dropFirst($0.utf8.count).drop { "-_=".contains($0) } }
                    let isCount = rest.map { !$0.isEmpty && $0.allSatisfy { $0.isASCII && $0.isNumber } } ?? false
                    if parts.count > 2, parts[parts.count - 2] == "snapshots" {
                        parts.removeLast(2)
                    } else if isCount || words.contains(last.lowercased()) {
                        parts.removeLast()
                    } else {
                        return
                    }
                }
            }
            drop(
                ["checkpoint", "global_step", "step", "epoch"],
                ["final", "last", "best", "default", "adapter", "lora"])
            run = parts.joined(separator: "/")
            drop(["run", "seed"], [])
            task = parts.joined(separator: "/")
        }
    }

    private static func splits(of tasks: Set<String>, seed: UInt64) -> [String: Split] {
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
