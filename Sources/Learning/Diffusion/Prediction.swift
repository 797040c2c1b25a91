import Tensor

/// What a denoiser's output stands for; each form can be turned into the clean sample `x_0`.
public enum Prediction: String, Sendable {
    /// The noise `ε` (Ho et al. 2020).
    case noise
    /// The clean sample `x_0`.
    case sample
    /// `v = √ᾱ·ε − √(1−ᾱ)·x_0` (Salimans and Ho 2022).
    case velocity

    /// The regression target for a sample `x_0` that was noised with `ε`. `signal` and `noise` broadcast over `x_0`.
    public func target<E: Element>(clean: Tensor<E>, epsilon: Tensor<E>, signal: Tensor<E>, noise: Tensor<E>) -> Tensor<
        E
    > {
        switch self {
        case .noise: epsilon
        case .sample: clean
        case .velocity: signal * epsilon - noise * clean
        }
    }

    /// `x_0` from the denoiser's output at one timestep.
    public func clean<E: Element>(from output: Tensor<E>, at x: Tensor<E>, signal: Double, noise: Double) -> Tensor<E> {
        switch self {
        case .noise: (x - output * noise) * (1 / signal)
        case .sample: output
        case .velocity: x * signal - output * noise
        }
    }
}
