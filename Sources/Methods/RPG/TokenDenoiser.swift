import Learning
import NN
import Tensor

/// Estimates tokens from noised ones, each on its own: `x [M, k]`, a time and a prototype for each.
///
/// What depends on the prototype alone, or on the time alone, is computed apart, so that sampling computes it once.
protocol TokenDenoiser<Scalar>: Module {
    /// `[M, outputWidth]` to `[M, …]`.
    func context(_ prototypes: Tensor<Scalar>) -> Tensor<Scalar>
    /// `[times.count, …]`.
    func time(_ times: [Int]) -> Tensor<Scalar>
    /// The training pass; batch norms work as `setTraining` has left them.
    func callAsFunction(
        _ x: Tensor<Scalar>, time: Tensor<Scalar>, context: Tensor<Scalar>, random: Random?
    ) -> Tensor<Scalar>
    /// The network in evaluation without gradients, made ready for many calls; `time` has one row or one a token.
    func inference() -> (_ x: Tensor<Scalar>, _ time: Tensor<Scalar>, _ context: Tensor<Scalar>) -> Tensor<Scalar>
}

extension RPGConfiguration {
    func makeDenoiser<E: Element>(_ random: inout Random) -> (any TokenDenoiser<E>)? {
        switch denoiser {
        case .convolution: ConvTokenDenoiser<E>(self, random: &random)
        case .perceptron: PerceptronTokenDenoiser<E>(self, random: &random)
        case .none: nil
        }
    }
}

/// The published denoiser: convolutions along the token. Before each, `x ← (x + γ) ⊙ τ` with the prototype's projection γ
/// and the time's τ, both `[M, k]`; after each but the last, batch norm and ELU. Later layers add the maps of earlier ones.
final class ConvTokenDenoiser<E: Element>: TokenDenoiser {
    let condition: Linear<E>
    let timeEmbedding: TimeEmbedding<E>
    let convolutions: [Conv1d<E>]
    let norms: [BatchNorm1d<E>]
    /// Convolutions before the middle; the maps of all but the last two of them are added after it.
    private let encoders: Int
    private let padding: Int

    init(_ configuration: RPGConfiguration, random: inout Random) {
        let (k, kernel) = (configuration.tokenSize, configuration.kernel)
        timeEmbedding = TimeEmbedding(
            width: RPGConfiguration.timeFeatures, outputs: k, order: .cosineThenSine, xavier: false, random: &random)
        condition = Linear(inputs: configuration.outputWidth, outputs: k, random: &random)
        let sizes = [1] + configuration.channels + [1]
        padding = kernel / 2
        convolutions = zip(sizes, sizes.dropFirst()).map {
            Conv1d(inputChannels: $0, outputChannels: $1, kernel: kernel, padding: kernel / 2, random: &random)
        }
        norms = configuration.channels.map { BatchNorm1d(channels: $0) }
        encoders = min(sizes.count / 2 + 1, sizes.count - 1)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("time", timeEmbedding)
        visitor.child("condition", condition)
        for (i, convolution) in convolutions.enumerated() {
            visitor.child("layers.\(i).conv", convolution)
            if i < norms.count { visitor.child("layers.\(i).norm", norms[i]) }
        }
    }

    func context(_ prototypes: Tensor<E>) -> Tensor<E> { condition(prototypes) }
    func time(_ times: [Int]) -> Tensor<E> { timeEmbedding(times) }

    /// Runs the layers with the skips between them; `layer` is one convolution with what goes before and after it.
    private func run(_ x: Tensor<E>, _ layer: (Int, Tensor<E>) -> Tensor<E>) -> Tensor<E> {
        let (samples, k) = (x.shape[0], x.shape[1])
        var h = x.reshaped([samples, 1, k])
        var skips: [Tensor<E>] = []
        for i in convolutions.indices {
            if i >= encoders, let skip = skips.popLast() { h = h + skip }
            h = layer(i, h)
            if i < encoders - 2 { skips.append(h) }
        }
        return h.reshaped([samples, k])
    }

    func callAsFunction(_ x: Tensor<E>, time: Tensor<E>, context: Tensor<E>, random: Random?) -> Tensor<E> {
        let (gamma, tau) = (
            context.reshaped([x.shape[0], 1, x.shape[1]]), time.reshaped([x.shape[0], 1, x.shape[1]])
        )
        return run(x) { i, h in
            let y = convolutions[i]((h + gamma) * tau)
            return i < norms.count ? norms[i](y).elu() : y
        }
    }

    func inference() -> (_ x: Tensor<E>, _ time: Tensor<E>, _ context: Tensor<E>) -> Tensor<E> {
        let folded: [(weight: Tensor<E>, bias: Tensor<E>)] = convolutions.indices.map { i in
            i < norms.count
                ? norms[i].folded(into: convolutions[i])
                : (convolutions[i].weight.value, convolutions[i].bias?.value ?? .zeros([1]))
        }
        return { x, time, context in
            let tau = time.shape[0] == x.shape[0] ? time : time.gather([Int32](repeating: 0, count: x.shape[0]))
            return self.run(x) { i, h in
                inferConv1d(
                    h, weight: folded[i].weight, bias: folded[i].bias, padding: self.padding, add: context,
                    multiply: tau,
                    activation: i < self.norms.count ? .elu(alpha: 1) : nil)
            }
        }
    }
}

/// Ours: the prototype's own estimate, a linear layer, plus what a residual perceptron of the noised token adds to it.
final class PerceptronTokenDenoiser<E: Element>: TokenDenoiser {
    private let readout: Linear<E>
    private let perceptron: ResidualDenoiser<E>
    private let size: Int

    init(_ configuration: RPGConfiguration, random: inout Random) {
        size = configuration.tokenSize
        readout = Linear(inputs: configuration.outputWidth, outputs: size, random: &random)
        // Both parts start as the zero function.
        readout.weight.value = .pending(readout.weight.shape)
        perceptron = ResidualDenoiser(
            latentCount: size, conditionCount: configuration.outputWidth, width: configuration.denoiserWidth,
            blocks: configuration.blocks, dropout: configuration.dropout, random: &random)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("readout", readout)
        visitor.child("perceptron", perceptron)
    }

    func context(_ prototypes: Tensor<E>) -> Tensor<E> {
        .concatenate([readout(prototypes), perceptron.embedded(prototypes)], axis: 1)
    }

    func time(_ times: [Int]) -> Tensor<E> { perceptron.embedded(times) }

    func callAsFunction(_ x: Tensor<E>, time: Tensor<E>, context: Tensor<E>, random: Random?) -> Tensor<E> {
        let parts = context.split(axis: 1, [size, context.shape[1] - size])
        return parts[0] + perceptron(x, time: time, condition: parts[1], random: random)
    }

    func inference() -> (_ x: Tensor<E>, _ time: Tensor<E>, _ context: Tensor<E>) -> Tensor<E> {
        { x, time, context in withoutGradients { self(x, time: time, context: context, random: nil) } }
    }
}
