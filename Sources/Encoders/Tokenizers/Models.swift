import Files
import Tensor

/// How a tokenizer turns a piece of text into tokens.
enum TokenModel: Sendable {
    case wordPiece(WordPiece)
    case bytePair(BytePair)
    case unigram(Unigram)
    case wordLevel(WordLevel)

    func callAsFunction(_ text: UTF8Text, into ids: inout [Int32]) throws(LoragenError) {
        switch self {
        case .wordPiece(let model): model(text, into: &ids)
        case .bytePair(let model): model(text, into: &ids)
        case .unigram(let model): try model(text, into: &ids)
        case .wordLevel(let model): model(text, into: &ids)
        }
    }

    var vocabulary: Trie {
        switch self {
        case .wordPiece(let model): return model.vocabulary
        case .bytePair(let model): return model.vocabulary
        case .unigram(let model): return model.vocabulary
        case .wordLevel(let model): return model.vocabulary
        }
    }
}

/// Whole pieces alone.
struct WordLevel: Sendable {
    let vocabulary: Trie
    let unknown: Int32

    func callAsFunction(_ text: UTF8Text, into ids: inout [Int32]) { ids.append(vocabulary.id(text) ?? unknown) }
}

/// The longest token first (Schuster & Nakajima 2012), as BERT has it: a word with a part that no token fits is unknown
/// as a whole.
struct WordPiece: Sendable {
    let vocabulary: Trie
    let unknown: Int32
    let longestWord: Int
    /// Where tokens within a word begin: behind "##".
    private let continuing: Int32?

    init(_ vocabulary: Trie, unknown: Int32, prefix: UTF8Text, longestWord: Int) {
        (self.vocabulary, self.unknown, self.longestWord) = (vocabulary, unknown, longestWord)
        continuing = vocabulary.node(prefix)
    }

    func callAsFunction(_ text: UTF8Text, into ids: inout [Int32]) {
        if text.isEmpty { return }
        let scalars = text.reduce(0) { $0 + ($1 & 0xc0 == 0x80 ? 0 : 1) }
        if scalars > longestWord { return ids.append(unknown) }
        let before = ids.count
        var start = 0
        while start < text.count {
            var node: Int32? = start == 0 ? Trie.root : continuing
            var (place, end, best) = (start, start, Int32(-1))
            while let here = node, place < text.count {
                node = vocabulary.child(here, text[place])
                place += 1
                // A token ends with a scalar: the text may go on within one.
                if let node, vocabulary.id(node) >= 0, place == text.count || text[place] & 0xc0 != 0x80 {
                    (end, best) = (place, vocabulary.id(node))
                }
            }
            guard end > start else {
                ids.removeLast(ids.count - before)
                return ids.append(unknown)
            }
            ids.append(best)
            start = end
        }
    }
}

/// The likeliest cut into tokens (Kudo 2018).
struct Unigram: Sendable {
    let vocabulary: Trie
    private let scores: [Double]
    let unknown: Int32?
    private let unknownScore: Double
    /// The tokens of single bytes, if unknown text becomes those.
    private let bytes: [Int32?]?

    init(_ vocabulary: Trie, scores: [Double], unknown: Int32?, bytes: [Int32?]?) {
        (self.vocabulary, self.scores, self.unknown, self.bytes) = (vocabulary, scores, unknown, bytes)
        unknownScore = (scores.min() ?? 0) - 10
    }

    private struct Step {
        var score = 0.0
        var start = -1
        var id: Int32 = 0
    }

    func callAsFunction(_ text: UTF8Text, into ids: inout [Int32]) throws(LoragenError) {
        if text.isEmpty { return }
        var best = [Step](repeating: Step(), count: text.count + 1)
        var start = 0
        while start < text.count {
            let here = best[start].score
            let next = min(text.count, start + scalar(text, at: start).length)
            var (node, place, hasSingle) = (Trie.root, start, false)
            while place < text.count, let child = vocabulary.child(node, text[place]) {
                node = child
                place += 1
                let id = vocabulary.id(node)
                guard id >= 0, scores.indices.contains(Int(id)) else { continue }
                let score = here + scores[Int(id)]
                if best[place].start < 0 || score > best[place].score {
                    best[place] = Step(score: score, start: start, id: id)
                }
                if place == next { hasSingle = true }
            }
            if !hasSingle {
                guard let unknown else {
                    throw LoragenError(.format, "the tokenizer has no token for unknown text, and the text has some")
                }
                let score = here + unknownScore
                if best[next].start < 0 || score > best[next].score {
                    best[next] = Step(score: score, start: start, id: unknown)
                }
            }
            start = next
        }
        try collect(best, text, into: &ids)
    }

    /// Goes back along the best path; unknown text that stands together is one token.
    private func collect(_ best: [Step], _ text: UTF8Text, into ids: inout [Int32]) throws(LoragenError) {
        var parts: [Range<Int>] = []
        var (end, wasUnknown) = (text.count, false)
        while end > 0 {
            let step = best[end]
            guard step.start >= 0, step.start < end else {
                throw LoragenError(.internalError, "no path through a text")
            }
            let isUnknown = step.id == unknown
            if isUnknown, wasUnknown, let last = parts.popLast() {
                parts.append(step.start..<last.upperBound)
            } else {
                parts.append(step.start..<end)
            }
            (end, wasUnknown) = (step.start, isUnknown)
        }
        for part in parts.reversed() {
            if let id = vocabulary.id(text[part]) {
                ids.append(id)
            } else if let bytes, !text[part].contains(where: { bytes[Int($0)] == nil }) {
                for byte in text[part] { if let id = bytes[Int(byte)] { ids.append(id) } }
            } else if let unknown {
                ids.append(unknown)
            }
        }
    }
}

/// The tokens `<0x00>` … `<0xFF>`.
func byteTokens(of vocabulary: Trie) -> [Int32?] {
    let digits = Array("0123456789ABCDEF".utf8)
    return (0..<256).map { byte in
        vocabulary.id(Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15]] + Array(">".utf8))
    }
}
