import Learning
import NN
import Tensor

/// The denoiser of vision latents (COND P-DIFF for PixArt): a U-Net in its channels over a signal of constant length
/// `P`. The condition, a vector of that length, is added after every stage; the time enters in the middle, where one
/// linear layer sees the whole map.
final class VisionDenoiser<E: Element>: Denoiser {
    let configuration: VisionDenoiserConfiguration
    let latentCount: Int
    let conditionCount: Int
    let time: TimeEmbedding<E>
    /// Only for conditions whose length is not `P`.
    let condition: Linear<E>?
    let encoder: [VisionStage<E>]
    let middle: Linear<E>
    let decoder: [VisionStage<E>]

    /// - Parameter conditionCount: 0 for an unconditional network.
    init(
        _ configuration: VisionDenoiserConfiguration = .init(), latentCount: Int, conditionCount: Int,
        random: inout Random
    ) {
        self.configuration = configuration
        self.latentCount = latentCount
        self.conditionCount = conditionCount
        let (channels, kernel) = (configuration.channels, configuration.kernel)
        let width = channels[channels.count - 1]
        time = TimeEmbedding(width: width, outputs: width, order: .interleaved, xavier: true, random: &random)
        condition =
            configuration.projects(conditionCount, to: latentCount)
            ? Linear(inputs: conditionCount, outputs: latentCount, random: &random) : nil
        encoder = zip([1] + channels, channels).map {
            VisionStage($0, $1, kernel: kernel, activation: .leakyReLU(), isLast: false, random: &random)
        }
        middle = Linear(inputs: width * latentCount, outputs: width * latentCount, random: &random)
        let up = channels.dropLast().reversed() + [1]
        decoder = zip(channels.suffix(1) + up, up).enumerated().map {
            VisionStage(
                $1.0, $1.1, kernel: kernel, activation: .elu(), isLast: $0 == up.count - 1, random: &random)
        }
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("time", time)
        visitor.child("condition", condition)
        visitor.children("encoder", encoder)
        visitor.child("middle", middle)
        visitor.children("decoder", decoder)
    }

    func callAsFunction(_ x: Tensor<E>, times: [Int], condition vector: Tensor<E>?) -> Tensor<E> {
        let samples = x.shape[0]
        // [n, c, 1] and [n, 1, P]
        let tau = time(times).reshaped([samples, configuration.channels[configuration.channels.count - 1], 1])
        var cond = Tensor<E>.zeros([samples, 1, latentCount])
        if conditionCount > 0 {
            let vector = vector ?? .zeros([samples, conditionCount])
            cond = (condition.map { $0(vector) } ?? vector).reshaped([samples, 1, latentCount])
        }

        var h = x.reshaped([samples, 1, latentCount])
        var skips: [Tensor<E>] = []
        for stage in encoder {
            h = stage(h) + cond
            skips.append(h)
        }
        skips.removeLast()
        h = middle((h + tau).flattenedSamples()).reshaped(h.shape).leakyReLU() + tau + cond
        for stage in decoder.dropLast() {
            h = stage(h) + skips.removeLast() + cond
        }
        return decoder[decoder.count - 1](h).reshaped([samples, latentCount])
    }
}

/// `Conv BN act Conv BN act`: `[n, inputs, P]` to `[n, outputs, P]`. The last stage of a network ends with its second
/// convolution.
final class VisionStage<E: Element>: Module {
    let first: Conv1d<E>
    let firstNorm: BatchNorm1d<E>
    let second: Conv1d<E>
    let secondNorm: BatchNorm1d<E>?
    private let activation: Activation

    init(_ inputs: Int, _ outputs: Int, kernel: Int, activation: Activation, isLast: Bool, random: inout Random) {
        first = Conv1d(
            inputChannels: inputs, outputChannels: outputs, kernel: kernel, padding: kernel / 2, random: &random)
        firstNorm = BatchNorm1d(channels: outputs)
        second = Conv1d(
            inputChannels: outputs, outputChannels: outputs, kernel: kernel, padding: kernel / 2, random: &random)
        secondNorm = isLast ? nil : BatchNorm1d(channels: outputs)
        self.activation = activation
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("first", first)
        visitor.child("firstNorm", firstNorm)
        visitor.child("second", second)
        visitor.child("secondNorm", secondNorm)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        let h = second(activation(firstNorm(first(x))))
        return secondNorm.map { activation($0(h)) } ?? h
    }
}
