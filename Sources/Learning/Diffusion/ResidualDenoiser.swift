import NN
import Tensor

/// A residual multi-layer perceptron whose blocks are shifted and scaled by time and condition (adaptive layer norm,
/// Peebles and Xie 2023). For latents without an order, where a convolution has nothing to hold on to.
public final class ResidualDenoiser<E: Element>: Denoiser {
    private final class Block: Module {
        let modulation: Linear<E>
        let up: Linear<E>
        let down: Linear<E>

        init(width: Int, random: inout Random) {
            modulation = Linear(inputs: width, outputs: 2 * width, random: &random)
            up = Linear(inputs: width, outputs: 2 * width, random: &random)
            down = Linear(inputs: 2 * width, outputs: width, random: &random)
        }

        func visit(_ visitor: ModuleVisitor<E>) {
            visitor.child("modulation", modulation)
            visitor.child("up", up)
            visitor.child("down", down)
        }

        /// `h [n, width]`, `context [n, width]`; `mask` is dropout's, `[n, 2 width]`.
        func callAsFunction(_ h: Tensor<E>, context: Tensor<E>, mask: Tensor<E>?) -> Tensor<E> {
            let parts = modulation(context).split(axis: 1, [h.shape[1], h.shape[1]])
            var hidden = up(layerNorm(h) * (parts[0] + 1) + parts[1]).silu()
            if let mask { hidden = hidden * mask }
            return h + down(hidden)
        }
    }

    private let input: Linear<E>
    private let time: (Linear<E>, Linear<E>)
    private let condition: (Linear<E>, Linear<E>)?
    private let blocks: [Block]
    private let output: Linear<E>
    private let dropout: Double
    private static var timeWidth: Int { 64 }

    public init(latentCount: Int, conditionCount: Int, width: Int, blocks: Int, dropout: Double, random: inout Random) {
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

    public static func parameterCount(latentCount: Int, conditionCount: Int, width: Int, blocks: Int) -> Int {
        let square = ParameterCount.linear(width, width)
        var count = ParameterCount.linear(latentCount, width) + ParameterCount.linear(width, latentCount)
        count += ParameterCount.linear(timeWidth, width) + square
        if conditionCount > 0 { count += ParameterCount.linear(conditionCount, width) + square }
        return count + blocks * (2 * ParameterCount.linear(width, 2 * width) + ParameterCount.linear(2 * width, width))
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("input", input)
        visitor.child("time.0", time.0)
        visitor.child("time.1", time.1)
        visitor.child("condition.0", condition?.0)
        visitor.child("condition.1", condition?.1)
        visitor.children("blocks", blocks)
        visitor.child("output", output)
    }

    public func callAsFunction(_ x: Tensor<E>, times: [Int], condition: Tensor<E>?) -> Tensor<E> {
        run(x, times: times, condition: condition, random: nil)
    }

    /// The training pass, with dropout.
    public func run(_ x: Tensor<E>, times: [Int], condition c: Tensor<E>?, random: Random?) -> Tensor<E> {
        let embedded = condition.map { self.embedded(c ?? .zeros([x.shape[0], $0.0.weight.shape[1]])) }
        return self(x, time: self.embedded(times), condition: embedded, random: random)
    }

    /// `[times.count, width]`
    public func embedded(_ times: [Int]) -> Tensor<E> {
        let sinusoids: Tensor<E> = sinusoidalEmbedding(
            times.map { Double($0) }, dimension: Self.timeWidth, order: .sineThenCosine)
        return time.1(time.0(sinusoids).silu())
    }

    /// `[n, conditionCount]` to `[n, width]`; a network without conditions gives zeros.
    public func embedded(_ condition: Tensor<E>) -> Tensor<E> {
        self.condition.map { $0.1($0.0(condition).silu()) } ?? .zeros([condition.shape[0], output.weight.shape[1]])
    }

    /// From the embeddings of time, one row or `n`, and condition.
    public func callAsFunction(_ x: Tensor<E>, time: Tensor<E>, condition: Tensor<E>?, random: Random?) -> Tensor<E> {
        let context = condition.map { time + $0 } ?? time
        var h = input(x) + context
        let modulation = context.silu()
        var random = random
        for block in blocks {
            let mask: Tensor<E>? = dropout > 0 ? random?.dropout([h.shape[0], 2 * h.shape[1]], rate: dropout) : nil
            h = block(h, context: modulation, mask: mask)
        }
        return output(h)
    }
}
