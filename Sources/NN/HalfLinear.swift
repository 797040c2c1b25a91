import Tensor

/// y = x weightᵀ + bias with a bf16 weight [outputs, inputs] and sums in f32: a linear layer for sampling. A copy; it does
/// not follow the layer that it was made from.
public final class HalfLinear: Sendable {
    public let weight: HalfMatrix
    public let bias: Tensor<Float>?

    public init(_ layer: Linear<Float>) {
        weight = HalfMatrix(layer.weight.value)
        bias = layer.bias?.value
    }

    /// [..., inputs] to [..., outputs]; a constant.
    public func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { weight(x, bias: bias) }
}

/// How a network applies one of its linear layers: as it is, or through a copy in bf16.
public typealias Projection<E: Element> = (_ layer: Linear<E>, _ x: Tensor<E>) -> Tensor<E>

/// Copies of `layers` in bf16; other layers are applied as they are.
public func halfProjection(_ layers: [Linear<Float>]) -> Projection<Float> {
    let copies = Dictionary(
        layers.map { (ObjectIdentifier($0), HalfLinear($0)) }, uniquingKeysWith: { first, _ in first })
    return { layer, x in copies[ObjectIdentifier(layer)]?(x) ?? layer(x) }
}

extension Module where Scalar == Float {
    /// Rounds the weights of linear layers to bf16 and gives their memory back: for sampling, not for training.
    public func halve() {
        for (_, parameter) in namedFactors {
            parameter.half = HalfFactor(HalfMatrix(parameter.value))
            parameter.value = .pending(parameter.shape)
        }
    }
}
