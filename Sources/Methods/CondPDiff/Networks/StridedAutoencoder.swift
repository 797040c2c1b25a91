import NN
import Tensor

/// Stages that halve the signal around a linear bottleneck: two layers to the latent, one or two back, and noise of a fixed
/// deviation added to the input and to the latent while training.
///
/// The autoencoder of vision adapters (COND P-DIFF for PixArt) is wide: activations on both sides of the latent, and a second
/// layer in the decoder. Its latents are large, tens and more: the caller scales. That of p-diff's final version is not.
final class StridedAutoencoder<E: Element>: Autoencoder {
    let configuration: StridedAutoencoderConfiguration
    let valueCount: Int
    let encoder: [HalvingStage<E>]
    let squeeze: Linear<E>
    let mean: Linear<E>
    /// Wide bottlenecks alone: a second layer in the decoder.
    let widen: Linear<E>?
    let expand: Linear<E>
    let decoder: [DoublingStage<E>]
    let output: Conv1d<E>

    init(_ configuration: StridedAutoencoderConfiguration, valueCount: Int, random: inout Random) {
        self.configuration = configuration
        self.valueCount = valueCount
        let (latent, kernel) = (configuration.latentCount, configuration.kernel)
        let flat = configuration.flatCount(valueCount: valueCount)
        encoder = HalvingStage.stages(configuration, random: &random)
        squeeze = Linear(inputs: flat, outputs: latent, random: &random)
        mean = Linear(inputs: latent, outputs: latent, random: &random)
        widen = configuration.isWide ? Linear(inputs: latent, outputs: latent, random: &random) : nil
        expand = Linear(inputs: latent, outputs: flat, random: &random)
        decoder = DoublingStage.stages(configuration, random: &random)
        output = Conv1d(
            inputChannels: configuration.channels[0], outputChannels: 1, kernel: kernel, padding: kernel / 2,
            random: &random)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.children("encoder", encoder)
        visitor.child("squeeze", squeeze)
        visitor.child("mean", mean)
        visitor.child("widen", widen)
        visitor.child("expand", expand)
        visitor.children("decoder", decoder)
        visitor.child("output", output)
    }

    /// `[n, D]` to `[n, P]`; batch norms use running statistics if `evaluating`, else what `setTraining` says.
    func latents(of x: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        let signal = x.signal(length: configuration.paddedCount(valueCount: valueCount))
        let map = encoder.reduce(signal) { $1($0, evaluating: evaluating) }
        let squeezed = squeeze(map.flattenedSamples())
        return mean(configuration.isWide ? squeezed.leakyReLU() : squeezed)
    }

    /// `[n, P]` to `[n, D]`
    func values(of z: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        let shape = configuration.bottleneckShape(z.shape[0], valueCount: valueCount)
        let map = expand(widen.map { $0(z).elu() } ?? z).reshaped(shape)
        return output(decoder.reduce(map) { $1($0, evaluating: evaluating) }).values(count: valueCount)
    }

    var latentCount: Int { configuration.latentCount }

    func encode(_ x: Tensor<E>) -> Tensor<E> { latents(of: x, evaluating: true) }

    func decode(_ z: Tensor<E>) -> Tensor<E> { values(of: z, evaluating: true) }

    func loss(_ x: Tensor<E>, random: Random) -> Tensor<E> {
        var random = random
        let inputNoise = configuration.inputNoise > 0 ? random.normal(x.shape, of: E.self) : nil
        let latentShape = [x.shape[0], latentCount]
        let latentNoise = configuration.latentNoise > 0 ? random.normal(latentShape, of: E.self) : nil
        return loss(x, inputNoise: inputNoise, latentNoise: latentNoise)
    }

    /// The loss for given noise ε of deviation 1: `x' = x + s ε`, `z' = z + s ε`, and the clean `x` as the target.
    func loss(
        _ x: Tensor<E>, inputNoise: Tensor<E>?, latentNoise: Tensor<E>?
    ) -> Tensor<E> {
        let noised = inputNoise.map { x + $0 * configuration.inputNoise } ?? x
        var z = latents(of: noised, evaluating: false)
        if let latentNoise { z = z + latentNoise * configuration.latentNoise }
        return mseLoss(values(of: z, evaluating: false), x)
    }
}
