import NN
import Tensor

/// A timestep as a vector: a sinusoid, `Linear`, SiLU, `Linear`.
final class TimeEmbedding<E: Element>: Module {
    let first: Linear<E>
    let second: Linear<E>
    private let width: Int
    private let order: SinusoidOrder

    /// - Parameters:
    ///   - width: of the sinusoid, even.
    ///   - xavier: weights uniform in ±√(6 / (inputs + outputs)) and no biases, instead of the layers' own start.
    init(width: Int, outputs: Int, order: SinusoidOrder, xavier: Bool, random: inout Random) {
        first = Linear(inputs: width, outputs: outputs, random: &random)
        second = Linear(inputs: outputs, outputs: outputs, random: &random)
        self.width = width
        self.order = order
        guard xavier else { return }
        for layer in [first, second] {
            layer.weight.value = random.xavierUniform(layer.weight.shape)
            layer.bias?.value = .zeros([outputs])
        }
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("first", first)
        visitor.child("second", second)
    }

    /// `[n, outputs]`
    func callAsFunction(_ times: [Int]) -> Tensor<E> {
        second(first(sinusoidalEmbedding(times.map(Double.init), dimension: width, order: order)).silu())
    }
}
