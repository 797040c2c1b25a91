import Learning
import NN
import Tensor

/// The denoiser of p-diff's final version: eight convolutions over the latent as a signal of length `P`, with the time
/// added along that length before each, and the first three layers' outputs added to the last three's inputs.
final class ParentDenoiser<E: Element>: Denoiser {
    let configuration: ParentDenoiserConfiguration
    let latentCount: Int
    let conditionCount: Int
    let time: TimeEmbedding<E>
    /// Not in the published network: a projection of a condition, which is then added like the time.
    let condition: Linear<E>?
    let layers: [ParentLayer<E>]

    init(
        _ configuration: ParentDenoiserConfiguration = .init(), latentCount: Int, conditionCount: Int = 0,
        random: inout Random
    ) {
        self.configuration = configuration
        self.latentCount = latentCount
        self.conditionCount = conditionCount
        time = TimeEmbedding(
            width: configuration.timeWidth, outputs: latentCount, order: .cosineThenSine, xavier: false, random: &random
        )
        condition = conditionCount > 0 ? Linear(inputs: conditionCount, outputs: latentCount, random: &random) : nil
        let channels = configuration.channels
        layers = zip([1] + channels, channels + [1]).enumerated().map {
            ParentLayer(
                $1.0, $1.1, kernel: configuration.kernel, isLast: $0 == channels.count, random: &random)
        }
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("time", time)
        visitor.child("condition", condition)
        visitor.children("layers", layers)
    }

    func callAsFunction(_ x: Tensor<E>, times: [Int], condition vector: Tensor<E>?) -> Tensor<E> {
        let samples = x.shape[0]
        var tau = time(times)
        if let condition { tau = tau + condition(vector ?? .zeros([samples, conditionCount])) }
        tau = tau.reshaped([samples, 1, latentCount])

        var h = x.reshaped([samples, 1, latentCount])
        var skips: [Tensor<E>] = []
        for (index, layer) in layers.enumerated() {
            if index >= layers.count - configuration.skips { h = h + skips.removeLast() }
            h = layer(h + tau)
            if index < configuration.skips { skips.append(h) }
        }
        return h.reshaped([samples, latentCount])
    }
}

/// `Conv BN ELU`, or the bare convolution at the end: `[n, inputs, P]` to `[n, outputs, P]`.
final class ParentLayer<E: Element>: Module {
    let conv: Conv1d<E>
    let norm: BatchNorm1d<E>?

    init(_ inputs: Int, _ outputs: Int, kernel: Int, isLast: Bool, random: inout Random) {
        conv = Conv1d(
            inputChannels: inputs, outputChannels: outputs, kernel: kernel, padding: kernel / 2, random: &random)
        norm = isLast ? nil : BatchNorm1d(channels: outputs)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("conv", conv)
        visitor.child("norm", norm)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        let h = conv(x)
        return norm.map { $0(h).elu() } ?? h
    }
}
