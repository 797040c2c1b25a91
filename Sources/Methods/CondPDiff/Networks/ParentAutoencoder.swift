import NN
import Tensor

/// The autoencoder of p-diff's final version: stages that halve the signal, two linear layers to the latent, one back,
/// and noise of a fixed deviation added to the input and to the latent while training.
final class ParentAutoencoder<E: Element>: StridedAutoencoder {
    let configuration: StridedAutoencoderConfiguration
    let valueCount: Int
    let encoder: [HalvingStage<E>]
    let squeeze: Linear<E>
    let mean: Linear<E>
    let expand: Linear<E>
    let decoder: [DoublingStage<E>]
    let output: Conv1d<E>

    init(_ configuration: StridedAutoencoderConfiguration = .parent, valueCount: Int, random: inout Random) {
        self.configuration = configuration
        self.valueCount = valueCount
        let (latent, kernel) = (configuration.latentCount, configuration.kernel)
        let flat = configuration.flatCount(valueCount: valueCount)
        encoder = HalvingStage.stages(configuration, random: &random)
        squeeze = Linear(inputs: flat, outputs: latent, random: &random)
        mean = Linear(inputs: latent, outputs: latent, random: &random)
        expand = Linear(inputs: latent, outputs: flat, random: &random)
        decoder = DoublingStage.stages(configuration, random: &random)
        output = Conv1d(
            inputChannels: configuration.channels[0], outputChannels: 1, kernel: kernel, padding: kernel / 2,
            random: &random)
    }

    static func parameterCount(_ configuration: StridedAutoencoderConfiguration = .parent, valueCount: Int) -> Int {
        configuration.parameterCount(valueCount: valueCount, wide: false)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.children("encoder", encoder)
        visitor.child("squeeze", squeeze)
        visitor.child("mean", mean)
        visitor.child("expand", expand)
        visitor.children("decoder", decoder)
        visitor.child("output", output)
    }

    func latents(of x: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        let signal = x.signal(length: configuration.paddedCount(valueCount: valueCount))
        let map = encoder.reduce(signal) { $1($0, evaluating: evaluating) }
        return mean(squeeze(map.flattenedSamples()))
    }

    func values(of z: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        let shape = configuration.bottleneckShape(z.shape[0], valueCount: valueCount)
        let map = expand(z).reshaped(shape)
        return output(decoder.reduce(map) { $1($0, evaluating: evaluating) }).values(count: valueCount)
    }
}
