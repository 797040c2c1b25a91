import Tensor

/// Ridge regressions on one kernel matrix `K [n, n]`, through its eigenvectors: `α = (K + λ)⁻¹ y` for many λ, and what each
/// gets wrong on examples that are left out.
struct KernelSystem {
    /// `[n]`, ascending, none below zero.
    private let values: Tensor<Double>
    /// Row i belongs to value i.
    private let vectors: Tensor<Double>
    private let squares: Tensor<Double>
    let meanEigenvalue: Double
    private var count: Int { vectors.shape[0] }

    init(_ kernel: Tensor<Double>) throws(LoragenError) {
        let (values, vectors) = try typed { try symmetricEigen(kernel) }
        meanEigenvalue = values.values.reduce(0, +) / Double(vectors.shape[0])
        self.values = values.clamp(0, .infinity)
        self.vectors = vectors
        squares = vectors.square()
    }

    private func inverse(_ lambda: Double) -> Tensor<Double> { (values + lambda).reciprocal().reshaped([count, 1]) }

    /// `[n, values]` in the eigenvectors' coordinates.
    func turned(_ target: Tensor<Double>) -> Tensor<Double> { vectors.matmul(target) }

    /// `α [n, values]` for a turned target.
    func coefficients(_ turned: Tensor<Double>, lambda: Double) -> Tensor<Double> {
        vectors.matmul(turned * inverse(lambda), transposeA: true)
    }

    /// `y − ŷ` of each block when it is left out, `[n, values]`: `[(K + λ)⁻¹]_bb⁻¹ α_b` (Rasmussen and Williams 2006, section
    /// 5.4.2, for blocks of one).
    func residuals(
        _ coefficients: Tensor<Double>, lambda: Double, blocks: ExampleBlocks
    ) throws(LoragenError) -> Tensor<Double> {
        let inverse = inverse(lambda)
        let diagonal = (squares * inverse).sum(axes: [0]).reshaped([count, 1])
        let alone = coefficients / diagonal
        if blocks.areSingle { return alone }
        let width = coefficients.shape[1]
        var result = alone.values
        let columns = vectors.transposed()
        for block in blocks.members where block.count > 1 {
            let rows = block.map { Int32($0) }
            let own = columns.gather(rows)
            let part = (own * inverse.reshaped([1, count])).matmul(own, transposeB: true)
            let solved = try typed { try choleskySolve(part, coefficients.gather(rows)).values }
            for (k, i) in block.enumerated() {
                for j in 0..<width { result[i * width + j] = solved[k * width + j] }
            }
        }
        return Tensor(result, shape: coefficients.shape)
    }
}

/// Examples that are left out together, because one would give the other away: those of one task, and those that are
/// asked for alike.
struct ExampleBlocks {
    let members: [[Int]]
    var count: Int { members.count }
    var areSingle: Bool { members.allSatisfy { $0.count == 1 } }

    /// - Parameters:
    ///   - conditions: `[n, C]`
    ///   - tasks: each example's; empty if they are not known.
    init(conditions: Tensor<Float>, tasks: [Int32]) {
        let (n, width) = (conditions.shape[0], conditions.shape[1])
        let values = conditions.values
        var parent = Array(0..<n)
        func root(_ i: Int) -> Int {
            var i = i
            while parent[i] != i { i = parent[i] }
            return i
        }
        func join(_ i: Int, _ j: Int) {
            let (a, b) = (root(i), root(j))
            parent[max(a, b)] = min(a, b)
        }
        var byCondition: [ArraySlice<Float>: Int] = [:]
        var byTask: [Int32: Int] = [:]
        for i in 0..<n {
            let key = values[i * width..<(i + 1) * width]
            if let first = byCondition[key] { join(first, i) } else { byCondition[key] = i }
            if !tasks.isEmpty {
                if let first = byTask[tasks[i]] { join(first, i) } else { byTask[tasks[i]] = i }
            }
        }
        var places: [Int: Int] = [:]
        var members: [[Int]] = []
        for i in 0..<n {
            let top = root(i)
            if let place = places[top] {
                members[place].append(i)
            } else {
                places[top] = members.count
                members.append([i])
            }
        }
        self.members = members
    }

    /// `y` minus the mean of the other blocks, `[n, values]`; of a single block there are no others, and it is `y`.
    func residualsOfMean(_ y: Tensor<Double>) -> Tensor<Double> {
        let (n, width) = (y.shape[0], y.shape[1])
        var result = y.values
        let sums = y.sum(axes: [0]).values
        if count < 2 { return y }
        for block in members {
            for j in 0..<width {
                let own = block.reduce(0) { $0 + result[$1 * width + j] }
                let mean = (sums[j] - own) / Double(n - block.count)
                for i in block { result[i * width + j] -= mean }
            }
        }
        return Tensor(result, shape: y.shape)
    }
}
