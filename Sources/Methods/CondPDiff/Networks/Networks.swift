import NN
import Tensor

/// Maps normalised adapters `[n, D]` to latents `[n, P]` and back.
///
/// Encoding and decoding do not depend on `setTraining`: many threads may call them at once.
protocol Autoencoder<Scalar>: Module {
    /// Values of an adapter, `D`.
    var valueCount: Int { get }
    /// Coordinates of a latent, `P`.
    var latentCount: Int { get }
    /// Without noise and, where there are batch norms, with their running statistics.
    func encode(_ x: Tensor<Scalar>) -> Tensor<Scalar>
    func decode(_ z: Tensor<Scalar>) -> Tensor<Scalar>
    /// The training forward pass with the preset's noise: mean squared error against the clean `x`. Batch norms work
    /// as `setTraining` has left them; a new network is in training.
    func loss(_ x: Tensor<Scalar>, random: Random) -> Tensor<Scalar>
    /// Solves for the weights where there is a closed form; false where they have to be trained.
    func solve(_ x: @autoclosure () throws(LoragenError) -> Tensor<Scalar>) throws(LoragenError) -> Bool
    /// Coordinates of a latent that are not always zero.
    var rank: Int { get }
}

extension Autoencoder {
    func solve(_ x: @autoclosure () throws(LoragenError) -> Tensor<Scalar>) -> Bool { false }
    var rank: Int { latentCount }
}

extension Tensor {
    /// `[n, D]` as a signal of one channel, `[n, 1, length]`, with zeros appended.
    func signal(length: Int) -> Tensor {
        let (samples, count) = (shape[0], shape[1])
        guard length > count else { return reshaped([samples, 1, count]) }
        let padded = Tensor.concatenate([self, .zeros([samples, length - count])], axis: 1)
        return padded.reshaped([samples, 1, length])
    }

    /// The first `count` values of a signal of one channel, `[n, 1, L]` to `[n, count]`.
    func values(count: Int) -> Tensor {
        let flat = reshaped([shape[0], shape[2]])
        return count == shape[2] ? flat : flat.slice(axis: 1, 0..<count)
    }

    /// `[n, c, L]` to `[n, c L]`.
    func flattenedSamples() -> Tensor { reshaped([shape[0], shape[1] * shape[2]]) }
}
