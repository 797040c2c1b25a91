import Files
import Tensor

/// A token that is found in the text itself, before the model.
struct AddedToken: Sendable {
    var text: UTF8Text
    var id: Int32
    /// Neither a letter nor the like may stand beside it.
    var singleWord = false
    /// Takes the white space before it, or after it.
    var takesLeft = false
    var takesRight = false
    /// Looked for in the normalised text.
    var isNormalized = false
}

/// A text, or a token that was found in it.
enum Segment: Sendable {
    case text(Piece)
    case token(Int32)
}

/// Looks for added tokens: the leftmost, and of those that begin there the longest.
struct AddedTokens: Sendable {
    private let tokens: [AddedToken]
    private let trie: Trie

    /// `tokens` with the text to look for.
    init(_ tokens: [AddedToken], source: String) throws(LoragenError) {
        let wanted = tokens.filter { !$0.text.isEmpty }
        self.tokens = wanted
        trie = try Trie(wanted.enumerated().map { ($1.text, Int32(clamping: $0)) }, source: source)
    }

    func split(_ piece: Piece) -> [Segment] {
        if tokens.isEmpty { return [.text(piece)] }
        let text = piece.text
        var segments: [Segment] = []
        var (start, place) = (0, 0)
        func add(_ range: Range<Int>) {
            if range.isEmpty { return }
            segments.append(
                .text(Piece(text: UTF8Text(text[range]), isFirst: piece.isFirst && range.lowerBound == 0)))
        }
        while place < text.count {
            guard let (token, end) = match(text, at: place) else {
                place += 1
                continue
            }
            var range = (place, end)
            place = end
            if token.singleWord, isWord(before: range.0, text) || isWord(at: range.1, text) { continue }
            if token.takesLeft { range.0 = max(spaceStart(before: range.0, text), start) }
            if token.takesRight { range.1 = spaceEnd(from: range.1, text) }
            if range.0 > start { add(start..<range.0) }
            segments.append(.token(token.id))
            start = range.1
            place = max(place, start)
        }
        if start < text.count { add(start..<text.count) }
        return segments
    }

    private func match(_ text: UTF8Text, at start: Int) -> (AddedToken, Int)? {
        var (node, place) = (Trie.root, start)
        var best: (AddedToken, Int)?
        while place < text.count, let child = trie.child(node, text[place]) {
            node = child
            place += 1
            let index = Int(trie.id(node))
            if tokens.indices.contains(index) { best = (tokens[index], place) }
        }
        return best
    }

    private func isWord(at place: Int, _ text: UTF8Text) -> Bool {
        place < text.count && Scalars.isWord(scalar(text, at: place).value)
    }

    private func isWord(before place: Int, _ text: UTF8Text) -> Bool {
        place > 0 && Scalars.isWord(scalar(text, at: scalarStart(before: place, text)).value)
    }

    private func scalarStart(before place: Int, _ text: UTF8Text) -> Int {
        var start = place - 1
        while start > 0, text[start] & 0xc0 == 0x80 { start -= 1 }
        return max(0, start)
    }

    private func spaceStart(before place: Int, _ text: UTF8Text) -> Int {
        var place = place
        while place > 0 {
            let start = scalarStart(before: place, text)
            guard Scalars.isSpace(scalar(text, at: start).value) else { break }
            place = start
        }
        return place
    }

    private func spaceEnd(from place: Int, _ text: UTF8Text) -> Int {
        var place = place
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            guard Scalars.isSpace(value) else { break }
            place += length
        }
        return min(place, text.count)
    }
}
