import COpenBLAS
import Tensor

/// A column-major matrix of doubles, as LAPACK takes it: element (i, j) at `values[i + j * rows]`.
public struct SmallMatrix {
    public let rows: Int
    public let columns: Int
    public var values: [Double]

    public init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        values = [Double](repeating: 0, count: rows * columns)
    }

    /// A row-major float32 tensor `[rows, columns]`.
    public init(rowMajor source: UnsafeBufferPointer<Float>, rows: Int, columns: Int) {
        self.init(rows: rows, columns: columns)
        for i in 0..<rows {
            for j in 0..<columns { values[i + j * rows] = Double(source[i * columns + j]) }
        }
    }

    /// The transpose `[columns, rows]` of a row-major float32 tensor `[rows, columns]`; the same order of values.
    public init(transposeOf source: UnsafeBufferPointer<Float>, rows: Int, columns: Int) {
        self.rows = columns
        self.columns = rows
        values = source.map(Double.init)
    }

    public subscript(i: Int, j: Int) -> Double {
        get { values[i + j * rows] }
        set { values[i + j * rows] = newValue }
    }

    /// `op(self) · op(other)`.
    public func times(_ other: SmallMatrix, transposeSelf: Bool = false, transposeOther: Bool = false) -> SmallMatrix {
        let m = transposeSelf ? columns : rows
        let k = transposeSelf ? rows : columns
        let n = transposeOther ? other.rows : other.columns
        precondition(k == (transposeOther ? other.columns : other.rows))
        var result = SmallMatrix(rows: m, columns: n)
        if m == 0 || n == 0 || k == 0 { return result }
        result.values.withUnsafeMutableBufferPointer { target in
            cblas_dgemm(
                CblasColMajor, transposeSelf ? CblasTrans : CblasNoTrans, transposeOther ? CblasTrans : CblasNoTrans,
                Int32(m), Int32(n), Int32(k), 1, values, Int32(rows), other.values, Int32(other.rows), 0,
                target.baseAddress, Int32(m))
        }
        return result
    }

    /// `self = Q · R` with k = min(rows, columns): Q [rows, k] has orthonormal columns, R [k, columns] is upper
    /// triangular. Throws `.internalError` when LAPACK fails.
    public func qr() throws(LoragenError) -> (q: SmallMatrix, r: SmallMatrix) {
        let k = min(rows, columns)
        var factored = values
        var tau = [Double](repeating: 0, count: k)
        var (m, n, kk, info) = (Int32(rows), Int32(columns), Int32(k), Int32(0))
        var size = try WorkArea.qr(columns: columns)
        var work = [Double](repeating: 0, count: Int(size))
        dgeqrf_(&m, &n, &factored, &m, &tau, &work, &size, &info)
        if info != 0 { throw LoragenError(.internalError, "dgeqrf of [\(rows), \(columns)]: info \(info)") }
        var r = SmallMatrix(rows: k, columns: columns)
        for j in 0..<columns {
            for i in 0..<min(j + 1, k) { r[i, j] = factored[i + j * rows] }
        }
        dorgqr_(&m, &kk, &kk, &factored, &m, &tau, &work, &size, &info)
        if info != 0 { throw LoragenError(.internalError, "dorgqr of [\(rows), \(columns)]: info \(info)") }
        var q = SmallMatrix(rows: rows, columns: k)
        q.values.replaceSubrange(q.values.indices, with: factored[..<(rows * k)])
        return (q, r)
    }

    /// `self = U · diag(σ) · Vᵀ` with k = min(rows, columns): U [rows, k], σ [k] falling, Vᵀ [k, columns].
    /// Throws `.internalError` when LAPACK does not converge.
    public func svd() throws(LoragenError) -> (u: SmallMatrix, sigma: [Double], vt: SmallMatrix) {
        let k = min(rows, columns)
        var copy = values
        var u = SmallMatrix(rows: rows, columns: k)
        var vt = SmallMatrix(rows: k, columns: columns)
        var sigma = [Double](repeating: 0, count: k)
        var (m, n, kk, info) = (Int32(rows), Int32(columns), Int32(k), Int32(0))
        var integers = [Int32](repeating: 0, count: 8 * k)
        var size = try WorkArea.svd(rows, columns)
        var work = [Double](repeating: 0, count: Int(size))
        var job = CChar(UInt8(ascii: "S"))
        dgesdd_(&job, &m, &n, &copy, &m, &sigma, &u.values, &m, &vt.values, &kk, &work, &size, &integers, &info)
        if info != 0 { throw LoragenError(.internalError, "dgesdd of [\(rows), \(columns)]: info \(info)") }
        return (u, sigma, vt)
    }
}
