import Adapters
import Conditions
import Files
import Tensor

/// Whether a corpus can be trained on: the one check that opening it, `loragen corpus check` and the doctor share. What is
/// no problem here does not stop a training.
public struct CorpusCheck {
    /// What stops training.
    public struct Problem {
        /// The doctor's name for it: docs/doctor.md lists them.
        public let code: String
        public let error: LoragenError
        /// Paths of the adapters that it is about; empty for a line that names none.
        public var names: [String] = []
        /// False for a corpus that can be listed and compared with, though there is nothing to train on.
        var preventsOpening = true
    }

    /// What a corpus without problems is.
    struct Sound {
        var entries: [CorpusEntry]
        var layout: Layout
        var isRecut: Bool
    }

    /// nil when there was a problem that prevents opening.
    private(set) var sound: Sound?
    /// What does not stop training, but should be known before; none when the check was stopped.
    public private(set) var remarks: [Finding] = []

    /// An entry with its place in the source, and in the manifest if there is one.
    private struct Listed {
        var entry: CorpusEntry
        var index: Int
        var place: String?
    }

    private struct Stop: Error {}
    private typealias Report = (Problem) throws(Stop) -> Void

    /// - Parameters:
    ///   - layout: reads and checks the adapter of a line.
    ///   - problem: is told every problem until it returns true.
    public init(
        _ source: any CorpusSource, path: String,
        layout: (_ line: Int, CorpusEntry) throws(LoragenError) -> Layout, problem: (Problem) -> Bool
    ) {
        var isSound = true
        func report(_ found: Problem) throws(Stop) {
            if found.preventsOpening { isSound = false }
            if problem(found) { throw Stop() }
        }
        do throws(Stop) {
            let listed = try Self.listed(source, report)
            try Self.compare(listed, source, path, report)
            let fitted = try Self.fit(listed, path, layout, report)
            remarks = source.remarks(listed.map(\.entry)) + Self.remarks(listed, fitted?.layout, path)
            if let fitted, isSound {
                sound = Sound(entries: listed.map(\.entry), layout: fitted.layout, isRecut: fitted.isRecut)
            }
        } catch {}
    }

    private static func listed(_ source: any CorpusSource, _ report: Report) throws(Stop) -> [Listed] {
        var listed: [Listed] = []
        for (i, line) in source.lines.enumerated() {
            do throws(LoragenError) {
                listed.append(Listed(entry: try line.entry(), index: i, place: line.place))
                continue
            } catch { try report(Problem(code: "manifest", error: error)) }
        }
        return listed
    }

    /// What no single line shows: repeated adapters, tasks in two splits, conditions that do not fit together, nothing to
    /// train on.
    private static func compare(
        _ listed: [Listed], _ source: any CorpusSource, _ path: String, _ report: Report
    ) throws(Stop) {
        var paths: [[Substring]: Listed] = [:]
        var identities: [String: Listed] = [:]
        var tasks: [String: Listed] = [:]
        var runs: [String: Listed] = [:]
        func found(_ other: Listed) -> String { other.place ?? "\(path)/\(other.entry.path)" }
        for item in listed {
            let entry = item.entry
            let place = found(item)
            func tell(_ code: LoragenError.Code, _ field: String, _ what: String) throws(Stop) {
                try report(
                    Problem(
                        code: "manifest", error: LoragenError(code, "\(place), field \"\(field)\": \(what)"),
                        names: [entry.path]))
            }
            // "a", "a/" and "./a" are one folder, and so is a link to it.
            let parts = entry.path.split(separator: "/").filter { $0 != "." }
            let identity = source.identity(entry) ?? entry.path
            if let other = paths[parts] ?? identities[identity] {
                let same = other.entry.path == entry.path ? "" : ", as \"\(other.entry.path)\""
                try tell(.format, "path", "\"\(entry.path)\" is listed before, at \(found(other))\(same)")
            }
            paths[parts] = paths[parts] ?? item
            identities[identity] = identities[identity] ?? item
            for (what, name, table) in [("task", entry.task, tasks), ("run", entry.run, runs)] {
                guard let other = table[name], other.entry.split != entry.split else { continue }
                try tell(
                    .mismatch, "split",
                    "the \(what) \"\(name)\" is in \"\(entry.split.name)\" here and in "
                        + "\"\(other.entry.split.name)\" at \(found(other)); a \(what) belongs to one split")
            }
            tasks[entry.task] = tasks[entry.task] ?? item
            runs[entry.run] = runs[entry.run] ?? item
            guard let first = listed.first?.entry else { continue }
            let others = describe(first.condition)
            if let own = (entry.ways.isEmpty ? [entry.condition] : entry.ways).map(describe).first(where: {
                $0 != others
            }) {
                try tell(
                    .mismatch, entry.condition.parts.isEmpty ? "condition" : entry.conditionField,
                    "the condition of \"\(entry.path)\" (\(own)) differs in name, kind or length from that of "
                        + "\"\(first.path)\" (\(others))")
            }
        }
        if !listed.isEmpty, !listed.contains(where: { $0.entry.split == .train }) {
            try report(
                Problem(
                    code: "manifest", error: LoragenError(.mismatch, "\(path): no adapter is in the split \"train\""),
                    preventsOpening: false))
        }
    }

    /// Names, kinds and lengths of the condition's parts; entries of a corpus have the same.
    private static func describe(_ condition: Condition) -> String {
        (try? condition.parts()).map(Schema.phrase) ?? ""
    }

    // MARK: Layouts

    /// Reads all adapters, and compares them with what most of them are.
    private static func fit(
        _ listed: [Listed], _ path: String, _ read: (Int, CorpusEntry) throws(LoragenError) -> Layout, _ report: Report
    ) throws(Stop) -> (layout: Layout, isRecut: Bool)? {
        var layouts: [(name: String, layout: Layout)] = []
        for item in listed {
            do throws(LoragenError) {
                layouts.append((item.entry.path, try read(item.index, item.entry).declared(by: item.entry)))
                continue
            } catch {
                let code =
                    switch error.code {
                    case .nonFinite: "non-finite"
                    case .unsupported: "unsupported"
                    default: "unreadable"
                    }
                let message = item.place.map { "\($0), field \"path\": \(error.message)" } ?? error.message
                try report(Problem(code: code, error: LoragenError(error.code, message), names: [item.entry.path]))
            }
        }
        guard let usual = mostCommon(layouts, by: { $0.layout.difference(from: $1.layout, ignoringRank: true) == nil })
        else { return nil }
        // Adapters whose config names no base model go with any.
        let named = layouts.filter { BaseName.canonical($0.layout.baseModel) != nil }
        let based = mostCommon(named, by: { baseDifference($0.layout, $1.layout) == nil }) ?? usual
        var ranks = usual.layout.modules.map(\.rank)
        var isRecut = false
        for (name, layout) in layouts {
            var difference = layout.difference(from: usual.layout, ignoringRank: true).map { ($0, usual.name) }
            difference = difference ?? baseDifference(layout, based.layout).map { ($0, based.name) }
            if let (what, other) = difference {
                let message = "\(path)/\(name) does not fit \(path)/\(other): \(what)"
                try report(Problem(code: "does-not-fit", error: LoragenError(.mismatch, message), names: [name]))
                continue
            }
            isRecut = isRecut || layout.difference(from: usual.layout) != nil
            for (i, module) in layout.modules.enumerated() { ranks[i] = max(ranks[i], module.rank) }
        }
        do throws(LoragenError) {
            let layout = try isRecut ? usual.layout.withRanks(ranks) : usual.layout
            return (layout.sharing(layouts.map(\.layout)), isRecut)
        } catch {
            try report(Problem(code: "does-not-fit", error: error))
            return nil
        }
    }

    /// The first of the largest set of equals, so that the odd one is named and not all others.
    private static func mostCommon<T>(_ items: [T], by isEqual: (T, T) -> Bool) -> T? {
        var sets: [(first: T, count: Int)] = []
        for item in items {
            if let place = sets.firstIndex(where: { isEqual(item, $0.first) }) {
                sets[place].count += 1
            } else {
                sets.append((item, 1))
            }
        }
        let most = sets.reduce(0) { max($0, $1.count) }
        return sets.first { $0.count == most }?.first
    }

    private static func baseDifference(_ layout: Layout, _ expected: Layout) -> String? {
        guard let base = layout.baseModel, let other = expected.baseModel, !BaseName.agree(base, other) else {
            return nil
        }
        return "its base model is \"\(base)\" where \"\(other)\" is expected; \(BaseName.advice)"
    }
}

// MARK: Remarks

extension CorpusCheck {
    /// What training would do that nobody may have meant.
    private static func remarks(_ listed: [Listed], _ layout: Layout?, _ path: String) -> [Finding] {
        let entries = listed.map(\.entry)
        guard let first = entries.first else { return [] }
        let hasManifest = listed.contains { $0.place != nil }
        let draft =
            hasManifest
            ? "Write"
            : "`loragen corpus init \(path)` drafts a \(Corpus.manifestName) from the folders' names; then write"
        return conditions(entries, first, path, draft) + splits(entries, path, draft) + kinds(layout, path)
    }

    private static func conditions(
        _ entries: [CorpusEntry], _ first: CorpusEntry, _ path: String, _ draft: String
    ) -> [Finding] {
        let conditions = entries.map(\.condition)
        if conditions.allSatisfy(\.parts.isEmpty) {
            if !first.texts.isEmpty || !first.images.isEmpty {
                return [
                    Finding(
                        .note, "needs-encoder",
                        "\(path): its tasks are said \(first.texts.isEmpty ? "by pictures" : "in words")",
                        "Train with --encoder FOLDER, which reads them.")
                ]
            }
            return [
                Finding(
                    .warning, "no-condition",
                    "\(path): no adapter has a condition, so that the generator will take none and make adapters of any "
                        + "kind",
                    "\(draft) \"bits\": \"0110\" or \"condition\": [0.2, -1] into each line, the same length in all: a task's "
                        + "labels, or its text's embedding; or \"text\": what the task is in words, for an encoder.")
            ]
        }
        guard entries.count > 1, conditions.allSatisfy({ $0 == first.condition }) else { return [] }
        return [
            Finding(
                .warning, "no-condition",
                "\(path): all adapters have the same condition, so that nothing can be learnt from it",
                "\(draft) into each line what its task is.")
        ]
    }

    private static func splits(_ entries: [CorpusEntry], _ path: String, _ draft: String) -> [Finding] {
        let splits = Set(entries.map(\.split))
        let write =
            "\(draft) \"split\": \"validation\" into a tenth of the lines, and \"split\": \"test\" into another, by task."
        if !splits.contains(.validation), !splits.contains(.test) {
            return [
                Finding(
                    .warning, "nothing-held-out",
                    "\(path): all adapters are in the split \"train\": nothing will be known of tasks that were not trained "
                        + "on",
                    write)
            ]
        }
        if !splits.contains(.validation) {
            return [
                Finding(
                    .warning, "no-validation",
                    "\(path): no adapter is in the split \"validation\": training takes all its steps, and the last weights",
                    write)
            ]
        }
        if splits.contains(.test) { return [] }
        return [
            Finding(
                .warning, "no-test",
                "\(path): no adapter is in the split \"test\": the report is measured on what training chose by", write)
        ]
    }

    private static func kinds(_ layout: Layout?, _ path: String) -> [Finding] {
        guard let odd = layout?.modules.first(where: { $0.hasMagnitude || $0.groups > 1 }) else { return [] }
        let what = odd.hasMagnitude ? "DoRA" : "a grouped convolution"
        return [
            Finding(
                .warning, "needs-factors",
                "\(path): module '\(odd.name)' is \(what), which methods that learn products refuse",
                "Train with --set space=factors (in C: settings {\"space\": \"factors\"}).")
        ]
    }
}
