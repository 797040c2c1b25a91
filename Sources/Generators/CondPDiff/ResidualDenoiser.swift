import NN
import Tensor

/// A residual multi-layer perceptron whose blocks are shifted and scaled by time and condition (adaptive layer norm,
/// Peebles and Xie 2023). For latents without an order, where a convolution has nothing to hold on to.
final class ResidualDenoiser: Denoiser {
    private final class Block: Module {
        let modulation: Linear<Float>
        let up: Linear<Float>
        let down: Linear<Float>

        init(width: Int, random: inout Random) {
            modulation = Linear(inputs: width, outputs: 2 * width, random: &random)
            up = Linear(inputs: width, outputs: 2 * width, random: &random)
            down = Linear(inputs: 2 * width, outputs: width, random: &random)
        }

        func visit(_ visitor: ModuleVisitor<Float>) {
            visitor.child("modulation", modulation)
            visitor.child("up", up)
            visitor.child("down", down)
        }

        /// `h [n, width]`, `context [n, width]`; `mask` is dropout's, `[n, 2 width]`.
        func callAsFunction(_ h: Tensor<Float>, context: Tensor<Float>, mask: Tensor<Float>?) -> Tensor<Float> {
            let parts = modulation(context).split(axis: 1, [h.shape[1], h.shape[1]])
            var hidden = up(layerNorm(h) * (parts[0] + 1) + parts[1]).silu()
            if let mask { hidden = hidden * mask }
            return h + down(hidden)
        }
    }

    private let input: Linear<Float>
    private let time: (Linear<Float>, Linear<Float>)
    private let condition: (Linear<Float>, Linear<Float>)?
    private let blocks: [Block]
    private let output: Linear<Float>
    private let dropout: Double
    private static let timeWidth = 64

    init(latentCount: Int, conditionCount: Int, width: Int, blocks: Int, dropout: Double, random: inout Random) {
        input = Linear(inputs: latentCount, outputs: width, random: &random)
        time = (
            Linear(inputs: Self.timeWidth, outputs: width, random: &random),
            Linear(inputs: width, outputs: width, random: &random)
        )
        condition =
            conditionCount == 0
            ? nil
            : (
                Linear(inputs: conditionCount, outputs: width, random: &random),
                Linear(inputs: width, outputs: width, random: &random)
            )
        self.blocks = (0..<blocks).map { _ in Block(width: width, random: &random) }
        output = Linear(inputs: width, outputs: latentCount, random: &random)
        // Starts as the zero function: the mean of all adapters.
        output.weight.value = .pending(output.weight.shape)
        self.dropout = dropout
    }

    static func parameterCount(latentCount: Int, conditionCount: Int, width: Int, blocks: Int) -> Int {
        let square = ParameterCount.linear(width, width)
        var count = ParameterCount.linear(latentCount, width) + ParameterCount.linear(width, latentCount)
        count += ParameterCount.linear(timeWidth, width) + square
        if conditionCount > 0 { count += ParameterCount.linear(conditionCount, width) + square }
        return count + blocks * (2 * ParameterCount.linear(width, 2 * width) + ParameterCount.linear(2 * width, width))
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.child("input", input)
        visitor.child("time.0", time.0)
        visitor.child("time.1", time.1)
        visitor.child("condition.0", condition?.0)
        visitor.child("condition.1", condition?.1)
        visitor.children("blocks", blocks)
        visitor.child("output", output)
    }

    func callAsFunction(_ x: Tensor<Float>, times: [Int], condition: Tensor<Float>?) -> Tensor<Float> {
        run(x, times: times, condition: condition, random: nil)
    }

    /// The training pass, with dropout.
    func run(_ x: Tensor<Float>, times: [Int], condition c: Tensor<Float>?, random: Random?) -> Tensor<Float> {
        let embedded: Tensor<Float> = sinusoidalEmbedding(
            times.map { Double($0) }, dimension: Self.timeWidth, order: .sineThenCosine)
        let t = time.1(time.0(embedded).silu())
        var context = t
        var h = input(x) + t
        if let condition {
            let c = c ?? .zeros([x.shape[0], condition.0.weight.shape[1]])
            let e = condition.1(condition.0(c).silu())
            h = h + e
            context = context + e
        }
        context = context.silu()
        var random = random
        for block in blocks {
            let mask = dropout > 0 ? random?.dropoutMask([h.shape[0], 2 * h.shape[1]], rate: dropout) : nil
            h = block(h, context: context, mask: mask)
        }
        return output(h)
    }
}

extension Random {
    /// Zeros with probability `rate`, else `1 / (1 - rate)`.
    fileprivate mutating func dropoutMask(_ shape: [Int], rate: Double) -> Tensor<Float> {
        let draws: Tensor<Float> = uniform(shape)
        return Tensor(draws.values.map { Double($0) < rate ? 0 : Float(1 / (1 - rate)) }, shape: shape)
    }
}
