import Adapters
import Files
import Glibc
import Hosts
import Tensor

/// Fine-tuned adapters of one base model, with what is known of each.
///
/// A corpus is a folder of PEFT adapters with a manifest `corpus.jsonl`, or without one (every folder below it that has an
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

    /// What a person should know before training on it.
    public let remarks: [Finding]

    /// Opens a corpus and checks all of it. The first problem is thrown; `check` finds all of them.
    public init(path: String) throws(LoragenError) {
        let source = try corpusSource(path)
        var first: LoragenError?
        let check = CorpusCheck(
            source, path: path, layout: source.checked,
            problem: { problem in
                if problem.preventsOpening { first = problem.error }
                return problem.preventsOpening
            })
        guard let sound = check.sound else {
            throw first ?? LoragenError(.internalError, "\(path): the corpus could not be opened")
        }
        self.path = path
        self.source = source
        (entries, layout, isRecut, remarks) = (sound.entries, sound.layout, sound.isRecut, check.remarks)
    }

    /// Hands every problem of a corpus to `problem`, until that returns true; returns the first, nil if there is none.
    /// Short memory is no problem of the corpus: the check ends with it. What does not stop training, but should be known,
    /// goes to `remark`.
    public static func check(
        path: String, remark: (Finding) -> Void = { _ in }, problem: (LoragenError) -> Bool
    ) -> LoragenError? {
        let source: any CorpusSource
        do throws(LoragenError) { source = try corpusSource(path) } catch {
            if error.code != .memory { _ = problem(error) }
            return error
        }
        var first: LoragenError?
        let check = CorpusCheck(
            source, path: path, layout: source.checked,
            problem: { found in
                if found.error.code == .memory {
                    first = found.error
                    return true
                }
                if first == nil { first = found.error }
                return problem(found.error)
            })
        for found in check.remarks { remark(found) }
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

    /// Which directions a corpus of compact adapters belongs to, the first adapter's; nil for other corpora. Throws
    /// `.mismatch` when they are not the same for all.
    public func template() throws(LoragenError) -> CompactAdapter? {
        var first: (compact: CompactAdapter, path: String)?
        for (index, entry) in entries.enumerated() {
            guard let compact = try source.compact(index, entry) else {
                if first == nil { return nil }
                throw LoragenError(
                    .mismatch, "\(path)/\(entry.path): not a compact adapter, as others of the corpus are")
            }
            if let first, let difference = compact.difference(from: first.compact) {
                throw LoragenError(
                    .mismatch, "\(path)/\(entry.path): other directions than those of \(first.path): \(difference)")
            }
            if first == nil { first = (compact, entry.path) }
        }
        return first?.compact
    }

    /// The files that it is read from.
    public var sources: Sources {
        var sources = Sources(path)
        for entry in entries { sources.add("\(path)/\(entry.path)") }
        return sources
    }

    public func indices(of split: Split) -> [Int] { entries.indices.filter { entries[$0].split == split } }
}

/// Where a corpus' adapters are kept.
public protocol CorpusSource: Sendable {
    var lines: [ManifestLine] { get }
    /// What messages call an adapter.
    func name(_ entry: CorpusEntry) -> String
    func reader(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> any AdapterReader
    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter
    /// The compact adapter that an entry is; nil for any other.
    func compact(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> CompactAdapter?
    /// The same text for entries that are the same adapter, through links; nil when only their paths tell.
    func identity(_ entry: CorpusEntry) -> String?
    /// What a person should know of the place, beside these entries.
    func remarks(_ listed: [CorpusEntry]) -> [Finding]
}

extension CorpusSource {
    /// `check` as a function.
    var checked: (Int, CorpusEntry) throws(LoragenError) -> Layout {
        { (line, entry) throws(LoragenError) in try check(line, entry) }
    }

    func identity(_ entry: CorpusEntry) -> String? { nil }
    func compact(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> CompactAdapter? { nil }
    func remarks(_ listed: [CorpusEntry]) -> [Finding] { [] }

    /// Checks an adapter, its values included, and returns its layout.
    func check(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Layout {
        let reader = try reader(index, entry)
        try reader.checkFinite(source: name(entry))
        return reader.layout
    }
}

/// One line of a manifest, not yet parsed, or a folder that stands for one.
public enum ManifestLine: Sendable {
    case text(String, place: String)
    case folder(String)

    func entry() throws(LoragenError) -> CorpusEntry {
        switch self {
        case .text(let text, let place):
            let line: JSON
            do throws(LoragenError) { line = try JSON.parse(text, source: place) } catch {
                throw LoragenError(
                    error.code, "\(error.message); a manifest has one JSON object a line, and no comments")
            }
            return try CorpusEntry(line: line, place: place)
        case .folder(let name): return CorpusEntry(folder: name)
        }
    }

    /// File and line, for messages; nil for a folder without a manifest.
    var place: String? {
        if case .text(_, let place) = self { return place }
        return nil
    }

    /// The lines of a manifest, blank ones and a byte order mark skipped. They end at LF bytes: to Swift, CR LF is one
    /// character.
    static func parse(_ text: String, name: String) -> [ManifestLine] {
        let text = text.unicodeScalars.first == "\u{feff}" ? String(text.unicodeScalars.dropFirst()) : text
        var lines: [ManifestLine] = []
        for (i, line) in text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) { continue }
            lines.append(.text(String(decoding: line, as: UTF8.self), place: "\(name), line \(i + 1)"))
        }
        return lines
    }
}
