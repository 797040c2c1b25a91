import NN
import Tensor

/// Ridge regression from the condition's entries and their products up to an order. The ridge is chosen on the validation
/// tasks.
final class Ridge: Module {
    /// `[terms, values]`.
    let weights: ModuleBuffer<Float>
    /// The entries of the condition that each feature multiplies, `[]` for the constant.
    private let terms: [[Int]]

    /// Features of a condition; their number grows with its length to the power of the order.
    static func termCount(_ size: ProblemSize, order: Int) throws(LoragenError) -> Int {
        guard size.conditions <= 128 else {
            throw LoragenError(
                .unsupported,
                "ridge regression from \(size.conditions) numbers and their pairs is too large; use \"kernel-ridge\"")
        }
        return 1 + size.conditions + (order > 1 ? size.conditions * (size.conditions - 1) / 2 : 0)
    }

    /// - Parameter order: 1 for the entries alone, 2 with the products of two.
    init(size: ProblemSize, order: Int) {
        let c = size.conditions
        let pairs = (0..<c).flatMap { i in (i + 1..<max(c, i + 1)).map { [i, $0] } }
        let all = [[]] + (0..<c).map { [$0] } + (order > 1 ? pairs : [])
        terms = all
        weights = ModuleBuffer(.pending([all.count, size.values]))
    }

    func visit(_ visitor: ModuleVisitor<Float>) { visitor.buffer("weights", weights) }

    func callAsFunction(_ c: Tensor<Float>) -> Tensor<Float> { features(c).converted().matmul(weights.value) }

    func fit(_ data: TrainingData) throws(LoragenError) {
        let x = features(data.conditions)
        let y: Tensor<Double> = try data.vectors.converted()
        let (gram, moment) = (x.matmul(x, transposeA: true), x.matmul(y, transposeA: true))
        let scale = Double(data.count)
        var best: (skill: Double, weights: Tensor<Float>)?
        for lambda in [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1] {
            let ridge = (0..<terms.count * terms.count).map { $0 % (terms.count + 1) == 0 ? lambda * scale : 0 }
            let identity = Tensor<Double>(ridge, shape: gram.shape)
            weights.value = try typed { try choleskySolve(gram + identity, moment).converted() }
            let skill = try data.skill(self(data.validationConditions)) ?? -lambda
            if best.map({ skill > $0.skill }) ?? true { best = (skill, weights.value) }
        }
        if let best { weights.value = best.weights }
    }

    /// `[n, terms]`, in double.
    private func features(_ c: Tensor<Float>) -> Tensor<Double> {
        let (n, width) = (c.shape[0], c.shape[1])
        let values = c.values
        var result: [Double] = []
        result.reserveCapacity(n * terms.count)
        for i in 0..<n {
            for term in terms { result.append(term.reduce(1) { $0 * Double(values[i * width + $1]) }) }
        }
        return Tensor(result, shape: [n, terms.count])
    }
}
