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
            throw LoragenError(
                .invalidArgument, "the corpus has \(entries.count) adapters; there is no adapter \(index)")
        }
        let adapter = try source.adapter(index, entries[index])
        // The files may have changed since the corpus was checked.
        if let difference = adapter.layout.difference(from: layout, ignoringRank: isRecut) {
            throw LoragenError(
                .mismatch, "\(path)/\(entries[index].path) has changed since the corpus was opened: \(difference)")
        }
        return isRecut ? try adapter.recut(ranks: layout.modules.map(\.rank)).adapter : adapter
    }

    /// The adapter of one entry as it is stored, at its own ranks, to be read in parts.
    func reader(at index: Int) throws(LoragenError) -> any AdapterReader {
        let reader = try source.reader(index, entries[index])
        if let difference = reader.layout.difference(from: layout, ignoringRank: isRecut) {
            throw LoragenError(
                .mismatch, "\(path)/\(entries[index].path) has changed since the corpus was opened: \(difference)")
        }
        return reader
    }

    /// The files that it is read from.
    var sources: Sources {
        var sources = Sources(path)
        for entry in entries { sources.add("\(path)/\(entry.path)") }
        return sources
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

    /// An entry with its place in the source, and in the manifest if there is one.
    private struct Listed {
        var entry: CorpusEntry
        var index: Int
        var place: String?
    }

    private static func open(_ path: String, problem: (LoragenError) -> Bool) -> Parts? {
        func attempt<T>(_ body: () throws(LoragenError) -> T) throws(Stop) -> T? {
            do { return try body() } catch {
                if problem(error) { throw Stop() }
                return nil
            }
        }
        do {
            guard let source = try attempt({ () throws(LoragenError) in try corpusSource(path) }) else { return nil }
            var listed: [Listed] = []
            var sound = true
            for (i, line) in source.lines.enumerated() {
                let entry = try attempt { () throws(LoragenError) in
                    try line.entry()
                }
                if let entry { listed.append(Listed(entry: entry, index: i, place: line.place)) } else { sound = false }
            }
            for error in disagreements(listed, path: path) {
                sound = false
                if problem(error) { return nil }
            }
            var layouts: [(name: String, layout: Layout)] = []
            for item in listed {
                let layout = try attempt { () throws(LoragenError) in
                    do throws(LoragenError) { return try source.check(item.index, item.entry) } catch {
                        throw item.place.map { LoragenError(error.code, "\($0), field \"path\": \(error.message)") }
                            ?? error
                    }
                }
                if let layout {
                    layouts.append(("\(path)/\(item.entry.path)", layout.declared(by: item.entry)))
                } else {
                    sound = false
                }
            }
            guard let first = layouts.first else {
                if sound { _ = problem(LoragenError(.format, "\(path): the corpus has no adapters")) }
                return nil
            }
            // Adapters whose config names no base model go with any.
            let based = layouts.first { BaseName.canonical($0.layout.baseModel) != nil } ?? first
            var ranks = first.layout.modules.map(\.rank)
            var isRecut = false
            for (name, layout) in layouts {
                var difference = layout.difference(from: first.layout, ignoringRank: true).map { ($0, first.name) }
                difference = difference ?? baseDifference(layout, based.layout).map { ($0, based.name) }
                if let (what, other) = difference {
                    sound = false
                    if problem(LoragenError(.mismatch, "\(name) does not fit \(other): \(what)")) { return nil }
                    continue
                }
                isRecut = isRecut || layout.difference(from: first.layout) != nil
                for (i, module) in layout.modules.enumerated() { ranks[i] = max(ranks[i], module.rank) }
            }
            let layout = try attempt { () throws(LoragenError) in
                try (isRecut ? first.layout.withRanks(ranks) : first.layout).sharing(layouts.map(\.layout))
            }
            guard sound, let layout else { return nil }
            return Parts(entries: listed.map(\.entry), layout: layout, isRecut: isRecut, source: source)
        } catch {
            return nil
        }
    }

    private static func baseDifference(_ layout: Layout, _ expected: Layout) -> String? {
        guard let base = layout.baseModel, let other = expected.baseModel, !BaseName.agree(base, other) else {
            return nil
        }
        return "its base model is \"\(base)\" where \"\(other)\" is expected; \(BaseName.advice)"
    }

    /// What no single line shows: repeated paths, tasks in two splits, conditions that do not fit together.
    private static func disagreements(_ listed: [Listed], path: String) -> [LoragenError] {
        var errors: [LoragenError] = []
        var paths: [[Substring]: Listed] = [:]
        var tasks: [String: Listed] = [:]
        var runs: [String: Listed] = [:]
        func found(_ other: Listed) -> String { other.place ?? "\(path)/\(other.entry.path)" }
        for item in listed {
            let entry = item.entry
            let place = found(item)
            // "a", "a/" and "./a" are one folder.
            let parts = entry.path.split(separator: "/").filter { $0 != "." }
            if let other = paths[parts] {
                errors.append(
                    LoragenError(
                        .format, "\(place), field \"path\": \"\(entry.path)\" is listed before, at \(found(other))"))
            }
            paths[parts] = paths[parts] ?? item
            for (what, name, table) in [("task", entry.task, tasks), ("run", entry.run, runs)] {
                if let other = table[name], other.entry.split != entry.split {
                    errors.append(
                        LoragenError(
                            .mismatch,
                            "\(place), field \"split\": the \(what) \"\(name)\" is in \"\(entry.split.name)\" here and in "
                                + "\"\(other.entry.split.name)\" at \(found(other)); a \(what) belongs to one split"))
                }
            }
            tasks[entry.task] = tasks[entry.task] ?? item
            runs[entry.run] = runs[entry.run] ?? item
            if let first = listed.first,
                entry.conditionKind != first.entry.conditionKind
                    || entry.condition?.count != first.entry.condition?.count
            {
                let field = entry.conditionKind == .bits ? "bits" : "condition"
                errors.append(
                    LoragenError(
                        .mismatch,
                        "\(place), field \"\(field)\": the condition of \"\(entry.path)\" (\(describe(entry))) differs in "
                            + "kind or length from that of \"\(first.entry.path)\" (\(describe(first.entry)))"))
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
    /// What messages call an adapter.
    func name(_ entry: CorpusEntry) -> String
    func reader(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> any AdapterReader
    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter
}

extension CorpusSource {
    /// Checks an adapter, its values included, and returns its layout.
    func check(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Layout {
        let reader = try reader(index, entry)
        try reader.checkFinite(source: name(entry))
        return reader.layout
    }
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

    /// File and line, for messages; nil for a folder without a manifest.
    var place: String? {
        if case .text(_, let place) = self { return place }
        return nil
    }

    /// The lines of a manifest, blank ones skipped. They end at LF bytes: to Swift, CR LF is one character.
    static func parse(_ text: String, name: String) -> [ManifestLine] {
        var lines: [ManifestLine] = []
        for (i, line) in text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { continue }
            lines.append(.text(String(decoding: line, as: UTF8.self), place: "\(name), line \(i + 1)"))
        }
        return lines
    }
}
