import NN
import Tensor

/// The fully convolutional autoencoder of language adapters (COND P-DIFF for GLUE, and p-diff's first version).
///
/// An adapter is a signal of one channel; each stage shortens it by the fold; what remains, bounded by tanh, is the
/// latent. Robustness comes from noise mixed into the input and into the latent while training.
final class ConvAutoencoder<E: Element>: Autoencoder {
    let configuration: ConvAutoencoderConfiguration
    let valueCount: Int
    let latentCount: Int
    let encoder: [FoldingStage<E>]
    let decoder: [UnfoldingStage<E>]
    private let paddedCount: Int

    init(_ configuration: ConvAutoencoderConfiguration = .medium, valueCount: Int, random: inout Random) {
        self.configuration = configuration
        self.valueCount = valueCount
        latentCount = configuration.latentCount(valueCount: valueCount)
        paddedCount = configuration.lengths(valueCount: valueCount).padded
        let (kernel, fold) = (configuration.kernel, configuration.fold)
        let down = configuration.encoderChannels
        encoder = zip([1] + down, down).enumerated().map {
            FoldingStage($1.0, $1.1, kernel: kernel, fold: fold, isFirst: $0 == 0, random: &random)
        }
        let up = configuration.decoderChannels
        decoder = zip(up, up.dropFirst() + [1]).enumerated().map {
            UnfoldingStage(
                $1.0, $1.1, kernel: kernel, fold: fold, padding: configuration.decoderPadding($0), random: &random)
        }
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.children("encoder", encoder)
        visitor.children("decoder", decoder)
    }

    /// `[n, D]` to `[n, P]` in -1 ... 1.
    func encode(_ x: Tensor<E>) -> Tensor<E> {
        encoder.reduce(x.signal(length: paddedCount)) { $1($0) }.tanh().flattenedSamples()
    }

    /// `[n, P]` to `[n, D]`, unbounded.
    func decode(_ z: Tensor<E>) -> Tensor<E> {
        let channels = configuration.decoderChannels[0]
        let map = z.reshaped([z.shape[0], channels, latentCount / channels])
        return decoder.reduce(map) { $1($0) }.values(count: valueCount)
    }

    func loss(_ x: Tensor<E>, random: Random) -> Tensor<E> {
        var random = random
        let inputNoise: Tensor<E> = random.normal(x.shape)
        return loss(x, inputNoise: inputNoise, latentNoise: random.normal([x.shape[0], latentCount]))
    }

    /// The loss for given noise ε: `x' = (1 - s) x + s ε`; the same for the latent, which is then cut to -1 ... 1.
    func loss(_ x: Tensor<E>, inputNoise: Tensor<E>, latentNoise: Tensor<E>) -> Tensor<E> {
        let z = encode(mix(x, inputNoise, configuration.inputNoise))
        return mseLoss(decode(mix(z, latentNoise, configuration.latentNoise).clamp(-1, 1)), x)
    }

    private func mix(_ clean: Tensor<E>, _ noise: Tensor<E>, _ share: Double) -> Tensor<E> {
        clean * (1 - share) + noise * share
    }
}

/// `[LeakyReLU] IN Conv LeakyReLU IN Conv(stride fold)`: `[n, inputs, L]` to `[n, outputs, about L / fold]`. The first
/// stage of a network has no activation in front.
final class FoldingStage<E: Element>: Module {
    let mix: Conv1d<E>
    let fold: Conv1d<E>
    private let isFirst: Bool

    init(_ inputs: Int, _ outputs: Int, kernel: Int, fold stride: Int, isFirst: Bool, random: inout Random) {
        mix = Conv1d(inputChannels: inputs, outputChannels: outputs, kernel: kernel, padding: 1, random: &random)
        fold = Conv1d(inputChannels: outputs, outputChannels: outputs, kernel: kernel, stride: stride, random: &random)
        self.isFirst = isFirst
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("mix", mix)
        visitor.child("fold", fold)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        let h = mix(instanceNorm(isFirst ? x : x.leakyReLU()))
        return fold(instanceNorm(h.leakyReLU()))
    }
}

/// `LeakyReLU IN ConvTranspose(stride fold) LeakyReLU IN Conv`: `[n, inputs, L]` to `[n, outputs, about fold L]`.
final class UnfoldingStage<E: Element>: Module {
    let unfold: ConvTranspose1d<E>
    let mix: Conv1d<E>

    init(_ inputs: Int, _ outputs: Int, kernel: Int, fold: Int, padding: Int, random: inout Random) {
        unfold = ConvTranspose1d(
            inputChannels: inputs, outputChannels: inputs, kernel: kernel, stride: fold, random: &random)
        mix = Conv1d(inputChannels: inputs, outputChannels: outputs, kernel: kernel, padding: padding, random: &random)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("unfold", unfold)
        visitor.child("mix", mix)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        let h = unfold(instanceNorm(x.leakyReLU()))
        return mix(instanceNorm(h.leakyReLU()))
    }
}
