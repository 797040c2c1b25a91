import Glibc
import Tensor

/// Where the sines and cosines of a time embedding stand.
public enum SinusoidOrder: Sendable {
    /// sin, cos, sin, cos, ...: the Transformer's table; COND P-DIFF's vision denoiser.
    case interleaved
    /// All cosines, then all sines: guided diffusion's form; p-diff's final denoiser, DiT, RPG.
    case cosineThenSine
    /// All sines, then all cosines: DDPM's form (with `spacing` half - 1 in the original code).
    case sineThenCosine
}

/// [times.count, dimension] with the angles t * maxPeriod^(-i / (dimension/2)), i < dimension/2. `dimension` is even.
public func sinusoidalEmbedding<E: Element>(
    _ times: [Double], dimension: Int, order: SinusoidOrder, maxPeriod: Double = 10000, of type: E.Type = E.self
) -> Tensor<E> {
    precondition(dimension > 0 && dimension % 2 == 0, "time embedding of dimension \(dimension)")
    let half = dimension / 2
    let frequencies = (0..<half).map { exp(-log(maxPeriod) * Double($0) / Double(half)) }
    return Tensor<E>.make([times.count, dimension]) { to in
        for (row, time) in times.enumerated() {
            for (i, frequency) in frequencies.enumerated() {
                let (sine, cosine) = (E(sin(time * frequency)), E(cos(time * frequency)))
                let at = to + row * dimension
                switch order {
                case .interleaved: (at[2 * i], at[2 * i + 1]) = (sine, cosine)
                case .cosineThenSine: (at[i], at[half + i]) = (cosine, sine)
                case .sineThenCosine: (at[i], at[half + i]) = (sine, cosine)
                }
            }
        }
    }
}
