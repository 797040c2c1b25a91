import Tensor

/// A function of one number.
public enum Activation: Sendable, Equatable {
    case identity, relu, silu, gelu, geluTanh, tanh, sigmoid
    case leakyReLU(slope: Double = 0.01)
    case elu(alpha: Double = 1)

    public func callAsFunction<E: Element>(_ x: Tensor<E>) -> Tensor<E> {
        switch self {
        case .identity: x
        case .relu: x.relu()
        case .silu: x.silu()
        case .gelu: x.gelu()
        case .geluTanh: x.geluTanh()
        case .tanh: x.tanh()
        case .sigmoid: x.sigmoid()
        case .leakyReLU(let slope): x.leakyReLU(slope: slope)
        case .elu(let alpha): x.elu(alpha: alpha)
        }
    }
}
