import Learning
import NN
import Tensor

/// The denoiser of language latents (COND P-DIFF for GLUE): latent and condition side by side as one signal of constant
/// length `N = P + C`, a U-Net in its channels only, and a learned row per timestep that every block gets added.
final class ConcatConvDenoiser<E: Element>: Denoiser {
    let configuration: ConcatConvDenoiserConfiguration
    let latentCount: Int
    let conditionCount: Int
    /// The time table `[timesteps, N]`.
    let time: Embedding<E>
    let blocks: [ConcatConvBlock<E>]
    let output: Linear<E>

    /// - Parameter conditionCount: 0 for an unconditional network.
    init(
        _ configuration: ConcatConvDenoiserConfiguration = .init(), latentCount: Int, conditionCount: Int,
        random: inout Random
    ) {
        self.configuration = configuration
        self.latentCount = latentCount
        self.conditionCount = conditionCount
        let length = latentCount + conditionCount
        time = Embedding(entries: configuration.timesteps, features: length, random: &random)
        let widths = configuration.blockChannels
        blocks = zip([1] + widths, widths).enumerated().map {
            ConcatConvBlock(
                $1.0, $1.1, outputs: $0 == widths.count - 1 ? 1 : $1.1, isFirst: $0 == 0, random: &random)
        }
        output = Linear(inputs: length, outputs: latentCount, random: &random)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("time", time)
        visitor.children("blocks", blocks)
        visitor.child("output", output)
    }

    func callAsFunction(_ x: Tensor<E>, times: [Int], condition: Tensor<E>?) -> Tensor<E> {
        let samples = x.shape[0]
        let length = latentCount + conditionCount
        let rows = configuration.legacySharedTime ? times.map { _ in times[0] } : times
        let tau = time(rows).reshaped([samples, 1, length])

        var h = x
        if conditionCount > 0 {
            h = Tensor.concatenate([x, condition ?? .zeros([samples, conditionCount])], axis: 1)
        }
        h = h.reshaped([samples, 1, length])

        let stages = configuration.channels.count
        var skips: [Tensor<E>] = []
        for block in blocks.prefix(stages) {
            h = block(h + tau)
            skips.append(h)
        }
        skips.removeLast()
        for block in blocks.dropFirst(stages).dropLast() {
            h = block(h + tau) + skips.removeLast()
        }
        h = blocks[blocks.count - 1](h + tau)
        return output(h.reshaped([samples, length]))
    }
}

/// `[LeakyReLU] IN Conv3 LeakyReLU IN Conv3`: `[n, inputs, N]` to `[n, outputs, N]`. The first block of a network has
/// no activation in front.
final class ConcatConvBlock<E: Element>: Module {
    let first: Conv1d<E>
    let second: Conv1d<E>
    private let isFirst: Bool

    init(_ inputs: Int, _ middle: Int, outputs: Int, isFirst: Bool, random: inout Random) {
        first = Conv1d(inputChannels: inputs, outputChannels: middle, kernel: 3, padding: 1, random: &random)
        second = Conv1d(inputChannels: middle, outputChannels: outputs, kernel: 3, padding: 1, random: &random)
        self.isFirst = isFirst
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("first", first)
        visitor.child("second", second)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        let h = first(instanceNorm(isFirst ? x : x.leakyReLU()))
        return second(instanceNorm(h.leakyReLU()))
    }
}
