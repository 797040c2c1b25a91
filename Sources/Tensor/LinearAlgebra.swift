import CKernels
import COpenBLAS

// LAPACK in double for both element types: the factors that it is asked for are thin, and rounding once at the end
// costs less than it saves. Results are constants (no derivatives).

/// a [m, n] = q [m, k] r [k, n], k = min(m, n); q has orthonormal columns, r is upper triangular.
public func thinQR<E: Element>(_ a: Tensor<E>) throws -> (q: Tensor<E>, r: Tensor<E>) {
    let (m, n) = try extents(a, "QR")
    let k = min(m, n)
    var work = columnMajor(a)
    var tau = [Double](repeating: 0, count: k)
    var (rows, columns, inner) = (Int32(m), Int32(n), Int32(k))
    let room = try WorkArea.qr(columns: n)
    try lapack("dgeqrf", room) { space, size, info in dgeqrf_(&rows, &columns, &work, &rows, &tau, space, size, info) }
    var r = [Double](repeating: 0, count: k * n)
    for i in 0..<k { for j in i..<n { r[i * n + j] = work[j * m + i] } }
    try lapack("dorgqr", room) { space, size, info in
        dorgqr_(&rows, &inner, &inner, &work, &rows, tau, space, size, info)
    }
    return (rowMajor(work, rows: m, columns: k), Tensor<Double>(r, shape: [k, n]).converted())
}

/// a [m, n] = u [m, k] diag(s) vt [k, n], k = min(m, n); s descends, its signs are positive.
public func thinSVD<E: Element>(_ a: Tensor<E>) throws -> (u: Tensor<E>, s: Tensor<E>, vt: Tensor<E>) {
    let (m, n) = try extents(a, "SVD")
    let k = min(m, n)
    let room = try WorkArea.svd(m, n)
    // The memory of a, read in columns, is its transpose V S Uᵀ: LAPACK's left factor is our vt and its right one our u.
    let original = a.detached().converted(to: Double.self).values
    var s = [Double](repeating: 0, count: k)
    var vt = [Double](repeating: 0, count: k * n)
    var u = [Double](repeating: 0, count: m * k)
    var (rows, columns, inner) = (Int32(n), Int32(m), Int32(k))
    do {
        var work = original
        var integers = [Int32](repeating: 0, count: 8 * k)
        try lapack("dgesdd", room) { space, size, info in
            dgesdd_("S", &rows, &columns, &work, &rows, &s, &vt, &rows, &u, &inner, space, size, &integers, info)
        }
    } catch {
        // Divide and conquer gives up on rare matrices that the slower iteration still solves.
        var work = original
        try lapack("dgesvd", room) { space, size, info in
            dgesvd_("S", "S", &rows, &columns, &work, &rows, &s, &vt, &rows, &u, &inner, space, size, info)
        }
    }
    return (
        Tensor<Double>(u, shape: [m, k]).converted(), Tensor<Double>(s, shape: [k]).converted(),
        Tensor<Double>(vt, shape: [k, n]).converted()
    )
}

/// The eigenvalues [n], ascending, and eigenvectors of a symmetric a [n, n]: row i of `vectors` belongs to value i.
public func symmetricEigen<E: Element>(_ a: Tensor<E>) throws -> (values: Tensor<E>, vectors: Tensor<E>) {
    let (n, other) = try extents(a, "eigen-decomposition")
    guard n == other else { throw LoragenError(.internalError, "eigen-decomposition of shape \(a.shape)") }
    let room = try WorkArea.eigen(n)
    var vectors = a.detached().converted(to: Double.self).values
    var values = [Double](repeating: 0, count: n)
    var order = Int32(n)
    var integers = [Int32](repeating: 0, count: 3 + 5 * n)
    var integerCount = Int32(integers.count)
    try lapack("dsyevd", room) { space, size, info in
        dsyevd_("V", "U", &order, &vectors, &order, &values, space, size, &integers, &integerCount, info)
    }
    return (
        Tensor<Double>(values, shape: [n]).converted(), Tensor<Double>(vectors, shape: [n, n]).converted()
    )
}

/// x [n, m] with a x = b, for a symmetric positive definite a [n, n] and b [n, m]. Throws when a is not.
public func choleskySolve<E: Element>(_ a: Tensor<E>, _ b: Tensor<E>) throws -> Tensor<E> {
    let (n, other) = try extents(a, "Cholesky")
    let (rows, m) = try extents(b, "Cholesky")
    guard n == other, n == rows else {
        throw LoragenError(.internalError, "Cholesky solve of shapes \(a.shape) and \(b.shape)")
    }
    var factor = a.detached().converted(to: Double.self).values
    var x = columnMajor(b)
    var (order, count, info) = (Int32(n), Int32(m), Int32(0))
    dpotrf_("U", &order, &factor, &order, &info)
    if info > 0 {
        throw LoragenError(.internalError, "Cholesky: the leading minor of order \(info) is not positive")
    }
    dpotrs_("U", &order, &count, factor, &order, &x, &order, &info)
    return rowMajor(x, rows: n, columns: m)
}

/// Rows and columns of a finite matrix with at least one element; LAPACK may loop for ever on NaN.
private func extents<E: Element>(_ a: Tensor<E>, _ what: String) throws -> (Int, Int) {
    precondition(a.rank == 2, "\(what) of shape \(a.shape)")
    guard a.count > 0 else { throw LoragenError(.internalError, "\(what) of an empty matrix \(a.shape)") }
    guard a.shape.allSatisfy({ $0 <= Int32.max }) else { throw WorkArea.tooLarge(what, a.shape) }
    guard a.isFinite else { throw LoragenError(.nonFinite, "\(what) of a matrix \(a.shape) with NaN or infinity") }
    return (a.shape[0], a.shape[1])
}

private func columnMajor<E: Element>(_ a: Tensor<E>) -> [Double] {
    a.detached().transposed().converted(to: Double.self).values
}

/// The first rows * columns elements of column-major values.
private func rowMajor<E: Element>(_ values: [Double], rows: Int, columns: Int) -> Tensor<E> {
    Tensor<Double>(Array(values[..<(rows * columns)]), shape: [columns, rows]).transposed().converted()
}

/// Numbers in LAPACK's work areas: what its documentation asks for, with room for blocks of 64. They are counted here in
/// floating point, because the routines count in 32 bits: from n = 32,767 on `dsyevd`'s answer to a query wraps, and what
/// it then writes lies beyond the array.
public enum WorkArea {
    /// Of `dgeqrf` and `dorgqr`.
    public static func qr(columns n: Int) throws(LoragenError) -> Int32 {
        try checked(64 * Double(max(1, n)), "QR", [n])
    }

    /// Of `dgesdd` and `dgesvd`, job "S".
    public static func svd(_ m: Int, _ n: Int) throws(LoragenError) -> Int32 {
        let (short, long) = (Double(min(m, n)), Double(max(1, m, n)))
        return try checked(short * (4 * short + 10) + 64 * (short + long), "SVD", [m, n])
    }

    /// Of `dsyevd`, job "V".
    public static func eigen(_ n: Int) throws(LoragenError) -> Int32 {
        try checked(1 + Double(n) * (2 * Double(n) + 6 + 64), "eigen-decomposition", [n, n])
    }

    private static func checked(_ numbers: Double, _ what: String, _ shape: [Int]) throws(LoragenError) -> Int32 {
        guard numbers <= Double(Int32.max) else { throw tooLarge(what, shape) }
        return Int32(numbers)
    }

    static func tooLarge(_ what: String, _ shape: [Int]) -> LoragenError {
        LoragenError(
            .unsupported,
            "\(what) of a matrix \(shape) is more than LAPACK with 32-bit integers can take; use fewer adapters or a smaller "
                + "rank")
    }
}

/// Runs a routine in a work area of that many numbers.
private func lapack(
    _ name: String, _ room: Int32,
    _ call: (UnsafeMutablePointer<Double>, UnsafePointer<Int32>, UnsafeMutablePointer<Int32>) -> Void
) throws {
    var (size, info) = (room, Int32(0))
    var space = [Double](repeating: 0, count: Int(size))
    call(&space, &size, &info)
    if info != 0 { throw LoragenError(.internalError, "\(name) returned \(info): no convergence") }
}
