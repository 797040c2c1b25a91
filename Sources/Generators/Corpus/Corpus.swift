import Adapters
import Conditions
import Glibc
import Tensor

/// Fine-tuned adapters of one base model, with what is known of each.
///
/// A corpus is a folder of PEFT adapters with a manifest `corpus.jsonl`, or without one (every sub-folder that has an
/// `adapter_config.json` is an adapter and its name the task), or one packed `.safetensors` file.
public final class Corpus: Sendable {
    public static let manifestName = "corpus.jsonl"

    public let path: String
    public let entries: [CorpusEntry]
    /// What all adapters have in common; ranks and alphas are those that every adapter is re-cut to when they differ.
    public let layout: Layout
    /// True when the adapters' ranks or alphas differ, so that only their canonical factors are comparable.
    public let isRecut: Bool
    private let source: any CorpusSource

    /// Opens a corpus and checks all of it. The first problem is thrown; `check` finds all of them.
    public convenience init(path: String) throws(LoragenError) {
        var first: LoragenError?
        let parts = Self.open(path) { problem in
            first = problem
            return true
        }
        guard let parts, first == nil else {
            throw first ?? LoragenError(.internalError, "\(path): the corpus could not be opened")
        }
        self.init(path: path, parts: parts)
    }

    private init(path: String, parts: Parts) {
        self.path = path
        entries = parts.entries
        layout = parts.layout
        isRecut = parts.isRecut
        source = parts.source
    }

    /// Hands every problem of a corpus to `problem`, until that returns true; returns the first, nil if there is none.
    public static func check(path: String, problem: (LoragenError) -> Bool) -> LoragenError? {
        var first: LoragenError?
        _ = open(path) { error in
            if first == nil { first = error }
            return problem(error)
        }
        return first
    }

    /// The adapter of one entry, of the corpus' layout.
    public func adapter(at index: Int) throws(LoragenError) -> Adapter {
        guard entries.indices.contains(index) else {
            throw LoragenError(.invalidArgument, "the corpus has \(entries.count) adapters; there is no adapter \(index)")
        }
        let adapter = try source.adapter(index, entries[index])
        return isRecut ? try adapter.recut(ranks: layout.modules.map(\.rank)).adapter : adapter
    }

    public func indices(of split: Split) -> [Int] { entries.indices.filter { entries[$0].split == split } }

    // MARK: Opening

    private struct Parts {
        var entries: [CorpusEntry]
        var layout: Layout
        var isRecut: Bool
        var source: any CorpusSource
    }

    private struct Stop: Error {}

    private static func open(_ path: String, problem: (LoragenError) -> Bool) -> Parts? {
        func attempt<T>(_ body: () throws(LoragenError) -> T) throws(Stop) -> T? {
            do { return try body() } catch {
                if problem(error) { throw Stop() }
                return nil
            }
        }
        do {
            guard let source = try attempt({ () throws(LoragenError) in try corpusSource(path) }) else { return nil }
            var entries: [CorpusEntry] = []
            var sound = true
            for line in source.lines {
                let entry = try attempt { () throws(LoragenError) in
                    try line.entry()
                }
                if let entry { entries.append(entry) } else { sound = false }
            }
            for error in disagreements(entries, path: path) {
                sound = false
                if problem(error) { return nil }
            }
            var layouts: [(CorpusEntry, Layout)] = []
            for (i, entry) in entries.enumerated() {
                let layout = try attempt { () throws(LoragenError) in
                    try source.check(i, entry)
                }
                if let layout { layouts.append((entry, layout)) } else { sound = false }
            }
            guard sound, let first = layouts.first else {
                if sound { _ = problem(LoragenError(.format, "\(path): the corpus has no adapters")) }
                return nil
            }
            var ranks = first.1.modules.map(\.rank)
            var isRecut = false
            for (entry, layout) in layouts.dropFirst() {
                let name = "\(path)/\(entry.path)"
                let difference =
                    layout.difference(from: first.1, ignoringRank: true) ?? baseDifference(layout, first.1)
                if let difference {
                    sound = false
                    let message = "\(name) does not fit \(path)/\(first.0.path): \(difference)"
                    if problem(LoragenError(.mismatch, message)) { return nil }
                    continue
                }
                isRecut = isRecut || layout.difference(from: first.1) != nil
                for (i, module) in layout.modules.enumerated() { ranks[i] = max(ranks[i], module.rank) }
            }
            let layout = try attempt { () throws(LoragenError) in isRecut ? try first.1.withRanks(ranks) : first.1 }
            guard sound, let layout else { return nil }
            return Parts(entries: entries, layout: layout, isRecut: isRecut, source: source)
        } catch {
            return nil
        }
    }

    private static func baseDifference(_ layout: Layout, _ expected: Layout) -> String? {
        guard let base = layout.baseModel, let other = expected.baseModel, base != other else { return nil }
        return "its base model is \"\(base)\" where \"\(other)\" is expected"
    }

    /// What no single line shows: repeated paths, tasks in two splits, conditions that do not fit together.
    private static func disagreements(_ entries: [CorpusEntry], path: String) -> [LoragenError] {
        var errors: [LoragenError] = []
        var seen: Set<String> = []
        var splits: [String: CorpusEntry] = [:]
        var runs: [String: CorpusEntry] = [:]
        let first = entries.first
        for entry in entries {
            if !seen.insert(entry.path).inserted {
                errors.append(LoragenError(.format, "\(path): \"\(entry.path)\" is listed twice"))
            }
            for (what, name, table) in [("task", entry.task, splits), ("run", entry.run, runs)] {
                if let other = table[name], other.split != entry.split {
                    errors.append(
                        LoragenError(
                            .mismatch,
                            "\(path): the \(what) \"\(name)\" is in the split \"\(other.split.name)\" (\(other.path)) and in "
                                + "\"\(entry.split.name)\" (\(entry.path)); a \(what) belongs to one split"))
                }
            }
            splits[entry.task] = entry
            runs[entry.run] = entry
            if let first, entry.conditionKind != first.conditionKind || entry.condition?.count != first.condition?.count {
                errors.append(
                    LoragenError(
                        .mismatch,
                        "\(path): the condition of \"\(entry.path)\" (\(describe(entry))) differs in kind or length from "
                            + "that of \"\(first.path)\" (\(describe(first)))"))
            }
        }
        return errors
    }

    private static func describe(_ entry: CorpusEntry) -> String {
        switch entry.conditionKind {
        case .none: "none"
        case .bits: "\(entry.bits?.utf8.count ?? 0) bits"
        case .vector: "a vector of \(entry.vector?.count ?? 0)"
        }
    }
}

/// Where a corpus' adapters are kept.
protocol CorpusSource: Sendable {
    var lines: [ManifestLine] { get }
    /// Checks an adapter, its values included, and returns its layout.
    func check(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Layout
    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter
}

/// One line of a manifest, not yet parsed, or a folder that stands for one.
enum ManifestLine: Sendable {
    case text(String, place: String)
    case folder(String)

    func entry() throws(LoragenError) -> CorpusEntry {
        switch self {
        case .text(let text, let place):
            try CorpusEntry(line: JSON.parse(text, source: place), place: place)
        case .folder(let name): CorpusEntry(folder: name)
        }
    }

    /// The lines of a manifest, blank ones skipped.
    static func parse(_ text: String, name: String) -> [ManifestLine] {
        var lines: [ManifestLine] = []
        for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if line.utf8.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { continue }
            lines.append(.text(String(line), place: "\(name), line \(i + 1)"))
        }
        return lines
    }
}
