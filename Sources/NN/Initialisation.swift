import Tensor

extension Random {
    /// Uniform in ±1/sqrt(fanIn): PyTorch's default for the weights and biases of linear and convolution layers.
    mutating func fanInUniform<E: Element>(_ shape: [Int], fanIn: Int) -> Tensor<E> {
        let bound = 1 / Double(max(1, fanIn)).squareRoot()
        return uniform(shape, low: -bound, high: bound)
    }

    /// Uniform in ±sqrt(6 / (fanIn + fanOut)) (Glorot & Bengio 2010), for a weight [fanOut, fanIn].
    public mutating func xavierUniform<E: Element>(_ shape: [Int]) -> Tensor<E> {
        precondition(shape.count == 2, "xavierUniform of \(shape)")
        let bound = (6 / Double(shape[0] + shape[1])).squareRoot()
        return uniform(shape, low: -bound, high: bound)
    }
}
