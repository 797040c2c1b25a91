import NN
import Tensor

/// Predicts what was added to latents.
///
/// Batch norms work as `setTraining` has left them; a new network is in training.
public protocol Denoiser<Scalar>: Module {
    /// - Parameters:
    ///   - x: noised latents `[n, P]`.
    ///   - times: one timestep per sample.
    ///   - condition: `[n, C]`, or nil where the network has none; nil for a conditional network means zero.
    func callAsFunction(_ x: Tensor<Scalar>, times: [Int], condition: Tensor<Scalar>?) -> Tensor<Scalar>
    /// The training pass, with the network's dropout if it has one.
    func run(
        _ x: Tensor<Scalar>, times: [Int], condition: Tensor<Scalar>?, random: Random?
    ) -> Tensor<Scalar>
}

extension Denoiser {
    public func run(
        _ x: Tensor<Scalar>, times: [Int], condition: Tensor<Scalar>?, random: Random?
    ) -> Tensor<Scalar> { self(x, times: times, condition: condition) }
}
