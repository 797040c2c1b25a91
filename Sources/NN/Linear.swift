import Tensor

/// y = x weightᵀ + bias. Weight [outputs, inputs]; both start uniform in ±1/sqrt(inputs).
public final class Linear<E: Element>: Module, Sendable {
    public let weight: Parameter<E>
    public let bias: Parameter<E>?

    public init(inputs: Int, outputs: Int, bias: Bool = true, random: inout Random) {
        weight = Parameter(random.fanInUniform([outputs, inputs], fanIn: inputs))
        self.bias = bias ? Parameter(random.fanInUniform([outputs], fanIn: inputs)) : nil
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.factor("weight", weight)
        visitor.parameter("bias", bias)
    }

    /// [..., inputs] to [..., outputs]
    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        if let half = weight.half { return half(x, bias: bias?.tensor) }
        return linear(x, weight: weight.tensor, bias: bias?.tensor)
    }
}
