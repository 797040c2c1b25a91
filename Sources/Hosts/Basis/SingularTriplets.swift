import Adapters
import COpenBLAS
import Files
import Formats
import Tensor

/// The largest singular triplets of a matrix `[rows, columns]`, or all of them.
struct SingularTriplets {
    /// Singular vectors as rows, `[r, rows]` and `[r, columns]`.
    var left: FloatRows
    var right: FloatRows
    /// Falling.
    var sigma: [Double]
    /// The largest of `‖Wv − σu‖` and `‖Wᵀu − σv‖` over its σ, as measured.
    var residual: Double
    /// `σ_r − σ_{r+1}` over `σ_1`; infinite when there is no next one.
    var gap: Double

    /// The entry of largest magnitude in each left vector becomes positive.
    func fixSigns() {
        for i in 0..<left.count {
            var top: Float = 0
            for j in 0..<left.width where abs(left.row(i)[j]) > abs(top) { top = left.row(i)[j] }
            if top >= 0 { continue }
            for j in 0..<left.width { left.row(i)[j] *= -1 }
            for j in 0..<right.width { right.row(i)[j] *= -1 }
        }
    }
}

/// All singular triplets by divide and conquer (`sgesdd`), the first of which are kept.
enum DenseSVD {
    /// Bytes that it takes: the matrix twice over, both bases, and LAPACK's room.
    static func bytes(_ matrix: BaseMatrix) -> Double {
        let (long, short) = (Double(max(matrix.rows, matrix.columns)), Double(matrix.fullRank))
        return 4 * (2 * long * short + short * short + short * (4 * short + 10) + 64 * (short + long))
    }

    static func run(_ matrix: BaseMatrix, rank: Int) throws(LoragenError) -> SingularTriplets {
        let (m, n, k) = (matrix.rows, matrix.columns, matrix.fullRank)
        let room = try WorkArea.svd(m, n)
        guard m * n <= Int32.max else {
            throw LoragenError(
                .unsupported,
                "module '\(matrix.shape.name)': \([m, n]) is more than LAPACK with 32-bit integers can take")
        }
        try Memory.require(bytes(matrix), for: "the full SVD of module '\(matrix.shape.name)'")
        // The memory of W, read in columns, is Wᵀ = V Σ Uᵀ.
        let work = FloatRows(width: n, capacity: m, count: m)
        try matrix.read(rows: 0..<m, into: work.base)
        let (v, u) = (FloatRows(width: n, capacity: k, count: k), FloatRows(width: k, capacity: m, count: m))
        var sigma = [Float](repeating: 0, count: k)
        var (rows, columns, inner, size, info) = (Int32(n), Int32(m), Int32(k), room, Int32(0))
        var space = [Float](repeating: 0, count: Int(size))
        var integers = [Int32](repeating: 0, count: 8 * k)
        sgesdd_(
            "S", &rows, &columns, work.base, &rows, &sigma, v.base, &rows, u.base, &inner, &space, &size, &integers,
            &info)
        if info > 0 {
            // Divide and conquer gives up on rare matrices that the slower iteration still solves.
            try matrix.read(rows: 0..<m, into: work.base)
            sgesvd_(
                "S", "S", &rows, &columns, work.base, &rows, &sigma, v.base, &rows, u.base, &inner, &space, &size, &info
            )
        }
        if info != 0 {
            throw LoragenError(.internalError, "module '\(matrix.shape.name)': sgesdd and sgesvd returned \(info)")
        }
        let (left, right) = (
            FloatRows(width: m, capacity: rank, count: rank), FloatRows(width: n, capacity: rank, count: rank)
        )
        for i in 0..<rank {
            for j in 0..<m { left.row(i)[j] = u.base[j * k + i] }
            for j in 0..<n { right.row(i)[j] = v.row(i)[j] }
        }
        let largest = max(Double(sigma[0]), Double.leastNormalMagnitude)
        let result = SingularTriplets(
            left: left, right: right, sigma: sigma.prefix(rank).map(Double.init), residual: 0,
            gap: rank < k ? Double(sigma[rank - 1] - sigma[rank]) / largest : .infinity)
        result.fixSigns()
        withExtendedLifetime((work, u, v)) {}
        return result
    }
}
