import Tensor

/// A table [entries, features], normal with deviation 1 (or `deviation`).
public final class Embedding<E: Element>: Module, Sendable {
    public let weight: Parameter<E>

    public init(entries: Int, features: Int, deviation: Double = 1, random: inout Random) {
        weight = Parameter(random.normal([entries, features], deviation: deviation))
    }

    public func visit(_ visitor: ModuleVisitor<E>) { visitor.parameter("weight", weight) }

    /// [index.count, features]; every index must lie in 0 ..< entries.
    public func callAsFunction(_ index: [Int32]) -> Tensor<E> { weight.tensor.gather(index) }
    public func callAsFunction(_ index: [Int]) -> Tensor<E> { weight.tensor.gather(index.map { Int32($0) }) }
}
