import Learning
import Tensor

/// How an adapter vector is cut into tokens of `size` numbers (Wang et al. 2025, section 3.1). Every token is a contiguous
/// part of the vector, padded with zeros at its end; the padding is masked in the loss.
struct WeightTokens: Sendable {
    enum Granularity: String, CaseIterable, Sendable {
        /// Each tensor on its own, row-major; the last token of a tensor is padded.
        case withinLayer = "within-layer"
        /// The vector as a whole; only its last token is padded.
        case flatten
        /// Whole rows of a tensor, as many as fit and divide them evenly; rows that do not fit are cut likewise.
        case byChannel = "by-channel"
    }

    struct Token: Equatable, Sendable {
        /// Index of its first number in the vector.
        var start: Int
        /// Numbers that are not padding, 1 to `size`.
        var count: Int
        /// The tensor that it belongs to, and its place among that tensor's tokens.
        var tensor: Int
        var index: Int
    }

    static let limit = 1 << 24

    let size: Int
    let valueCount: Int
    let tokens: [Token]
    var count: Int { tokens.count }
    /// Share of the tokens' numbers that is padding.
    var padding: Double { 1 - Double(valueCount) / Double(max(1, count * size)) }

    /// Cuts tensors that lie back to back. Throws `.invalidArgument` when there are more than `limit` tokens.
    init(shapes: [[Int]], size: Int, granularity: Granularity = .withinLayer) throws(LoragenError) {
        let total = shapes.reduce(0) { $0 + $1.reduce(1, *) }
        var cutter = Cutter(size: size)
        if granularity == .flatten {
            try cutter.cut([total], by: .flatten)
        } else {
            for shape in shapes where !shape.contains(0) {
                try cutter.cut(shape, by: granularity)
                (cutter.tensor, cutter.index) = (cutter.tensor + 1, 0)
            }
        }
        (self.size, valueCount, tokens) = (size, total, cutter.tokens)
    }

    private struct Cutter {
        let size: Int
        var tokens: [Token] = []
        var start = 0
        var tensor = 0
        var index = 0

        mutating func cut(_ shape: [Int], by granularity: Granularity) throws(LoragenError) {
            let count = shape.reduce(1, *)
            guard granularity == .byChannel, count > size else { return try append(count, each: size) }
            let row = count / shape[0]
            if row > size {
                for _ in 0..<shape[0] { try cut(Array(shape.dropFirst()), by: granularity) }
                return
            }
            var parts = max(1, shape[0] * row / size)
            while shape[0] % parts != 0 || shape[0] / parts * row > size { parts += 1 }
            try append(count, each: shape[0] / parts * row)
        }

        private mutating func append(_ count: Int, each: Int) throws(LoragenError) {
            let end = start + count
            guard (count + each - 1) / each <= WeightTokens.limit - tokens.count else {
                throw LoragenError(
                    .invalidArgument,
                    "more than \(WeightTokens.limit) tokens of \(size) numbers; a larger tokenSize makes fewer")
            }
            if tokens.capacity < tokens.count + (count + each - 1) / each {
                // An array doubles, and is copied.
                try Memory.require(
                    3 * (tokens.count + (count + each - 1) / each), of: Token.self, for: "cutting adapters into tokens")
            }
            while start < end {
                let taken = min(each, end - start)
                tokens.append(Token(start: start, count: taken, tensor: tensor, index: index))
                (start, index) = (start + taken, index + 1)
            }
        }
    }

    // MARK: Numbers

    /// One token of one vector.
    struct Pick {
        var row: Int
        var token: Int
    }

    /// Tokens `[picks.count, size]` of vectors; nothing but these tokens is read.
    func gather(_ vectors: any VectorRows, _ picks: [Pick]) throws(LoragenError) -> Tensor<Float> {
        try typed {
            try Tensor.make([picks.count, size]) { to in
                // In the order of the vectors, so that what is decoded for one token serves the next.
                let order = picks.indices.sorted { (picks[$0].row, picks[$0].token) < (picks[$1].row, picks[$1].token) }
                for place in order {
                    let pick = picks[place]
                    let (token, at) = (tokens[pick.token], to + place * size)
                    try vectors.read(pick.row, token.start..<token.start + token.count, into: at)
                    for j in token.count..<size { at[j] = 0 }
                }
            }
        }
    }

    /// 1 where a token has a number and 0 where it is padding, `[picks.count, size]`.
    func mask(_ picks: [Pick]) -> Tensor<Float> {
        Tensor.make([picks.count, size]) { to in
            for (place, pick) in picks.enumerated() {
                let filled = tokens[pick.token].count
                for j in 0..<size { to[place * size + j] = j < filled ? 1 : 0 }
            }
        }
    }

    /// The numbers of consecutive tokens `values`, `[M, size]`, from token `first` on, without the padding.
    func joined(_ values: Tensor<Float>, from first: Int) -> Tensor<Float> {
        let places = tokens[first..<first + values.shape[0]]
        return Tensor.make([places.reduce(0) { $0 + $1.count }]) { to in
            values.withUnsafeBufferPointer { from in
                var at = 0
                for (row, place) in places.enumerated() {
                    for j in 0..<place.count { to[at + j] = from[row * size + j] }
                    at += place.count
                }
            }
        }
    }

    /// Writes row `row` of `values`, `[M, size]`, into one vector as its token `token`, without the padding.
    func scatter(_ values: Tensor<Float>, row: Int, token: Int, into vector: UnsafeMutablePointer<Float>) {
        let place = tokens[token]
        values.withUnsafeBufferPointer { from in
            for j in 0..<place.count { vector[place.start + j] = from[row * size + j] }
        }
    }
}
