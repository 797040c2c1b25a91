import Files
import Tensor

/// How the states of a text's tokens become one vector.
public enum Pooling: String, Sendable, CaseIterable {
    case mean
    /// The first token's.
    case cls
    case max
    /// The last token's.
    case last = "lasttoken"
    /// The sum over the square root of the number of tokens.
    case meanSqrtLength = "mean_sqrt_len_tokens"
    /// The mean weighted by the tokens' places, from 1.
    case weightedMean = "weightedmean"
    /// CLIP's: the state at the end of the text.
    case end = "eos"

    /// The vector of one text from its rows [count, width]; `end` is the place that `.end` takes.
    func callAsFunction(_ rows: UnsafeBufferPointer<Float>, width: Int, end: Int) -> [Float] {
        let count = width == 0 ? 0 : rows.count / width
        var result = [Float](repeating: 0, count: width)
        guard count > 0 else { return result }
        switch self {
        case .cls: result = Array(rows[0..<width])
        case .last: result = Array(rows[(count - 1) * width..<count * width])
        case .end:
            let place = Swift.min(Swift.max(end, 0), count - 1)
            result = Array(rows[place * width..<(place + 1) * width])
        case .max:
            result = Array(rows[0..<width])
            for row in 1..<Swift.max(1, count) {
                for column in 0..<width { result[column] = Swift.max(result[column], rows[row * width + column]) }
            }
        case .mean, .meanSqrtLength, .weightedMean:
            var sums = [Double](repeating: 0, count: width)
            for row in 0..<count {
                let weight = self == .weightedMean ? Double(row + 1) : 1
                for column in 0..<width { sums[column] += weight * Double(rows[row * width + column]) }
            }
            let n = Double(count)
            let divisor = self == .mean ? n : self == .meanSqrtLength ? n.squareRoot() : n * (n + 1) / 2
            for column in 0..<width { result[column] = Float(sums[column] / divisor) }
        }
        return result
    }
}

/// A layer behind the pooling (sentence-transformers' Dense).
struct DenseLayer: Sendable {
    let linear: EncoderLinear
    let isTanh: Bool

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { isTanh ? linear(x).tanh() : linear(x) }
}
