import NN
import Tensor

/// The autoencoder of p-diff's final version: stages that halve the signal, two linear layers to the latent, one back,
/// and noise of a fixed deviation added to the input and to the latent while training.
final class ParentAutoencoder<E: Element>: Autoencoder {
    let configuration: StridedAutoencoderConfiguration
    let valueCount: Int
    let encoder: [HalvingStage<E>]
    let squeeze: Linear<E>
    let mean: Linear<E>
    let expand: Linear<E>
    let decoder: [DoublingStage<E>]
    let output: Conv1d<E>

    var latentCount: Int { configuration.latentCount }

    init(_ configuration: StridedAutoencoderConfiguration = .parent, valueCount: Int, random: inout Random) {
        self.configuration = configuration
        self.valueCount = valueCount
        let (latent, kernel) = (configuration.latentCount, configuration.kernel)
        let flat = configuration.flatCount(valueCount: valueCount)
        encoder = HalvingStage.stages(configuration, random: &random)
        squeeze = Linear(flat, latent, random: &random)
        mean = Linear(latent, latent, random: &random)
        expand = Linear(latent, flat, random: &random)
        decoder = DoublingStage.stages(configuration, random: &random)
        output = Conv1d(configuration.channels[0], 1, kernel: kernel, padding: kernel / 2, random: &random)
    }

    static func parameterCount(_ configuration: StridedAutoencoderConfiguration = .parent, valueCount: Int) -> Int {
        configuration.parameterCount(valueCount: valueCount, wide: false)
    }

    /// `[n, D]` to `[n, P]`, unbounded.
    func encode(_ x: Tensor<E>) -> Tensor<E> {
        let signal = x.signal(length: configuration.paddedCount(valueCount: valueCount))
        let map = encoder.reduce(signal) { $1($0) }
        return mean(squeeze(map.flattenedSamples()))
    }

    /// `[n, P]` to `[n, D]`.
    func decode(_ z: Tensor<E>) -> Tensor<E> {
        let map = expand(z).reshaped(configuration.bottleneckShape(z.shape[0], valueCount: valueCount))
        return output(decoder.reduce(map) { $1($0) }).values(count: valueCount)
    }

    func loss(_ x: Tensor<E>, random: Random) -> Tensor<E> {
        configuration.loss(of: self, x, random: random)
    }
}
