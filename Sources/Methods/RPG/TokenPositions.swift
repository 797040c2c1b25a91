import Glibc
import Tensor

/// The position vectors of weight tokens, `[N, features]`: sines and cosines, interleaved, with ω_m = 10000^(−2m/width).
struct TokenPositions: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        /// First half of the features: the token's index in its tensor; second half: the tensor's index.
        case grid
        /// All features: the token's index in the sequence.
        case line
        /// A table that starts as `grid` and is trained.
        case learned
    }

    let kind: Kind
    let features: Int
    let tokens: [WeightTokens.Token]

    /// `[range.count, features]`; features are divisible by 4.
    func callAsFunction<E: Element>(_ range: Range<Int>, of type: E.Type = E.self) -> Tensor<E> {
        let width = kind == .line ? features : features / 2
        let frequencies = (0..<width / 2).map { exp(-log(10000) * Double(2 * $0) / Double(width)) }
        // Indices repeat, so that each sinusoid is computed once.
        var rows: [Int: [E]] = [:]
        func row(_ index: Int) -> [E] {
            if let known = rows[index] { return known }
            let made = frequencies.flatMap { [E(sin(Double(index) * $0)), E(cos(Double(index) * $0))] }
            rows[index] = made
            return made
        }
        return Tensor.make([range.count, features]) { to in
            for (place, n) in range.enumerated() {
                let at = to + place * features
                for (j, value) in row(kind == .line ? n : tokens[n].index).enumerated() { at[j] = value }
                guard kind != .line else { continue }
                for (j, value) in row(tokens[n].tensor).enumerated() { at[width + j] = value }
            }
        }
    }
}
