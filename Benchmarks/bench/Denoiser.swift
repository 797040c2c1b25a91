import NN
import Tensor

/// RPG's denoiser (rpg.md 3.1): before every convolution x is (x + γ) ⊙ τ, after each but the last batch norm and ELU;
/// the maps of 32 and 64 channels return as skips.
final class Denoiser: Module {
    let time: [Linear<Float>]
    let condition: Linear<Float>
    let convolutions: [Conv1d<Float>]
    let norms: [BatchNorm1d<Float>]

    init(tokenSize k: Int, conditionSize: Int, channels: [Int] = [1, 32, 64, 128, 64, 32, 1]) {
        var random = Random(seed: 1)
        time = [
            Linear(inputs: 256, outputs: k, random: &random), Linear(inputs: k, outputs: k, random: &random),
        ]
        condition = Linear(inputs: conditionSize, outputs: k, random: &random)
        convolutions = zip(channels, channels.dropFirst()).map {
            Conv1d(inputChannels: $0, outputChannels: $1, kernel: 7, padding: 3, random: &random)
        }
        norms = channels.dropFirst().dropLast().map { BatchNorm1d(channels: $0) }
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.children("time", time)
        visitor.child("condition", condition)
        for (i, convolution) in convolutions.enumerated() {
            visitor.child("\(i).conv", convolution)
            if i < norms.count { visitor.child("\(i).norm", norms[i]) }
        }
    }

    /// x, condition [M, k], times [M]
    func callAsFunction(_ x: Tensor<Float>, _ times: [Double], _ condition: Tensor<Float>) -> Tensor<Float> {
        let (m, k) = (x.shape[0], x.shape[1])
        let features: Tensor<Float> = sinusoidalEmbedding(times, dimension: 256, order: .cosineThenSine)
        let tau = time[1](time[0](features).silu()).reshaped([m, 1, k])
        let gamma = self.condition(condition).reshaped([m, 1, k])
        var h = x.reshaped([m, 1, k])
        let encoders = (convolutions.count + 1) / 2 + 1
        var skips: [Tensor<Float>] = []
        for (i, convolution) in convolutions.enumerated() {
            if i >= encoders, let skip = skips.popLast() { h = h + skip }
            h = convolution((h + gamma) * tau)
            if i < norms.count { h = norms[i](h).elu() }
            if i < encoders - 2 { skips.append(h) }
        }
        return h.reshaped([m, k])
    }

    /// Sampling: batch norms in their convolutions, everything else on the way.
    func infer(_ x: Tensor<Float>, _ times: [Double], _ condition: Tensor<Float>) -> Tensor<Float> {
        withoutGradients {
            let (m, k) = (x.shape[0], x.shape[1])
            let features: Tensor<Float> = sinusoidalEmbedding(times, dimension: 256, order: .cosineThenSine)
            let (tau, gamma) = (time[1](time[0](features).silu()), self.condition(condition))
            var h = x.reshaped([m, 1, k])
            let encoders = (convolutions.count + 1) / 2 + 1
            var skips: [Tensor<Float>] = []
            for (i, convolution) in convolutions.enumerated() {
                if i >= encoders, let skip = skips.popLast() { h = h + skip }
                let isLast = i == norms.count
                let (weight, bias) =
                    isLast
                    ? (convolution.weight.value, convolution.bias?.value)
                    : norms[i].folded(into: convolution)
                h = inferConv1d(
                    h, weight: weight, bias: bias, padding: 3, add: gamma, multiply: tau,
                    activation: isLast ? nil : .elu(alpha: 1))
                if i < encoders - 2 { skips.append(h) }
            }
            return h.reshaped([m, k])
        }
    }
}
