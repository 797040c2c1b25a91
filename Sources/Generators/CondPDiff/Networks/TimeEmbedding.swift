import Glibc
import NN
import Tensor

/// A timestep as a vector: a sinusoid, `Linear`, SiLU, `Linear`.
final class TimeEmbedding<E: Element>: Module {
    /// How sines and cosines of the same angles stand in the sinusoid.
    enum Order {
        /// sin, cos, sin, cos, …
        case interleaved
        /// All cosines, then all sines.
        case cosinesFirst
    }

    let first: Linear<E>
    let second: Linear<E>
    private let width: Int
    private let order: Order

    /// - Parameter width: of the sinusoid, even.
    init(width: Int, outputs: Int, order: Order, random: inout Random) {
        first = Linear(width, outputs, random: &random)
        second = Linear(outputs, outputs, random: &random)
        self.width = width
        self.order = order
    }

    /// `[n, outputs]`
    func callAsFunction(_ times: [Int]) -> Tensor<E> {
        second(first(TimeEmbedding.sinusoid(times, width: width, order: order)).silu())
    }

    /// `[n, width]` of the angles `t · 10000^(-2i / width)`.
    static func sinusoid(_ times: [Int], width: Int, order: Order) -> Tensor<E> {
        let half = width / 2
        let rates = (0..<half).map { exp(-log(10000) * Double(2 * $0) / Double(width)) }
        var values: [E] = []
        values.reserveCapacity(times.count * width)
        for time in times {
            let angles = rates.map { Double(time) * $0 }
            switch order {
            case .interleaved: for angle in angles { values += [E(sin(angle)), E(cos(angle))] }
            case .cosinesFirst: values += angles.map { E(cos($0)) } + angles.map { E(sin($0)) }
            }
        }
        return Tensor(values, shape: [times.count, width])
    }
}
