/// What the path of an adapter says of it.
struct AdapterName {
    let path: String
    let task: String
    let run: String
    /// Of a checkpoint: how far the run had come. nil for the adapter that a run ended with.
    let step: Int?

    /// A file has `suffix`, which is no part of its name.
    init(_ path: String, suffix: String = "") {
        self.path = path
        var parts = path.dropLast(suffix.count).split(separator: "/").map(String.init)
        var step: Int?
        if !suffix.isEmpty, let last = parts.popLast() {
            let (stem, count) = Self.epoch(last)
            parts.append(stem)
            step = count
        }
        /// Drops last components that only count something: "checkpoint-500", "final", and a cache's "snapshots/HASH".
        func drop(_ stems: [String], _ words: [String]) {
            while parts.count > 1, let last = parts.last {
                let stem = stems.first { last.lowercased().hasPrefix($0) }
                let rest = stem.map { last.dropFirst($0.utf8.count).drop { "-_=".contains($0) } }
                let isCount = rest.map { !$0.isEmpty && $0.allSatisfy { $0.isASCII && $0.isNumber } } ?? false
                if parts.count > 2, parts[parts.count - 2] == "snapshots" {
                    parts.removeLast(2)
                } else if isCount {
                    if stems.contains("checkpoint") { step = step ?? rest.map { Int($0) ?? Int.max } }
                    parts.removeLast()
                } else if words.contains(last.lowercased()) {
                    parts.removeLast()
                } else {
                    return
                }
            }
        }
        drop(
            ["checkpoint", "global_step", "step", "epoch"],
            ["final", "last", "best", "default", "adapter", "lora", "pytorch_lora_weights"])
        run = parts.joined(separator: "/")
        drop(["run", "seed"], [])
        task = parts.joined(separator: "/")
        self.step = step
    }

    /// "cat-000004" of kohya is epoch 4 of "cat", "cat-step00000500" step 500; so is "cat_000000500" of ai-toolkit.
    private static func epoch(_ name: String) -> (stem: String, count: Int?) {
        for (mark, digits) in [("-step", 8), ("-", 6), ("_", 9)] {
            let count = name.suffix(digits)
            let rest = name.dropLast(digits)
            if count.utf8.count == digits, count.utf8.allSatisfy({ (0x30...0x39).contains($0) }), rest.hasSuffix(mark),
                rest.utf8.count > mark.utf8.count, let number = Int(count)
            {
                return (String(rest.dropLast(mark.count)), number)
            }
        }
        return (name, nil)
    }
}
