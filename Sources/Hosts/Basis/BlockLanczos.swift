import Adapters
import COpenBLAS
import Files
import Formats
import Glibc
import Tensor

/// The largest singular triplets by block Lanczos on `WᵀW` with thick restarts (Wu and Simon 2000; Golub, Luk and Overton 1981
/// for the blocks). W is read a block of rows at a time, once a step, and never held.
///
/// A basis Q of the Krylov space grows by a block a step: `P = W·Q_j`, `Z = Wᵀ·P`, and Z, orthogonalised against all of Q, is
/// the next block. Singular values are those of P, whose Gram matrix is made in double, so their error is float32's and not its
/// root. With `Z − Q(QᵀZ) = Q_next·R` the residual of a Ritz vector `v = Qy` is `‖R·y_last‖`, at no cost. Where the spectrum is
/// flat, as that of random weights, this takes a tenth of the passes of subspace iteration.
struct BlockLanczos {
    let matrix: BaseMatrix
    let rank: Int
    /// Of the residual over σ.
    let tolerance: Double

    private let block: Int
    private let capacity: Int
    private let kept: Int
    private static let rowsOfAPart = 256
    private static let passLimit = 600

    init(matrix: BaseMatrix, rank: Int, tolerance: Double) {
        self.matrix = matrix
        self.rank = rank
        self.tolerance = tolerance
        block = rank <= 64 ? 16 : 32
        kept = rank + 3 * block
        capacity = max(256, 2 * kept + 4 * block)
    }

    /// Whether the Krylov space has room beside the space that is looked for.
    static func suits(_ matrix: BaseMatrix, rank: Int) -> Bool {
        rank <= matrix.fullRank / 8 && BlockLanczos(matrix: matrix, rank: rank, tolerance: 1).fits
    }

    /// Whether the weight has as many directions as the iteration holds.
    var fits: Bool { capacity + block <= matrix.fullRank }

    /// What float32 can reach of the residual over σ, by the spread of the singular values.
    func reachable(_ found: SingularTriplets) -> Double {
        guard let largest = found.sigma.first, let least = found.sigma.last, least > 0 else { return 0 }
        return 1e-6 * (largest / least) * (largest / least)
    }

    /// Bytes that it takes beside the mapped weights.
    var bytes: Double {
        let (m, n, d) = (Double(matrix.rows), Double(matrix.columns), Double(capacity))
        return 4 * (2 * d * n + d * m + 3 * Double(block) * (m + n) + 256 * n) + 8 * (2 * d * m + 6 * d * d)
    }

    /// `nil` where it does not converge, or where a singular value is too small for its left vector to be told.
    /// `check` is called before each pass.
    func run(check: () throws(LoragenError) -> Void) throws(LoragenError) -> SingularTriplets? {
        try Memory.require(bytes, for: "the singular vectors of module '\(matrix.shape.name)'")
        let (m, n) = (matrix.rows, matrix.columns)
        var random = SplitMix(state: 0x5eed)
        let q = FloatRows(width: n, capacity: capacity, count: block)
        var p = SmallMatrix(rows: m, columns: 0)
        for i in q.values.indices { q.base[i] = random.normal() }
        q.store(try q.matrix(from: 0, count: block).qr().q, from: 0)
        let (image, next) = (
            FloatRows(width: m, capacity: block, count: block), FloatRows(width: n, capacity: block, count: block)
        )
        var pass = 0
        while true {
            try check()
            try apply(q, from: q.count - block, image: image, next: next)
            pass += 1
            p.append(image)
            let rest = try orthogonalise(next, against: q, random: &random)
            let isFull = q.count + block > capacity
            if isFull || pass % 4 == 0 {
                let ritz = try Ritz(p, rest: rest, count: min(kept, q.count), block: block)
                if ritz.isConverged(rank: rank, tolerance: tolerance) {
                    return try finish(ritz, q, p)
                }
                if pass >= Self.passLimit { return nil }
                if isFull {
                    rotate(q, ritz)
                    p = p.times(ritz.vectors)
                }
            }
            let count = q.count
            q.resize(to: count + block)
            q.row(count).update(from: next.base, count: block * n)
        }
    }

    /// `image = W·x` and `next = Wᵀ·W·x` for the rows of `x` from `first` on, in one pass over W.
    private func apply(_ x: FloatRows, from first: Int, image: FloatRows, next: FloatRows) throws(LoragenError) {
        let (m, n, count) = (matrix.rows, matrix.columns, image.count)
        let part = FloatRows(width: n, capacity: min(Self.rowsOfAPart, m))
        for row in stride(from: 0, to: m, by: Self.rowsOfAPart) {
            let rows = min(Self.rowsOfAPart, m - row)
            try matrix.read(rows: row..<(row + rows), into: part.base)
            multiply(
                count, rows, n, x.operand(from: first), part.operand(transposed: true), image.base + row, pitch: m)
            multiply(
                count, n, rows, Operand(UnsafePointer(image.base + row), pitch: m), part.operand(), next.base, pitch: n,
                accumulate: row > 0)
        }
        withExtendedLifetime((x, part)) {}
    }

    /// Makes the rows of `z` orthonormal and orthogonal to those of `q`; gives R [block, block] of what was left of them.
    /// Directions that are in the space already become random ones, for which R is zero.
    private func orthogonalise(
        _ z: FloatRows, against q: FloatRows, random: inout SplitMix
    ) throws(LoragenError) -> SmallMatrix {
        let before = (0..<z.count).map { i in
            (0..<z.width).reduce(0.0) { $0 + Double(z.row(i)[$1]) * Double(z.row(i)[$1]) }.squareRoot()
        }
        let scale = before.max() ?? 0
        project(z, off: q)
        project(z, off: q)
        var (basis, rest) = try z.matrix(from: 0, count: z.count).qr()
        var isChanged = false
        for j in 0..<z.count where !(abs(rest[j, j]) > 1e-7 * scale) {
            for k in 0..<z.count { rest[j, k] = 0 }
            for i in 0..<z.width { basis[i, j] = Double(random.normal()) }
            isChanged = true
        }
        z.store(basis, from: 0)
        if isChanged {
            for _ in 0..<2 {
                project(z, off: q)
                z.store(try z.matrix(from: 0, count: z.count).qr().q, from: 0)
            }
        }
        return rest
    }

    private func project(_ z: FloatRows, off q: FloatRows) {
        let (b, d, n) = (z.count, q.count, z.width)
        let part = FloatRows(width: d, capacity: b, count: b)
        multiply(b, d, n, z.operand(), q.operand(transposed: true), part.base, pitch: d)
        for i in part.values.indices { part.base[i] *= -1 }
        multiply(b, n, d, part.operand(), q.operand(), z.base, pitch: n, accumulate: true)
        withExtendedLifetime(part) {}
    }

    /// `q` becomes the Ritz vectors.
    private func rotate(_ q: FloatRows, _ ritz: Ritz) {
        let count = ritz.vectors.columns
        let turned = FloatRows(width: q.width, capacity: count, count: count)
        combine(q, ritz, count: count, into: turned)
        q.resize(to: count)
        q.base.update(from: turned.base, count: count * q.width)
        withExtendedLifetime(turned) {}
    }

    private func combine(_ q: FloatRows, _ ritz: Ritz, count: Int, into target: FloatRows) {
        // Column-major [d, k] doubles are row-major [k, d] floats.
        let weights = FloatRows(width: ritz.vectors.rows, capacity: ritz.vectors.columns)
        weights.store(ritz.vectors, from: 0)
        multiply(count, q.width, q.count, weights.operand(), q.operand(), target.base, pitch: q.width)
        withExtendedLifetime(weights) {}
    }

    /// The triplets, with their residual measured by one more pass.
    private func finish(_ ritz: Ritz, _ q: FloatRows, _ p: SmallMatrix) throws(LoragenError) -> SingularTriplets? {
        let sigma = ritz.values.prefix(rank).map { $0.squareRoot() }
        guard let largest = sigma.first, let least = sigma.last, least > 1e-5 * largest else { return nil }
        let right = FloatRows(width: matrix.columns, capacity: rank, count: rank)
        combine(q, ritz, count: rank, into: right)
        let image = p.times(ritz.vectors.leadingColumns(rank))
        let left = FloatRows(width: matrix.rows, capacity: rank, count: rank)
        for i in 0..<rank { for j in 0..<matrix.rows { left.row(i)[j] = Float(image[j, i] / sigma[i]) } }
        let (forward, back) = (
            FloatRows(width: matrix.rows, capacity: rank, count: rank),
            FloatRows(width: matrix.columns, capacity: rank, count: rank)
        )
        try apply(right, from: 0, image: forward, next: back)
        var residual = 0.0
        for i in 0..<rank {
            let (ahead, behind) = (
                distance(forward.row(i), left.row(i), sigma[i], matrix.rows),
                distance(back.row(i), right.row(i), sigma[i] * sigma[i], matrix.columns) / sigma[i]
            )
            residual = max(residual, max(ahead, behind) / sigma[i])
        }
        withExtendedLifetime((forward, back)) {}
        let beyond = ritz.values.count > rank ? max(0, ritz.values[rank]).squareRoot() : 0
        let result = SingularTriplets(
            left: left, right: right, sigma: Array(sigma), residual: residual, gap: (least - beyond) / largest)
        result.fixSigns()
        return result
    }

    /// `‖x − s·y‖`
    private func distance(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ s: Double, _ count: Int) -> Double {
        (0..<count).reduce(0.0) { sum, i in
            let difference = Double(x[i]) - s * Double(y[i])
            return sum + difference * difference
        }.squareRoot()
    }
}

/// Rayleigh and Ritz on a basis Q of which `P = W·Q` is known.
private struct Ritz {
    /// Squares of singular values, falling.
    let values: [Double]
    /// `[d, count]`
    let vectors: SmallMatrix
    /// Of each, `‖WᵀWv − λv‖`.
    private let residuals: [Double]

    init(_ p: SmallMatrix, rest: SmallMatrix, count: Int, block: Int) throws(LoragenError) {
        let d = p.columns
        let (all, rows) = try p.times(p, transposeSelf: true).symmetricEigen()
        values = (0..<count).map { max(0, all[d - 1 - $0]) }
        var vectors = SmallMatrix(rows: d, columns: count)
        for k in 0..<count { for i in 0..<d { vectors[i, k] = rows[i, d - 1 - k] } }
        self.vectors = vectors
        var last = SmallMatrix(rows: block, columns: count)
        for k in 0..<count { for i in 0..<block { last[i, k] = vectors[d - block + i, k] } }
        let tails = rest.times(last)
        residuals = (0..<count).map { k in
            (0..<block).reduce(0.0) { $0 + tails[$1, k] * tails[$1, k] }.squareRoot()
        }
    }

    /// Within the tolerance, or what float32 can reach: its rounding of the largest against the square of this one.
    func isConverged(rank: Int, tolerance: Double) -> Bool {
        guard values.count >= rank, let largest = values.first else { return false }
        return (0..<rank).allSatisfy { residuals[$0] <= max(tolerance * values[$0], 3e-7 * largest) }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), with the sum of twelve uniform numbers for a normal one: a start for iterations,
/// and signs that anybody can make again.
struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func normal() -> Float {
        var sum: Float = -6
        for _ in 0..<12 { sum += Float(next() >> 40) * 0x1p-24 }
        return sum
    }
}

extension SmallMatrix {
    /// Eigenvalues, rising, and eigenvectors as columns, of a symmetric matrix.
    func symmetricEigen() throws(LoragenError) -> (values: [Double], vectors: SmallMatrix) {
        precondition(rows == columns)
        var vectors = self
        var values = [Double](repeating: 0, count: rows)
        var (order, info, size) = (Int32(rows), Int32(0), try WorkArea.eigen(rows))
        var space = [Double](repeating: 0, count: Int(size))
        var integers = [Int32](repeating: 0, count: 3 + 5 * rows)
        var integerCount = Int32(integers.count)
        dsyevd_(
            "V", "U", &order, &vectors.values, &order, &values, &space, &size, &integers, &integerCount, &info)
        if info != 0 { throw LoragenError(.internalError, "dsyevd of [\(rows), \(rows)]: info \(info)") }
        return (values, vectors)
    }

    /// Appends the rows of `other`, whose width is this matrix' height, as columns.
    mutating func append(_ other: FloatRows) {
        precondition(other.width == rows)
        var grown = SmallMatrix(rows: rows, columns: columns + other.count)
        grown.values.replaceSubrange(0..<values.count, with: values)
        for (i, value) in other.values.enumerated() { grown.values[values.count + i] = Double(value) }
        self = grown
    }
}
