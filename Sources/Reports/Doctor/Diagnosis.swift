import Adapters
import Files
import Formats
import Learning
import Tensor

/// What is to be known of a folder of adapters before a generator is trained on them: the doctor's visit.
public struct Diagnosis {
    /// What was found out about one group.
    struct Chart {
        let group: AdapterGroup
        /// Members that were compared: those that are not zero, up to a limit.
        let compared: [Int]
        let gram: Gram
        /// By direction, and by the whole difference.
        let clusters: Clusters
        let copySets: Clusters
        /// For each compared member the nearest other one and the cosine.
        let neighbours: [(index: Int, similarity: Double)]
        /// Members of one run by their weights, as indices into `compared`.
        let runs: [[Int]]
        let diversity: Diversity?
    }

    public let path: String
    public let adapterCount: Int
    public let findings: [Finding]
    public var errorCount: Int { findings.reduce(0) { $0 + ($1.severity == .error ? 1 : 0) } }
    /// One line: whether to train on this.
    public let verdict: String
    let charts: [Chart]

    /// The most adapters of a group that are compared with each other; memory grows with the square.
    static let comparedLimit = 4096
    /// The most adapters that diversity is measured on; its time grows with the third power.
    static let diversityLimit = 1024

    /// Looks at every adapter below `path`: a corpus with a manifest, a packed corpus, or any folder. Broken ones become
    /// findings. Throws `.io` and `.format` when there is nothing to look at, and `.cancelled`.
    ///
    /// - Parameter memoryLimit: bytes of factors to hold; beyond, similarities are estimated from digests. 0: 1 GiB, or a
    ///   quarter of what the process can have.
    public init(path: String, memoryLimit: Int = 0, progress: ProgressHandler? = nil) throws(LoragenError) {
        let collection = try AdapterCollection(path: path)
        self.path = path
        var findings: [Finding] = []
        let (groups, readings) = try Self.read(
            collection, memoryLimit: memoryLimit > 0 ? memoryLimit : min(1 << 30, Int(clamping: Memory.available / 4)),
            progress)
        let others = try typed {
            try zip(collection.items, readings).filter { try $0.isFile && Self.otherKind($0, $1, path) != nil }
        }
        adapterCount = collection.items.count - others.count
        findings += Self.training(collection, readings)
        findings += try Self.unused(collection, readings)
        if groups.count > 1 {
            let list = groups.map { "(\($0.description))" }.joined(separator: ", ")
            findings.append(
                Finding(
                    .warning, "several-groups",
                    "\(groups.count) groups that cannot be trained together: \(list)",
                    "Give each base model and set of target modules a folder and a generator of its own; \(BaseName.advice)."
                ))
        }
        var charts: [Chart] = []
        var reporter = ProgressReporter(progress)
        for (i, group) in groups.enumerated() {
            let cancelled = reporter.report(force: true) { Progress(stage: "comparing", step: i, steps: groups.count) }
            if cancelled { throw LoragenError(.cancelled, "the look at \(path) was cancelled") }
            let chart = try Chart(group)
            for var finding in chart.findings {
                finding.group = i
                findings.append(finding)
            }
            charts.append(chart)
        }
        self.charts = charts
        // The worst first, otherwise in the order in which they were found.
        self.findings = findings.enumerated().sorted { a, b in
            a.element.severity == b.element.severity ? a.offset < b.offset : a.element.severity > b.element.severity
        }.map(\.element)
        verdict = Self.verdict(self.findings, charts)
    }

    /// Reads a few adapters at a time, on several threads. What became of each is in the order of the items.
    private static func read(
        _ collection: AdapterCollection, memoryLimit: Int, _ progress: ProgressHandler?
    ) throws(LoragenError) -> (groups: [AdapterGroup], readings: [Result<Layout, LoragenError>]) {
        var groups: [AdapterGroup] = []
        var readings: [Result<Layout, LoragenError>] = []
        var reporter = ProgressReporter(progress)
        let items = collection.items
        let batch = 16
        for start in stride(from: 0, to: items.count, by: batch) {
            let part = Array(items[start..<min(items.count, start + batch)])
            var results = [Result<Reading, LoragenError>?](repeating: nil, count: part.count)
            results.withUnsafeMutableBufferPointer { buffer in
                nonisolated(unsafe) let target = buffer
                Threads.parallelFor(part.count) { i in
                    target[i] = Result { () throws(LoragenError) in try Reading(part[i], of: collection) }
                }
            }
            for result in results {
                let result = result ?? .failure(LoragenError(.internalError, "an adapter was not read"))
                if case .failure(let error) = result, error.code == .memory { throw error }
                readings.append(result.map(\.layout))
                guard case .success(let reading) = result else { continue }
                let group = groups.first { $0.fits(reading.layout) } ?? AdapterGroup(like: reading.layout)
                if group.members.isEmpty { groups.append(group) }
                group.add(reading)
            }
            while groups.reduce(0, { $0 + $1.factorBytes }) > memoryLimit,
                let largest = groups.max(by: { $0.factorBytes < $1.factorBytes })
            {
                // Random signs for both sides of every module, at least 8 of them.
                let signs = largest.modules.reduce(0.0) { $0 + Double($1.outputs + $1.columns) }
                try Memory.require(
                    4 * signs * Double(max(8, 8192 / max(1, largest.modules.count))), for: "digests of adapters")
                largest.condense()
            }
            let done = min(items.count, start + batch)
            if reporter.report(
                force: done == items.count, { Progress(stage: "reading", step: done, steps: items.count) })
            {
                throw LoragenError(.cancelled, "the look at \(collection.path) was cancelled")
            }
        }
        return (groups.sorted { $0.members.count > $1.members.count }, readings)
    }

    /// What training says of the corpus: the check that it makes itself, of what has been read.
    private static func training(
        _ collection: AdapterCollection, _ readings: [Result<Layout, LoragenError>]
    ) -> [Finding] {
        guard let source = collection.source else {
            return collection.problems.map {
                Finding(
                    .error, "no-corpus", $0.message,
                    "Give a folder of PEFT folders; docs/corpus.md says how it is read.")
            }
        }
        var lines: [Int: Result<Layout, LoragenError>] = [:]
        for (item, reading) in zip(collection.items, readings) where item.line >= 0 { lines[item.line] = reading }
        var problems: [CorpusCheck.Problem] = []
        let check = CorpusCheck(
            source, path: collection.path,
            layout: { (line, _) throws(LoragenError) in
                guard let reading = lines[line] else {
                    throw LoragenError(.internalError, "the adapter of line \(line) was not read")
                }
                return try reading.get()
            },
            problem: { problem in
                problems.append(problem)
                return false
            })
        let misfits = problems.filter { $0.code == "does-not-fit" }
        var findings = problems.filter { $0.code != "does-not-fit" }.map(finding)
        if let first = misfits.first {
            let more = misfits.count > 1 ? " (and \(misfits.count - 1) more)" : ""
            findings.append(
                Finding(
                    .error, "does-not-fit", first.error.message + more,
                    "Move them elsewhere: one generator learns one base model and one set of modules.",
                    misfits.flatMap(\.names)))
        }
        return findings + check.remarks
    }

    private static func finding(_ problem: CorpusCheck.Problem) -> Finding {
        let advice =
            switch problem.code {
            case "manifest": "Correct the line; docs/corpus.md has the schema."
            case "non-finite": "Remove it or train it again; no host would notice."
            case "unsupported": "A generator cannot learn from it; move it elsewhere."
            default: "Repair the adapter or take it out of the folder."
            }
        return Finding(.error, problem.code, problem.error.message, advice, problem.names)
    }

    /// What was found beside the corpus: broken adapters, whole ones that training does not read, and other files.
    private static func unused(
        _ collection: AdapterCollection, _ readings: [Result<Layout, LoragenError>]
    ) throws(LoragenError) -> [Finding] {
        var findings: [Finding] = []
        var (files, others): ([String], [String]) = ([], [])
        for (item, reading) in zip(collection.items, readings) where item.entry == nil {
            if case .failure(let error) = reading {
                if let kind = try otherKind(item, reading, collection.path) {
                    others.append("\(item.name) (\(kind))")
                    continue
                }
                let code =
                    error.code == .nonFinite
                    ? "non-finite" : error.code == .unsupported ? "unsupported" : "unreadable"
                findings.append(
                    Finding(
                        .warning, code, error.message, "Training does not read it; repair it or move it elsewhere.",
                        [item.name]))
            } else if item.isFile {
                files.append(item.name)
            }
        }
        if !files.isEmpty, collection.source != nil {
            findings.append(
                Finding(
                    .warning, "not-in-corpus",
                    "\(counted(files.count, "adapter file")) that training does not read: \(listed(files))",
                    "`loragen corpus import` drafts a manifest that lists them, if there is none; else add a line for each.",
                    files))
        }
        if !others.isEmpty {
            findings.append(
                Finding(
                    .note, "other-file", "\(counted(others.count, "file")) passed over, no adapters: \(listed(others))",
                    "Nothing, or move them elsewhere.", others))
        }
        return findings
    }

    private static func otherKind(
        _ item: AdapterCollection.Item, _ reading: Result<Layout, LoragenError>, _ path: String
    ) throws(LoragenError) -> String? {
        guard item.isFile, case .failure = reading else { return nil }
        return try OtherFile.kind(of: "\(path)/\(item.name)")
    }

    private static func verdict(_ findings: [Finding], _ charts: [Chart]) -> String {
        let errors = findings.reduce(0) { $0 + ($1.severity == .error ? 1 : 0) }
        guard let chart = charts.first else { return "No adapter could be read: there is nothing to train on." }
        let start = errors > 0 ? "Mend \(counted(errors, "error")) first. " : ""
        guard let diversity = chart.diversity, let skill = diversity.spanSkill, diversity.blocks >= 8 else {
            return start + "Too few independent adapters to learn from; a generator needs dozens at least."
        }
        let share = "the others explain \(decimal(100 * max(0, skill), 0)) % of an adapter that is left out"
        switch skill {
        case 0.5...: return start + "Enough diversity to generalise: \(share)."
        case 0.2..<0.5: return start + "Little in common: \(share); a generator will be weak."
        default: return start + "Hardly anything in common: \(share); a generator would only memorise."
        }
    }
}
