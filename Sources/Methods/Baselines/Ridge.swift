import Learning
import NN
import Tensor

/// Ridge regression from the condition's entries and their products up to an order. The ridge, or else the mean, is chosen
/// on the validation tasks; without any, by the error on training tasks that are left out.
///
/// With more features than examples it is solved and kept in its dual form, `ŷ = k(c)·α` with the features' own inner
/// products as the kernel: the same numbers, from matrices of the examples' size.
public final class Ridge: Module {
    /// `[terms, values]`, or the dual's `α [N, values]`.
    let weights: ModuleBuffer<Float>
    /// `[N, C]`, of the dual only.
    let conditions: ModuleBuffer<Float>?
    private let order: Int
    /// The entries of the condition that each feature multiplies, `[]` for the constant; of the primal form only.
    private let terms: [[Int]]

    private static let penalties = [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 10, 100, 1000]

    /// Features of a condition; their number grows with its length to the power of the order.
    static func termCount(_ size: ProblemSize, order: Int) -> Int {
        let c = size.conditions
        return 1 + c + (order > 1 ? c * (c - 1) / 2 : 0)
    }

    /// Rows of the weights: the side of the matrix that is solved for.
    public static func rowCount(_ size: ProblemSize, order: Int) -> Int {
        min(termCount(size, order: order), size.examples)
    }

    private static func isDual(_ size: ProblemSize, order: Int) -> Bool {
        termCount(size, order: order) > size.examples
    }

    static func weightCount(_ size: ProblemSize, order: Int) -> Int {
        rowCount(size, order: order) * size.values + (isDual(size, order: order) ? size.examples * size.conditions : 0)
    }

    /// - Parameter order: 1 for the entries alone, 2 with the products of two.
    init(size: ProblemSize, order: Int) {
        self.order = order
        weights = ModuleBuffer(.pending([Self.rowCount(size, order: order), size.values]))
        let c = size.conditions
        if Self.isDual(size, order: order) {
            conditions = ModuleBuffer(.pending([size.examples, c]))
            terms = []
        } else {
            conditions = nil
            let pairs = (0..<c).flatMap { i in (i + 1..<max(c, i + 1)).map { [i, $0] } }
            terms = [[]] + (0..<c).map { [$0] } + (order > 1 ? pairs : [])
        }
    }

    public func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.buffer("weights", weights)
        if let conditions { visitor.buffer("conditions", conditions) }
    }

    func callAsFunction(_ c: Tensor<Float>) -> Tensor<Float> {
        (conditions.map { kernel(c, $0.value) } ?? features(c)).converted().matmul(weights.value)
    }

    func fit(_ data: TrainingData) throws(LoragenError) {
        let y: Tensor<Double> = try data.vectors.converted()
        let solve = solver(data.conditions, y)
        becomeMean(y)
        guard let skillOfMean = try data.skill(self(data.validation.conditions)) else {
            if let penalty = try leftOutPenalty(data, y) { try solve(penalty) }
            return
        }
        var best = (skill: skillOfMean, weights: weights.value, conditions: conditions?.value)
        for penalty in Self.penalties {
            try solve(penalty)
            if let skill = try data.skill(self(data.validation.conditions)), skill > best.skill {
                best = (skill, weights.value, conditions?.value)
            }
        }
        weights.value = best.weights
        if let kept = best.conditions { conditions?.value = kept }
    }

    /// Solves for the weights with a penalty, in units of the number of examples.
    private func solver(
        _ c: Tensor<Float>, _ y: Tensor<Double>
    ) -> (_ penalty: Double) throws(LoragenError) -> Void {
        let x = conditions == nil ? features(c) : nil
        let gram = x.map { $0.matmul($0, transposeA: true) } ?? kernel(c, c)
        let moment = x.map { $0.matmul(y, transposeA: true) } ?? y
        return { [self] (penalty) throws(LoragenError) in
            let ridged = gram.addingToDiagonal(penalty * Double(c.shape[0]))
            weights.value = try typed { try choleskySolve(ridged, moment).converted() }
            conditions?.value = c
        }
    }

    /// The penalty with the least error on training tasks that are left out; nil where the mean has less.
    private func leftOutPenalty(_ data: TrainingData, _ y: Tensor<Double>) throws(LoragenError) -> Double? {
        let blocks = ExampleBlocks(conditions: data.conditions, tasks: data.tasks)
        if blocks.count < 2 { return nil }
        let system = try KernelSystem(kernel(data.conditions, data.conditions))
        let turned = system.turned(y)
        var (error, best): (Double, Double?) = (blocks.residualsOfMean(y).sumOfSquares, nil)
        for penalty in Self.penalties {
            let lambda = penalty * Double(data.count)
            let alpha = system.coefficients(turned, lambda: lambda)
            let found = try system.residuals(alpha, lambda: lambda, blocks: blocks).sumOfSquares
            if found < error { (error, best) = (found, penalty) }
        }
        return best
    }

    /// Whatever is asked for. In the dual form, of conditions that are zero: their kernel is 1.
    private func becomeMean(_ y: Tensor<Double>) {
        let mean: Tensor<Double> = y.mean(axes: [0], keepDims: true)
        let rows = weights.value.shape[0]
        let share = Tensor<Double>(
            (0..<rows).map { conditions != nil ? 1 / Double(rows) : $0 == 0 ? 1 : 0 }, shape: [rows, 1])
        weights.value = (share * mean).converted()
        if let conditions { conditions.value = .zeros(conditions.value.shape) }
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

    /// The inner products of the features, `[n, m]`: `1 + s` with `s = ⟨c, c'⟩`, and for pairs
    /// `Σ_{i<j} c_i c_j c'_i c'_j = (s² − Σ c_i² c'_i²) / 2` more.
    private func kernel(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Tensor<Double> {
        let (a, b): (Tensor<Double>, Tensor<Double>) = (a.converted(), b.converted())
        let dot = a.matmul(b, transposeB: true)
        if order == 1 { return dot + 1 }
        return dot + 1 + (dot.square() - a.square().matmul(b.square(), transposeB: true)) * 0.5
    }
}

extension Tensor<Double> {
    /// A square matrix with a number added to each element of its diagonal.
    func addingToDiagonal(_ value: Double) -> Tensor<Double> {
        var result = values
        for i in 0..<shape[0] { result[i * shape[1] + i] += value }
        return Tensor(result, shape: shape)
    }
}
