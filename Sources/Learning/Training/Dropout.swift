import Tensor

extension Random {
    /// A mask of dropout: zeros with probability `rate`, else `1 / (1 - rate)`.
    public mutating func dropout<E: Element>(_ shape: [Int], rate: Double) -> Tensor<E> {
        let draws: Tensor<E> = uniform(shape)
        let kept = E(1 / (1 - rate))
        return Tensor.make(shape) { to in
            draws.withUnsafeBufferPointer { from in
                for i in from.indices { to[i] = Double(from[i]) < rate ? 0 : kept }
            }
        }
    }
}
