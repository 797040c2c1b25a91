import Tensor

/// Shifts and scales conditions to mean 0 and deviation 1 over the training tasks.
public struct ConditionScale: Sendable {
    public let shift: [Float]
    public let scale: [Float]

    /// Both of the condition's length. Throws `.mismatch` when they are not, `.nonFinite` for what no condition gives.
    public init(shift: [Float], scale: [Float]) throws(LoragenError) {
        guard shift.count == scale.count else {
            throw LoragenError(.mismatch, "\(shift.count) shifts and \(scale.count) scales of conditions")
        }
        guard shift.allSatisfy(\.isFinite), scale.allSatisfy(\.isFinite) else {
            throw LoragenError(.nonFinite, "a shift or scale of conditions is not finite")
        }
        self.shift = shift
        self.scale = scale
    }

    /// Measures the conditions of a training split, `[n][C]`.
    public init(fitting conditions: [[Float]]) {
        let n = Double(max(1, conditions.count))
        let width = conditions.first?.count ?? 0
        var mean = [Double](repeating: 0, count: width)
        var square = mean
        for c in conditions {
            for i in 0..<width { mean[i] += Double(c[i]) / n }
        }
        for c in conditions {
            for i in 0..<width { square[i] += (Double(c[i]) - mean[i]) * (Double(c[i]) - mean[i]) / n }
        }
        shift = mean.map { Float($0) }
        // An entry that never changes carries nothing; it stays zero. Its computed variance is rounding error of doubles,
        // which no change of a float is as small as.
        scale = zip(square, mean).map { square, mean in
            let inverse = Float(1 / square.squareRoot())
            return square > 1e-24 * mean * mean && inverse.isFinite ? inverse : 0
        }
    }

    /// The same, with some numbers left as they are.
    func leaving(_ range: Range<Int>) throws(LoragenError) -> ConditionScale {
        var (shift, scale) = (shift, scale)
        for i in range.clamped(to: shift.indices) { (shift[i], scale[i]) = (0, 1) }
        return try ConditionScale(shift: shift, scale: scale)
    }

    /// Standardised conditions, `[n, C]`, of the length that was measured.
    public func callAsFunction(_ conditions: [[Float]]) -> Tensor<Float> {
        let values = conditions.flatMap { c in c.indices.map { (c[$0] - shift[$0]) * scale[$0] } }
        return Tensor(values, shape: [conditions.count, shift.count])
    }
}
