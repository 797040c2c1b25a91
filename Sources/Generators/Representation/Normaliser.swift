import Tensor

/// Shifts and scales adapter vectors to numbers that a network can learn, and back.
public struct Normaliser: Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// Mean and deviation of each element over all training adapters of all tasks.
        case perElement = "per-element"
        /// Mean of each element; one deviation for each tensor, so that its elements keep their proportions.
        case perTensor = "per-tensor"
        /// Mean and deviation over the elements of each tensor, averaged over the adapters (RPG). A tensor whose elements
        /// are all equal becomes zeros, and comes back as that constant.
        case insideTensor = "inside-tensor"
        /// Mean of each element; one deviation for the whole vector.
        case global
        /// Mean and deviation of each element over the adapters of its own task (COND P-DIFF, language). The inverse
        /// needs the requested task's statistics, so it knows the answer beforehand: only tasks of the training split
        /// can be generated, and an output of zero is that task's mean adapter.
        case perTask = "per-task"
        /// `lora_A · 0.2`, `lora_B · 200` (COND P-DIFF, vision).
        case constant
    }

    public let kind: Kind
    /// `[groups, D]`; one group, or one a task for `perTask`.
    let shift: Tensor<Float>
    /// `[groups, D]`, positive.
    let scale: Tensor<Float>

    init(kind: Kind, shift: Tensor<Float>, scale: Tensor<Float>) {
        self.kind = kind
        self.shift = shift
        self.scale = scale
    }

    /// Measures the statistics of training vectors.
    ///
    /// - Parameters:
    ///   - rows: training vectors, `[N, D]`.
    ///   - groups: for `perTask`, each row's task in `0 ..< groupCount`; ignored by the other kinds.
    ///   - tensors: the ranges of the vector that belong to one tensor, and whether it is a `lora_A`.
    init(kind: Kind, rows: Tensor<Float>, groups: [Int32], groupCount: Int, tensors: [(range: Range<Int>, isA: Bool)]) {
        let (n, d) = (rows.shape[0], rows.shape[1])
        let ids = kind == .perTask ? groups.map(Int.init) : [Int](repeating: 0, count: n)
        let count = kind == .perTask ? groupCount : 1
        if kind == .insideTensor {
            self = Self.insideTensors(rows, tensors.map(\.range))
            return
        }
        var sums = [Double](repeating: 0, count: count * d)
        var squares = sums
        var sizes = [Double](repeating: 0, count: count)
        rows.withUnsafeBufferPointer { x in
            for i in 0..<n {
                sizes[ids[i]] += 1
                let base = ids[i] * d
                for j in 0..<d { sums[base + j] += Double(x[i * d + j]) }
            }
            for g in 0..<count where sizes[g] > 0 {
                for j in 0..<d { sums[g * d + j] /= sizes[g] }
            }
            for i in 0..<n {
                let base = ids[i] * d
                for j in 0..<d {
                    let delta = Double(x[i * d + j]) - sums[base + j]
                    squares[base + j] += delta * delta
                }
            }
        }
        var shift = sums.map { Float($0) }
        var scale = [Float](repeating: 1, count: count * d)
        switch kind {
        case .perElement, .perTask:
            for g in 0..<count {
                // The unbiased deviation; an element that never moves keeps a scale that cannot divide by zero.
                let freedom = max(1, sizes[g] - 1)
                for j in 0..<d {
                    let floor = 1e-8 + 1e-6 * abs(sums[g * d + j])
                    scale[g * d + j] = Float(max((squares[g * d + j] / freedom).squareRoot(), floor))
                }
            }
        case .perTensor, .global:
            let ranges = kind == .global ? [0..<d] : tensors.map(\.range)
            for range in ranges {
                let total = range.reduce(0) { $0 + squares[$1] }
                let deviation = (total / (max(1, sizes[0] - 1) * Double(max(1, range.count)))).squareRoot()
                for j in range { scale[j] = Float(max(deviation, 1e-8)) }
            }
        case .insideTensor: break
        case .constant:
            shift = [Float](repeating: 0, count: d)
            for (range, isA) in tensors {
                for j in range { scale[j] = isA ? 5 : 0.005 }
            }
        }
        self.init(
            kind: kind, shift: Tensor(shift, shape: [count, d]), scale: Tensor(scale, shape: [count, d]))
    }

    /// The mean over adapters of each tensor's mean, and of its unbiased deviation.
    private static func insideTensors(_ rows: Tensor<Float>, _ ranges: [Range<Int>]) -> Normaliser {
        let (n, d) = (rows.shape[0], rows.shape[1])
        var shift = [Float](repeating: 0, count: d)
        var scale = [Float](repeating: 1, count: d)
        rows.withUnsafeBufferPointer { x in
            for range in ranges where !range.isEmpty {
                var (means, deviations) = (0.0, 0.0)
                for i in 0..<n {
                    let values = range.lazy.map { Double(x[i * d + $0]) }
                    let mean = values.reduce(0, +) / Double(range.count)
                    let square = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
                    means += mean / Double(n)
                    deviations += (square / Double(max(1, range.count - 1))).squareRoot() / Double(n)
                }
                // Rounding of the mean is no deviation.
                let isConstant = deviations <= 1e-7 * abs(means)
                for j in range { (shift[j], scale[j]) = (Float(means), isConstant ? 0 : Float(deviations)) }
            }
        }
        return Normaliser(
            kind: .insideTensor, shift: Tensor(shift, shape: [1, d]), scale: Tensor(scale, shape: [1, d]))
    }

    /// `(x − shift) / scale`; `[n, D]`, with each row's group for `perTask`.
    func callAsFunction(_ x: Tensor<Float>, groups: [Int32]) -> Tensor<Float> {
        if kind == .insideTensor {
            let inverse = Tensor(scale.values.map { $0 > 0 ? 1 / $0 : 0 }, shape: scale.shape)
            return (x - shift) * inverse
        }
        if kind == .perTask { return (x - shift.gather(groups)) / scale.gather(groups) }
        return (x - shift) / scale
    }

    /// `x · scale + shift`.
    func inverse(_ x: Tensor<Float>, groups: [Int32]) -> Tensor<Float> {
        if kind == .perTask { return x * scale.gather(groups) + shift.gather(groups) }
        return x * scale + shift
    }
}
