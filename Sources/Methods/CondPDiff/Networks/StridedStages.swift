import NN
import Tensor

/// `Conv(stride 2) BN LeakyReLU`: `[n, inputs, 2 L]` to `[n, outputs, L]`.
final class HalvingStage<E: Element>: Module {
    let conv: Conv1d<E>
    let norm: BatchNorm1d<E>

    init(_ inputs: Int, _ outputs: Int, kernel: Int, random: inout Random) {
        conv = Conv1d(
            inputChannels: inputs, outputChannels: outputs, kernel: kernel, stride: 2, padding: kernel / 2,
            random: &random)
        norm = BatchNorm1d(channels: outputs)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("conv", conv)
        visitor.child("norm", norm)
    }

    /// - Parameter evaluating: with running statistics, whatever the mode.
    func callAsFunction(_ x: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        norm(conv(x), evaluating: evaluating).leakyReLU()
    }

    /// From one channel through all of the configuration's.
    static func stages(_ configuration: StridedAutoencoderConfiguration, random: inout Random) -> [HalvingStage] {
        zip([1] + configuration.channels, configuration.channels).map {
            HalvingStage($0, $1, kernel: configuration.kernel, random: &random)
        }
    }
}

/// `ConvTranspose(stride 2) BN ELU`: `[n, inputs, L]` to `[n, outputs, 2 L]`.
final class DoublingStage<E: Element>: Module {
    let conv: ConvTranspose1d<E>
    let norm: BatchNorm1d<E>

    init(_ inputs: Int, _ outputs: Int, kernel: Int, random: inout Random) {
        conv = ConvTranspose1d(
            inputChannels: inputs, outputChannels: outputs, kernel: kernel, stride: 2, padding: kernel / 2,
            outputPadding: 1, random: &random)
        norm = BatchNorm1d(channels: outputs)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("conv", conv)
        visitor.child("norm", norm)
    }

    /// - Parameter evaluating: with running statistics, whatever the mode.
    func callAsFunction(_ x: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        norm(conv(x), evaluating: evaluating).elu()
    }

    /// Back through the configuration's channels; the last stage keeps their number.
    static func stages(_ configuration: StridedAutoencoderConfiguration, random: inout Random) -> [DoublingStage] {
        let channels = configuration.decoderChannels
        return zip(configuration.channels.suffix(1) + channels, channels).map {
            DoublingStage($0, $1, kernel: configuration.kernel, random: &random)
        }
    }
}

extension BatchNorm1d {
    /// With the running statistics if `evaluating`, which changes nothing and may be called from many threads; in the
    /// layer's own mode if not.
    fileprivate func callAsFunction(_ x: Tensor<E>, evaluating: Bool) -> Tensor<E> {
        guard evaluating else { return self(x) }
        return batchNorm(
            x, mean: runningMean.value, variance: runningVariance.value, gamma: gamma.tensor, beta: beta.tensor,
            eps: eps)
    }
}
