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
    public private(set) var shift: Tensor<Float>
    /// `[groups, D]`, positive.
    public private(set) var scale: Tensor<Float>

    /// Numbers that it holds.
    public var count: Int { shift.count + scale.count }

    public init(kind: Kind, shift: Tensor<Float>, scale: Tensor<Float>) {
        self.kind = kind
        self.shift = shift
        self.scale = scale
    }

    /// Measures the statistics of training vectors, block by block, so that the vectors need not be in memory.
    ///
    /// - Parameters:
    ///   - rows: training vectors, `[N, D]`.
    ///   - groups: for `perTask`, each row's task in `0 ..< groupCount`; ignored by the other kinds.
    ///   - tensors: the ranges of the vector that belong to one tensor, and whether it is a `lora_A`.
    init(
        kind: Kind, rows: some VectorRows, groups: [Int32], groupCount: Int,
        tensors: [(range: Range<Int>, isA: Bool)]
    ) throws(LoragenError) {
        let d = rows.width
        let count = kind == .perTask ? groupCount : 1
        let shift = Tensor<Float>.zeros([count, d])
        let scale = Tensor<Float>.full([count, d], kind == .constant ? 0.005 : 1)
        self.init(kind: kind, shift: shift, scale: scale)
        switch kind {
        case .constant:
            for (range, isA) in tensors where isA { self.scale.fill(range, 5) }
        case .perElement, .perTask:
            let sizes = Moments.sizes(rows, kind == .perTask ? groups : nil, count)
            for block in rows.blocks {
                let moments = try Moments(rows, block, kind == .perTask ? groups : nil, sizes)
                for g in 0..<count {
                    self.shift.put(moments.means(g), at: g * d + block.lowerBound)
                    // The unbiased deviation.
                    let freedom = max(1, sizes[g] - 1)
                    let deviations = zip(moments.means(g), moments.squares(g)).map { mean, square in
                        Self.divisor((square / freedom).squareRoot(), mean: mean)
                    }
                    self.scale.put(deviations, at: g * d + block.lowerBound)
                }
            }
        case .perTensor, .global:
            let freedom = Double(max(1, rows.count - 1))
            var ranges = (kind == .global ? [0..<d] : tensors.map(\.range))[...]
            var (total, means) = (0.0, 0.0)
            let sizes = Moments.sizes(rows, nil, 1)
            for block in rows.blocks {
                let moments = try Moments(rows, block, nil, sizes)
                self.shift.put(moments.means(0), at: block.lowerBound)
                for ((j, square), mean) in zip(zip(block, moments.squares(0)), moments.means(0)) {
                    (total, means) = (total + square, means + mean * mean)
                    guard let range = ranges.first, j == range.upperBound - 1 else { continue }
                    let n = Double(max(1, range.count))
                    let deviation = (total / (freedom * n)).squareRoot()
                    self.scale.fill(range, Float(Self.divisor(deviation, mean: (means / n).squareRoot())))
                    (ranges, total, means) = (ranges.dropFirst(), 0, 0)
                }
            }
        case .insideTensor:
            for range in tensors.map(\.range) where !range.isEmpty {
                let (mean, deviation) = try Self.inside(rows, range)
                self.shift.fill(range, Float(mean))
                // Rounding of the mean is no deviation.
                self.scale.fill(range, deviation <= 1e-7 * abs(mean) ? 0 : Float(deviation))
            }
        }
    }

    /// A deviation that can be divided by, in any unit: what hardly moves beside its mean moves by rounding, and what is
    /// always zero stays zero.
    private static func divisor(_ deviation: Double, mean: Double) -> Double {
        max(deviation, 1e-6 * abs(mean), Double(Float.leastNormalMagnitude))
    }

    /// The mean over rows of their columns' mean, and of their unbiased deviation.
    private static func inside(
        _ rows: some VectorRows, _ columns: Range<Int>
    ) throws(LoragenError) -> (mean: Double, deviation: Double) {
        var (means, deviations) = (0.0, 0.0)
        for i in 0..<rows.count {
            let (mean, square) = try rows.tensor([i], columns).withUnsafeBufferPointer { x in
                let mean = x.reduce(0) { $0 + Double($1) } / Double(x.count)
                return (mean, x.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) })
            }
            means += mean / Double(rows.count)
            deviations += (square / Double(max(1, columns.count - 1))).squareRoot() / Double(rows.count)
        }
        return (means, deviations)
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

    /// `callAsFunction` in place, for some columns of one row.
    func apply(to x: UnsafeMutablePointer<Float>, _ columns: Range<Int>, group: Int32) {
        let start = (kind == .perTask ? Int(group) * shift.shape[1] : 0) + columns.lowerBound
        shift.withUnsafeBufferPointer { shift in
            scale.withUnsafeBufferPointer { scale in
                for i in 0..<columns.count {
                    let (moved, deviation) = (x[i] - shift[start + i], scale[start + i])
                    x[i] = kind != .insideTensor ? moved / deviation : moved * (deviation > 0 ? 1 / deviation : 0)
                }
            }
        }
    }

    /// `inverse` for some columns of one row, `[columns]`.
    func inverse(_ x: Tensor<Float>, _ columns: Range<Int>, group: Int32) -> Tensor<Float> {
        let start = (kind == .perTask ? Int(group) * shift.shape[1] : 0) + columns.lowerBound
        return Tensor.make([columns.count]) { target in
            x.withUnsafeBufferPointer { x in
                shift.withUnsafeBufferPointer { shift in
                    scale.withUnsafeBufferPointer { scale in
                        for i in 0..<columns.count {
                            // A product and a sum, each rounded, as the tensors' operations are.
                            let scaled = x[i] * scale[start + i]
                            target[i] = scaled + shift[start + i]
                        }
                    }
                }
            }
        }
    }
}

/// Sums over rows of some columns, in double, for each group of rows.
private struct Moments {
    private let width: Int
    private var mean: [Double]
    private var square: [Double]

    /// Rows in each group.
    static func sizes(_ rows: some VectorRows, _ groups: [Int32]?, _ count: Int) -> [Double] {
        var sizes = [Double](repeating: 0, count: count)
        for i in 0..<rows.count { sizes[Int(groups?[i] ?? 0)] += 1 }
        return sizes
    }

    init(
        _ rows: some VectorRows, _ columns: Range<Int>, _ groups: [Int32]?, _ sizes: [Double]
    ) throws(LoragenError) {
        width = columns.count
        mean = [Double](repeating: 0, count: sizes.count * width)
        square = mean
        // Rows that are few enough are read once; otherwise a second time for the deviations.
        var buffer = [Float](repeating: 0, count: width * (rows.count * width <= 1 << 24 ? max(1, rows.count) : 1))
        let holdsAll = buffer.count == rows.count * width
        func visit(_ isFirst: Bool, _ body: (Int, UnsafePointer<Float>) -> Void) throws(LoragenError) {
            for i in 0..<rows.count {
                let at = holdsAll ? i * width : 0
                try buffer.withUnsafeMutableBufferPointer { buffer in
                    Result { () throws(LoragenError) in
                        guard let base = buffer.baseAddress else { return }
                        if isFirst || !holdsAll { try rows.read(i, columns, into: base + at) }
                        body(Int(groups?[i] ?? 0) * width, UnsafePointer(base + at))
                    }
                }.get()
            }
        }
        try visit(true) { base, x in for j in 0..<width { mean[base + j] += Double(x[j]) } }
        for g in sizes.indices where sizes[g] > 0 {
            for j in 0..<width { mean[g * width + j] /= sizes[g] }
        }
        try visit(false) { base, x in
            for j in 0..<width {
                let delta = Double(x[j]) - mean[base + j]
                square[base + j] += delta * delta
            }
        }
    }

    func means(_ group: Int) -> ArraySlice<Double> { mean[group * width..<(group + 1) * width] }
    func squares(_ group: Int) -> ArraySlice<Double> { square[group * width..<(group + 1) * width] }
}

extension Tensor<Float> {
    fileprivate mutating func put(_ values: some Sequence<Double>, at start: Int) {
        withUnsafeMutableBufferPointer { target in
            for (i, value) in values.enumerated() { target[start + i] = Float(value) }
        }
    }

    fileprivate mutating func fill(_ range: Range<Int>, _ value: Float) {
        withUnsafeMutableBufferPointer { target in for j in range { target[j] = value } }
    }
}

extension Normaliser.Kind {
    /// Of a method's settings.
    public init(_ settings: Settings) throws(LoragenError) {
        self = Self(rawValue: try settings.choice("normaliser", Self.allCases.map(\.rawValue))) ?? .global
    }
}
