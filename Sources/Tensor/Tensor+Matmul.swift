import CKernels

/// The shape of a batched product: a [..., m, k] and b [..., k, n] with equal leading extents, or b a single matrix.
private struct BatchedShape {
    let batch: [Int]
    let count: Int
    let m: Int
    let n: Int
    let k: Int
    let sharesB: Bool

    init(_ a: [Int], _ b: [Int], _ transposeA: Bool, _ transposeB: Bool) {
        precondition(a.count >= 2 && b.count >= 2, "matmul of \(a) and \(b)")
        let (rowsA, columnsA) = (a[a.count - 2], a[a.count - 1])
        let (rowsB, columnsB) = (b[b.count - 2], b[b.count - 1])
        batch = Array(a.dropLast(2))
        sharesB = b.count == 2 && a.count > 2
        precondition(sharesB || batch == Array(b.dropLast(2)), "matmul of \(a) and \(b): leading extents differ")
        m = transposeA ? columnsA : rowsA
        k = transposeA ? rowsA : columnsA
        n = transposeB ? rowsB : columnsB
        precondition(
            k == (transposeB ? columnsB : rowsB),
            "matmul of \(a)\(transposeA ? "ᵀ" : "") and \(b)\(transposeB ? "ᵀ" : "")")
        count = batch.reduce(1, *)
    }
}

extension Tensor {
    /// a b, with either operand read transposed; [m, k] and [k, n], or [..., m, k] and [..., k, n] with equal leading
    /// extents, or [..., m, k] and one matrix [k, n].
    public static func matmul(_ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false) -> Tensor {
        let s = BatchedShape(a.shape, b.shape, transposeA, transposeB)
        if s.sharesB, !transposeA {
            // One product with all rows
            let rows = a.reshaped([s.count * s.m, s.k])
            return matmul(rows, b, transposeB: transposeB).reshaped(s.batch + [s.m, s.n])
        }
        precondition(!s.sharesB, "matmul of transposed \(a.shape) and a single matrix \(b.shape)")
        let result = make(s.batch + [s.m, s.n]) { to in
            let (left, right) = (a.storage, b.storage)
            let body = { (i: Int) in
                product(
                    s.m, s.n, s.k,
                    MatrixView(
                        base: left.base + i * s.m * s.k, pitch: transposeA ? s.m : s.k, transposed: transposeA),
                    MatrixView(
                        base: right.base + i * s.k * s.n, pitch: transposeB ? s.k : s.n, transposed: transposeB),
                    to + i * s.m * s.n, pitch: s.n)
            }
            if s.m * s.n * s.k > 1 << 22 {
                for i in 0..<s.count { body(i) }
            } else {
                let grain = max(1, (1 << 16) / max(1, s.m * s.n * s.k))
                Threads.over(s.count, grain: grain) { start, n in for i in start..<start + n { body(i) } }
            }
        }
        guard isTracked(a, b) else { return result }
        let (x, y) = (a.detached(), b.detached())
        return result.recorded(from: [a, b]) { g, inputs in
            // c = op(a) op(b): d op(a) = g op(b)ᵀ, d op(b) = op(a)ᵀ g
            inputs[0]?.accumulate(
                transposeA
                    ? matmul(y, g, transposeA: transposeB, transposeB: true)
                    : matmul(g, y, transposeB: !transposeB))
            inputs[1]?.accumulate(
                transposeB
                    ? matmul(g, x, transposeA: true, transposeB: transposeA)
                    : matmul(x, g, transposeA: !transposeA))
        }
    }

    public func matmul(_ other: Tensor, transposeA: Bool = false, transposeB: Bool = false) -> Tensor {
        Tensor.matmul(self, other, transposeA: transposeA, transposeB: transposeB)
    }
}

/// x [..., in] times weight [out, in] transposed, plus bias [out]: [..., out].
public func linear<E: Element>(_ x: Tensor<E>, weight: Tensor<E>, bias: Tensor<E>? = nil) -> Tensor<E> {
    precondition(
        weight.rank == 2 && x.rank >= 1 && x.shape[x.rank - 1] == weight.shape[1],
        "linear of \(x.shape) with weight \(weight.shape)")
    let (n, k) = (weight.shape[0], weight.shape[1])
    precondition(bias.map { $0.shape == [n] } ?? true, "bias of linear for weight \(weight.shape)")
    let rows = k == 0 ? x.shape.dropLast().reduce(1, *) : x.count / k
    let result = Tensor<E>.make(x.shape.dropLast() + [n]) { to in
        if let bias {
            for row in 0..<rows {
                UnsafeMutableRawPointer(to + row * n).copyMemory(
                    from: bias.storage.base, byteCount: n * MemoryLayout<E>.stride)
            }
        }
        product(
            rows, n, k, MatrixView(base: x.storage.base, pitch: k, transposed: false),
            MatrixView(base: weight.storage.base, pitch: k, transposed: true), to, pitch: n, accumulate: bias != nil)
    }
    guard Tensor.isTracked(x, weight, bias) else { return result }
    let (input, w) = (x.detached(), weight.detached())
    return result.recorded(from: [x, weight, bias]) { g, inputs in
        let rowsG = Tensor(storage: g.storage, shape: [rows, n])
        let dx = inputs[0].map { _ in Tensor.matmul(rowsG, w) }
        if let dx { inputs[0]?.accumulate(Tensor(storage: dx.storage, shape: input.shape)) }
        inputs[1]?.accumulate(
            Tensor.matmul(rowsG, Tensor(storage: input.storage, shape: [rows, k]), transposeA: true))
        inputs[2]?.accumulate(rowsG.sum(axes: [0]))
    }
}
