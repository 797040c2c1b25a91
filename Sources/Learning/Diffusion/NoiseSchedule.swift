import Files
import Glibc
import Tensor

/// The variances of a discrete diffusion process with `count` steps (Ho et al. 2020, section 2).
///
/// `x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε`, for `t` in `0 ..< count`; all arrays are indexed by `t`.
public struct NoiseSchedule: Equatable, Sendable {
    public enum Kind: String, Sendable {
        /// `β_t` linear from 1e-4 to 0.02: what COND P-DIFF, p-diff and RPG use.
        case linear
        /// `ᾱ_t = cos²((t/T + s)/(1 + s) · π/2)` with `s = 0.008` and `β ≤ 0.999` (Nichol and Dhariwal 2021).
        case cosine
    }

    public let kind: Kind
    public let betas: [Double]
    public let alphaBar: [Double]

    public var count: Int { betas.count }

    public init(_ kind: Kind = .linear, count: Int = 1000) {
        precondition(count >= 2, "a noise schedule has at least 2 steps, not \(count)")
        self.kind = kind
        switch kind {
        case .linear:
            betas = (0..<count).map { 1e-4 + (0.02 - 1e-4) * Double($0) / Double(count - 1) }
        case .cosine:
            func target(_ t: Int) -> Double {
                let angle = cos((Double(t) / Double(count) + 0.008) / 1.008 * .pi / 2)
                return angle * angle
            }
            betas = (0..<count).map { min(0.999, 1 - target($0 + 1) / target($0)) }
        }
        var product = 1.0
        alphaBar = betas.map { beta in
            product *= 1 - beta
            return product
        }
    }

    /// `√ᾱ_t`; 1 for `t = -1`, the clean end.
    public func signal(_ t: Int) -> Double { t < 0 ? 1 : alphaBar[t].squareRoot() }

    /// `√(1 − ᾱ_t)`; 0 for `t = -1`.
    public func noise(_ t: Int) -> Double { t < 0 ? 0 : (1 - alphaBar[t]).squareRoot() }

    /// Half the log signal-to-noise ratio, `λ_t = log(√ᾱ_t / √(1 − ᾱ_t))`.
    func halfLogSNR(_ t: Int) -> Double { log(signal(t) / noise(t)) }

    /// `steps` timesteps from `count - 1` down to at least 0, spread evenly, each once.
    func timesteps(_ steps: Int) -> [Int] {
        let steps = min(max(steps, 1), count)
        guard steps > 1 else { return [count - 1] }
        return (0..<steps).map { i in
            Int(saturating: (Double(count - 1) * Double(steps - 1 - i) / Double(steps - 1)).rounded())
        }
    }
}
