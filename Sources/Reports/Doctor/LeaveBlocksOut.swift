import Adapters
import Formats
import Tensor

/// Predicts each adapter from those of other blocks, by several rules; every prediction is a weighted sum of adapters, so
/// that its squared error follows from the Gram matrix.
struct LeaveBlocksOut {
    let gram: Gram
    let blocks: [Int]
    /// The adapters of each block.
    let members: [[Int]]

    init(_ gram: Gram, blocks: [Int]) {
        self.gram = gram
        self.blocks = blocks
        members = Dictionary(grouping: 0..<gram.count, by: { blocks[$0] }).sorted { $0.key < $1.key }.map(\.value)
    }

    /// `1 − Σ errors / Σ errors of the mean of the other blocks`; `nil` when all adapters are the same.
    func skill(_ errors: [Double]) -> Double? {
        let total = mean().reduce(0, +)
        return total > Self.rounding(gram) ? 1 - errors.reduce(0, +) / total : nil
    }

    /// The least sum of squared distances that is not the factors' own rounding.
    static func rounding(_ gram: Gram) -> Double {
        Clusters.same * Clusters.same * (0..<gram.count).reduce(0) { $0 + gram[$1, $1] }
    }

    /// Squared distances to the mean of the adapters of other blocks.
    func mean() -> [Double] {
        let n = gram.count
        let rows = (0..<n).map { i in (0..<n).reduce(0) { $0 + gram[i, $1] } }
        let all = rows.reduce(0, +)
        var errors = [Double](repeating: 0, count: n)
        for block in members {
            let count = Double(n - block.count)
            var (own, inner) = (0.0, 0.0)
            for i in block {
                own += rows[i]
                for j in block { inner += gram[i, j] }
            }
            let square = (all - 2 * own + inner) / count / count
            for i in block {
                let cross = (rows[i] - block.reduce(0) { $0 + gram[i, $1] }) / count
                errors[i] = max(0, gram[i, i] - 2 * cross + square)
            }
        }
        return errors
    }

    /// Squared distances to the affine span of the adapters of other blocks.
    ///
    /// With P the inverse of the Gram matrix bordered by ones, which makes weights sum to 1, the residuals of a block have
    /// the Gram matrix `(P_bb)⁻¹`.
    func span() throws(LoragenError) -> [Double] {
        let n = gram.count
        let system = try Eigensystem(gram.values, n)
        // The factors are float32. A ridge at their rounding keeps adapters that span a few dimensions, or are equal, from
        // making the matrix singular; how far its eigenvalues fall below zero says how much rounding there is.
        let mean = (0..<n).reduce(0) { $0 + gram[$1, $1] } / Double(n)
        let ridge = max(1e-6 * mean, -2 * system.least)
        let inverse = system.inverse(ridge: ridge)
        let sums = (0..<n).map { i in (0..<n).reduce(0) { $0 + inverse[i * n + $1] } }
        let total = sums.reduce(0, +)
        var errors = [Double](repeating: 0, count: n)
        for block in members {
            let size = block.count
            var part = [Double](repeating: 0, count: size * size)
            for (k, i) in block.enumerated() {
                for (l, j) in block.enumerated() { part[k * size + l] = inverse[i * n + j] - sums[i] * sums[j] / total }
            }
            let residuals = try Self.inverse(part, size)
            for (k, i) in block.enumerated() { errors[i] = max(0, residuals[k * size + k] - ridge) }
        }
        return errors
    }

    /// Squared distances to the mean of the adapters of other blocks whose conditions are nearest.
    func nearest(_ conditions: [[Float]]) -> [Double] {
        (0..<gram.count).map { i in
            var best = Double.infinity
            var found: [Int] = []
            for j in 0..<gram.count where blocks[j] != blocks[i] {
                let distance = zip(conditions[i], conditions[j]).reduce(0.0) {
                    $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1))
                }
                if distance < best { (best, found) = (distance, []) }
                if distance == best { found.append(j) }
            }
            let count = Double(found.count)
            let cross = found.reduce(0) { $0 + gram[i, $1] } / count
            let square = found.reduce(0) { sum, j in sum + found.reduce(0) { $0 + gram[j, $1] } } / count / count
            return max(0, gram[i, i] - 2 * cross + square)
        }
    }

    /// Squared errors of ridge regression on the conditions, standardised, with a constant: of the hat matrix H over all
    /// adapters, a block's residuals without itself are `(I − H_bb)⁻¹` of those with itself.
    func ridge(_ conditions: [[Float]], penalty: Double) throws(LoragenError) -> [Double] {
        let n = gram.count
        guard let width = conditions.first?.count, width > 0 else { return mean() }
        var features = [Double](repeating: 1, count: n * (width + 1))
        for k in 0..<width {
            let column = conditions.map { Double($0[k]) }
            let mean = column.reduce(0, +) / Double(n)
            let deviation = (column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)).squareRoot()
            // An entry that never changes deviates by the rounding of its mean.
            let moves = deviation > 1e-12 * abs(mean)
            for i in 0..<n { features[i * (width + 1) + k] = moves ? (column[i] - mean) / deviation : 0 }
        }
        let z = Tensor<Double>(features, shape: [n, width + 1])
        var normal = z.matmul(z, transposeA: true).values
        // The constant is hardly shrunk.
        for k in 0...width { normal[k * (width + 2)] += Double(n) * (k < width ? penalty : 1e-9) }
        let solved = try typed {
            try choleskySolve(Tensor<Double>(normal, shape: [width + 1, width + 1]), z.transposed())
        }
        let hat = z.matmul(solved).values
        var rest = hat.map { -$0 }
        for i in 0..<n { rest[i * n + i] += 1 }
        var weights = rest
        for block in members {
            let size = block.count
            var part = [Double](repeating: 0, count: size * size)
            for (k, i) in block.enumerated() {
                for (l, j) in block.enumerated() { part[k * size + l] = rest[i * n + j] }
            }
            let inverse = try Self.inverse(part, size)
            for (k, i) in block.enumerated() {
                for column in 0..<n {
                    weights[i * n + column] = block.enumerated().reduce(0) { sum, item in
                        sum + inverse[k * size + item.offset] * rest[item.element * n + column]
                    }
                }
            }
        }
        let w = Tensor<Double>(weights, shape: [n, n])
        let products = w.matmul(Tensor<Double>(gram.values, shape: [n, n])).values
        return (0..<n).map { i in max(0, (0..<n).reduce(0) { $0 + products[i * n + $1] * weights[i * n + $1] }) }
    }

    /// Of a symmetric positive definite matrix; where rounding has left it singular, of its nearest that is not.
    private static func inverse(_ values: [Double], _ n: Int) throws(LoragenError) -> [Double] {
        if n == 1, values[0] > 0 { return [1 / values[0]] }
        let system = try Eigensystem(values, n)
        return system.inverse(least: Double(n) * Double.ulpOfOne * system.largest)
    }
}

/// The eigenvectors of a symmetric matrix that should have no eigenvalue below zero, but for rounding.
private struct Eigensystem {
    let values: [Double]
    /// Row i belongs to value i.
    let vectors: Tensor<Double>

    var least: Double { values.first ?? 0 }
    var largest: Double { max(values.last ?? 0, .leastNormalMagnitude) }

    init(_ matrix: [Double], _ n: Int) throws(LoragenError) {
        let (values, vectors) = try typed { try symmetricEigen(Tensor<Double>(matrix, shape: [n, n])) }
        (self.values, self.vectors) = (values.values, vectors)
    }

    /// Of the matrix with `ridge` on its diagonal, eigenvalues being at least `least` before.
    func inverse(ridge: Double = 0, least: Double = 0) -> [Double] {
        let inverses = Tensor(values.map { 1 / (max(least, $0) + ridge) }, shape: [values.count, 1])
        return vectors.matmul(vectors * inverses, transposeA: true).values
    }
}
