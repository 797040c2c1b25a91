import CKernels

/// A row-major matrix in memory, possibly to be read transposed, for `multiply`.
public struct Operand<E: Element> {
    let view: MatrixView<E>

    /// Rows are `pitch` elements apart.
    public init(_ base: UnsafePointer<E>, pitch: Int, transposed: Bool = false) {
        view = MatrixView(base: base, pitch: pitch, transposed: transposed)
    }
}

/// c [m, n] = a [m, k] b [k, n], or c += when `accumulate`; c's rows are `pitch` apart. Callers vouch for the extents. For what
/// is no tensor: matrices that are read from a file in parts.
public func multiply<E: Element>(
    _ m: Int, _ n: Int, _ k: Int, _ a: Operand<E>, _ b: Operand<E>, _ c: UnsafeMutablePointer<E>, pitch: Int,
    accumulate: Bool = false
) {
    product(m, n, k, a.view, b.view, c, pitch: pitch, accumulate: accumulate)
}
