import Files
import Tensor

/// Text to token ids as Hugging Face's `tokenizers` does it. Made from a folder's tokenizer.json or from older files; may be
/// used from many threads at once.
public struct Tokenizer: Sendable {
    var normalizer: Normalizer?
    var preTokenizer: PreTokenizer?
    var model: TokenModel
    /// Looked for in the text as it is, and in the normalised text.
    var rawTokens: AddedTokens
    var normalizedTokens: AddedTokens
    /// What stands before and after the text's own tokens.
    var before: [Int32] = []
    var after: [Int32] = []
    /// A text that is too long loses its beginning instead of its end.
    var truncatesLeft = false
    /// What the file itself says of the longest text, with `before` and `after`.
    public internal(set) var fileLimit: Int?
    /// One more than the largest id.
    public internal(set) var idCount = 0
    /// "WordPiece", "BPE", "Unigram" or "WordLevel".
    public internal(set) var kind = ""
    /// The id that fills shorter texts of a batch, where a file names one.
    public internal(set) var padding: Int32?

    /// The ids of a text with those that stand before and after it; `limit` is the most, theirs included.
    public func encode(_ text: String, limit: Int? = nil, special: Bool = true) throws(LoragenError) -> [Int32] {
        var ids: [Int32] = []
        let whole = Piece(text: UTF8Text(text.utf8), isFirst: true)
        if whole.text.count >= 1 << 20 {
            try Memory.require(60 * Double(whole.text.count), for: "cutting a text of \(whole.text.count) bytes")
        }
        for raw in rawTokens.split(whole) {
            guard case .text(var piece) = raw else {
                if case .token(let id) = raw { ids.append(id) }
                continue
            }
            if let normalizer { piece.text = try normalizer(piece.text) }
            for segment in normalizedTokens.split(piece) {
                switch segment {
                case .token(let id): ids.append(id)
                case .text(let piece):
                    let pieces = try preTokenizer?([piece]) ?? [piece]
                    for piece in pieces where !piece.text.isEmpty { try model(piece.text, into: &ids) }
                }
            }
        }
        if let limit {
            let room = max(0, limit - (special ? before.count + after.count : 0))
            if ids.count > room { ids = Array(truncatesLeft ? ids.suffix(room) : ids.prefix(room)) }
        }
        return special ? before + ids + after : ids
    }

    /// The id of a token by its name.
    public func id(of token: String) -> Int32? { names[ByteKey(token)] ?? model.vocabulary.id(token.utf8) }

    /// The median of the tokens' lengths in scalars, those between two values cut off.
    func medianTokenLength() -> Int {
        var counts = model.vocabulary.scalarCounts()
        for name in names.keys where model.vocabulary.id(name.text.utf8) == nil {
            counts.append(name.text.unicodeScalars.count)
        }
        guard !counts.isEmpty else { return 0 }
        counts.sort()
        return (counts[(counts.count - 1) / 2] + counts[counts.count / 2]) / 2
    }

    var names: [ByteKey: Int32] = [:]
    /// The token of unknown text, where the model has one.
    var unknown: Int32?
    /// SHA-256 of the files that it was made from.
    public internal(set) var digest = ""
}
