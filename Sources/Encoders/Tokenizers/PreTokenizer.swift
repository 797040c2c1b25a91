import Files
import Tensor

/// A part of a text between normalising and the model.
struct Piece: Sendable {
    var text: UTF8Text
    /// Whether the whole text begins with it.
    var isFirst: Bool
}

/// How a tokenizer cuts a text before the model sees it; the names are those of tokenizer.json.
indirect enum PreTokenizer: Sendable {
    case bert
    case whitespace
    case whitespaceSplit
    case byteLevel(addsSpace: Bool, Pattern?)
    case metaspace(UTF8Text, Prepend, splits: Bool)
    case split(Normalizer.Target, Behavior, inverted: Bool)
    case punctuation(Behavior)
    case digits(individual: Bool)
    case sequence([PreTokenizer])

    enum Prepend: String { case always, first, never }

    /// What becomes of the delimiters at which a text is cut.
    enum Behavior: String {
        case removed = "Removed"
        case isolated = "Isolated"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
        case contiguous = "Contiguous"
    }

    /// GPT-2's: contractions, words, numbers and signs with the space before them.
    static let byteLevelPattern = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    func callAsFunction(_ pieces: [Piece]) throws(LoragenError) -> [Piece] {
        if case .sequence(let steps) = self {
            var pieces = pieces
            for step in steps { pieces = try step(pieces) }
            return pieces
        }
        var result: [Piece] = []
        for piece in pieces { try cut(piece, into: &result) }
        return result
    }

    private func cut(_ piece: Piece, into result: inout [Piece]) throws(LoragenError) {
        switch self {
        case .bert: cutForBERT(piece, into: &result)
        case .whitespaceSplit:
            piece.split(at: scalars(piece.text, Scalars.isSpace), .removed, into: &result)
        case .whitespace: cutIntoWords(piece, into: &result)
        case .punctuation(let behavior):
            piece.split(at: scalars(piece.text, Scalars.isPunctuation), behavior, into: &result)
        case .digits(let individual):
            piece.split(
                at: scalars(piece.text, Scalars.isNumeric), individual ? .isolated : .contiguous, into: &result)
        case .split(let target, let behavior, let inverted):
            let matches = try target.matches(in: piece.text)
            let others = gaps(between: matches, count: piece.text.count)
            // Matches that stand side by side stay apart, inverted too.
            if inverted {
                piece.split(at: others, behavior, into: &result, rest: matches)
            } else {
                piece.split(at: matches, behavior, into: &result, rest: others)
            }
        case .byteLevel(let addsSpace, let pattern):
            var text = piece.text
            if addsSpace, text.first != 0x20 { text.insert(0x20, at: 0) }
            guard let pattern else {
                return result.append(Piece(text: ByteAlphabet.encode(text), isFirst: piece.isFirst))
            }
            var parts: [Piece] = []
            Piece(text: text, isFirst: piece.isFirst).split(
                at: try pattern.matches(in: text), .isolated, into: &parts)
            for part in parts {
                result.append(Piece(text: ByteAlphabet.encode(part.text), isFirst: part.isFirst))
            }
        case .metaspace(let mark, let prepend, let splits):
            var text = UTF8Text()
            text.reserveCapacity(2 * piece.text.count)
            for byte in piece.text { if byte == 0x20 { text += mark } else { text.append(byte) } }
            let isWanted = prepend == .always || prepend == .first && piece.isFirst
            if isWanted, !text.starts(with: mark) { text = mark + text }
            let marked = Piece(text: text, isFirst: piece.isFirst)
            if splits {
                marked.split(
                    at: try Normalizer.Target.text(mark).matches(in: text), .mergedWithNext, into: &result)
            } else if !text.isEmpty {
                result.append(marked)
            }
        case .sequence: break
        }
    }

    private func cutForBERT(_ piece: Piece, into result: inout [Piece]) {
        let text = piece.text
        var (start, place) = (0, 0)
        func add(_ range: Range<Int>) {
            if range.isEmpty { return }
            result.append(Piece(text: UTF8Text(text[range]), isFirst: piece.isFirst && range.lowerBound == 0))
        }
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            let end = min(text.count, place + length)
            let isSpace = Scalars.isSpace(value)
            if isSpace || Scalars.isPunctuation(value) {
                add(start..<place)
                if !isSpace { add(place..<end) }
                start = end
            }
            place = end
        }
        add(start..<text.count)
    }

    /// Runs of `\w+` and of neither word nor space.
    private func cutIntoWords(_ piece: Piece, into result: inout [Piece]) {
        var (matches, start, place, last) = ([Range<Int>](), 0, 0, 0)
        while place < piece.text.count {
            let (value, length) = scalar(piece.text, at: place)
            let kind = Scalars.isSpace(value) ? 0 : Scalars.isWord(value) ? 1 : 2
            if kind != last {
                if last != 0 { matches.append(start..<place) }
                (start, last) = (place, kind)
            }
            place += length
        }
        if last != 0, start < piece.text.count { matches.append(start..<piece.text.count) }
        piece.split(at: gaps(between: matches, count: piece.text.count), .removed, into: &result, rest: matches)
    }
}

private func scalars(_ text: UTF8Text, _ isMatch: (UInt32) -> Bool) -> [Range<Int>] {
    var (found, place) = ([Range<Int>](), 0)
    while place < text.count {
        let (value, length) = scalar(text, at: place)
        let end = min(text.count, place + length)
        if isMatch(value) { found.append(place..<end) }
        place = end
    }
    return found
}

private func gaps(between matches: [Range<Int>], count: Int) -> [Range<Int>] {
    var (gaps, place) = ([Range<Int>](), 0)
    for match in matches {
        if match.lowerBound > place { gaps.append(place..<match.lowerBound) }
        place = match.upperBound
    }
    if place < count { gaps.append(place..<count) }
    return gaps
}

extension Piece {
    /// Cuts at `matches`, which are in order and do not overlap; empty parts are left out.
    fileprivate func split(
        at matches: [Range<Int>], _ behavior: PreTokenizer.Behavior, into result: inout [Piece],
        rest: [Range<Int>]? = nil
    ) {
        let others = rest ?? gaps(between: matches, count: text.count)
        var parts: [(range: Range<Int>, isMatch: Bool)] =
            matches.map { ($0, true) } + others.map { ($0, false) }
        parts.sort { $0.range.lowerBound < $1.range.lowerBound }
        var ranges: [Range<Int>] = []
        var wasMatch = false
        switch behavior {
        case .removed: ranges = parts.filter { !$0.isMatch }.map { $0.range }
        case .isolated: ranges = parts.map { $0.range }
        case .contiguous, .mergedWithPrevious:
            for part in parts {
                let joins = behavior == .contiguous ? part.isMatch == wasMatch : part.isMatch && !wasMatch
                if joins, let last = ranges.popLast() {
                    ranges.append(last.lowerBound..<part.range.upperBound)
                } else {
                    ranges.append(part.range)
                }
                wasMatch = part.isMatch
            }
        case .mergedWithNext:
            for part in parts.reversed() {
                if part.isMatch, !wasMatch, let last = ranges.popLast() {
                    ranges.append(part.range.lowerBound..<last.upperBound)
                } else {
                    ranges.append(part.range)
                }
                wasMatch = part.isMatch
            }
            ranges.reverse()
        }
        for range in ranges where !range.isEmpty {
            result.append(Piece(text: UTF8Text(text[range]), isFirst: isFirst && range.lowerBound == 0))
        }
    }
}
