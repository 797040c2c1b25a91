import Tensor

/// Products of a condition's entries up to an order of 2: with label bits, whether two of them agree.
public struct Interactions: Sendable {
    /// The entries that each feature multiplies.
    public let terms: [[Int]]

    /// Features of `length` numbers: the numbers themselves and, for order 2, the products of two.
    public static func count(length: Int, order: Int) -> Int {
        length + (order > 1 ? length * (length - 1) / 2 : 0)
    }

    public init(length: Int, order: Int) {
        let pairs = (0..<length).flatMap { i in (i + 1..<max(length, i + 1)).map { [i, $0] } }
        terms = (0..<length).map { [$0] } + (order > 1 ? pairs : [])
    }

    /// `[n, length]` to `[n, terms.count]`; a constant.
    public func callAsFunction<E: Element>(_ c: Tensor<E>) -> Tensor<E> {
        let (n, width) = (c.shape[0], c.shape[1])
        if terms.count == width { return c.detached() }
        let values = c.values
        var result: [E] = []
        result.reserveCapacity(n * terms.count)
        for i in 0..<n {
            for term in terms { result.append(term.reduce(1) { $0 * values[i * width + $1] }) }
        }
        return Tensor(result, shape: [n, terms.count])
    }
}
