import Tensor

/// The one representative of all pairs (A, B) with the same product `scale · B · A`.
///
/// QR of both factors, SVD of the r × r core, `B = U√Σ` and `A = √ΣVᵀ`, the sign of each pair of vectors such that the
/// entry of largest magnitude in the left one is positive. The product itself, [out, in], is never formed; all arithmetic
/// is in double. Unique when the singular values differ from each other. Singular values below 2⁻²⁴ of the largest,
/// which float32 factors cannot carry, become zero, so that noise in them does not come out as its square root.
struct CanonicalForm {
    /// `[out, k]` and `[k, in]` with k the number of singular values kept, in falling order.
    let b: SmallMatrix
    let a: SmallMatrix
    let sigma: [Double]

    private static let threshold = 0x1p-24

    /// `a [rank, in]`, `b [out, rank]`, row-major. Throws `.internalError` when LAPACK fails.
    init(
        a: UnsafeBufferPointer<Float>, b: UnsafeBufferPointer<Float>, module: ModuleShape
    ) throws(LoragenError) {
        let right = try SmallMatrix(transposeOf: a, rows: module.rank, columns: module.inputs).qr()
        let left = try SmallMatrix(rowMajor: b, rows: module.outputs, columns: module.rank).qr()
        var core = left.r.times(right.r, transposeOther: true)
        let scale = module.scale
        for i in core.values.indices { core.values[i] *= scale }
        let (u, sigma, vt) = try core.svd()
        let largest = sigma.first ?? 0
        guard largest.isFinite else {
            throw LoragenError(.nonFinite, "module '\(module.name)': the product of its factors is not finite")
        }
        let kept = largest > 0 ? sigma.prefix { $0 > largest * Self.threshold } : []
        var b = left.q.times(u.leadingColumns(kept.count))
        var a = vt.leadingRows(kept.count).times(right.q, transposeOther: true)
        for (j, value) in kept.enumerated() {
            var top = 0.0
            for i in 0..<b.rows where abs(b[i, j]) > abs(top) { top = b[i, j] }
            let factor = (top < 0 ? -1 : 1) * value.squareRoot()
            for i in 0..<b.rows { b[i, j] *= factor }
            for i in 0..<a.columns { a[j, i] *= factor }
        }
        self.a = a
        self.b = b
        self.sigma = Array(kept)
    }

    /// The share of `‖ΔW‖²` that is lost when only the first `rank` singular values stay; 0 for a zero product.
    func energyLost(rank: Int) -> Double {
        let total = sigma.reduce(0) { $0 + $1 * $1 }
        if total == 0 { return 0 }
        return sigma.dropFirst(rank).reduce(0) { $0 + $1 * $1 } / total
    }

    /// Writes the first `rank` vectors row-major, zeros where there are none.
    func store(
        rank: Int, a targetA: UnsafeMutableBufferPointer<Float>, b targetB: UnsafeMutableBufferPointer<Float>
    ) {
        for k in 0..<min(rank, sigma.count) {
            for i in 0..<a.columns { targetA[k * a.columns + i] = Float(a[k, i]) }
            for i in 0..<b.rows { targetB[i * rank + k] = Float(b[i, k]) }
        }
    }
}

extension SmallMatrix {
    func leadingColumns(_ count: Int) -> SmallMatrix {
        var result = SmallMatrix(rows: rows, columns: count)
        result.values.replaceSubrange(result.values.indices, with: values[..<(rows * count)])
        return result
    }

    func leadingRows(_ count: Int) -> SmallMatrix {
        var result = SmallMatrix(rows: count, columns: columns)
        for j in 0..<columns {
            for i in 0..<count { result[i, j] = self[i, j] }
        }
        return result
    }
}

/// An adapter at other ranks, and what that cost.
public struct RankCut: Sendable {
    public let adapter: Adapter
    /// For each module, the share of `‖ΔW‖²` that was lost: 0 when nothing was, 1 when everything.
    public let energyLost: [Double]
}

extension Adapter {
    /// The adapter in canonical form: the same product in every module, alpha = rank. Throws `.nonFinite` for values
    /// or products that are not finite.
    public func canonical() throws(LoragenError) -> Adapter {
        try recut(ranks: layout.modules.map(\.rank)).adapter
    }

    /// The adapter in canonical form with another rank in every module: the best approximation of that rank if it is
    /// smaller, zeros added if it is larger.
    public func recut(rank: Int) throws(LoragenError) -> RankCut {
        try recut(ranks: [Int](repeating: rank, count: layout.modules.count))
    }

    /// The same with a rank for each module.
    public func recut(ranks: [Int]) throws(LoragenError) -> RankCut {
        try checkFinite(source: "the adapter")
        let target = try layout.withRanks(ranks)
        var lost = [Double](repeating: 0, count: ranks.count)
        let adapter = try Adapter(layout: target, metadata: metadata) { (values) throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                let form = try CanonicalForm(
                    a: tensor(at: 2 * i).values, b: tensor(at: 2 * i + 1).values, module: module)
                lost[i] = form.energyLost(rank: ranks[i])
                form.store(
                    rank: ranks[i], a: UnsafeMutableBufferPointer(rebasing: values[target.tensors[2 * i].range]),
                    b: UnsafeMutableBufferPointer(rebasing: values[target.tensors[2 * i + 1].range]))
            }
        }
        try adapter.checkFinite(source: "the adapter in canonical form")
        return RankCut(adapter: adapter, energyLost: lost)
    }

    /// The same product in every module, turned towards a reference of the same ranks: with the orthogonal Q that
    /// minimises `‖BQ − B_ref‖² + ‖QᵀA − A_ref‖²` (Procrustes: Q = UVᵀ of the SVD of `BᵀB_ref + A·A_refᵀ`), the pair
    /// becomes (BQ, QᵀA). Smooth in the adapter, where the canonical form jumps when singular values cross.
    /// The adapter is brought into canonical form first, and the reference should be. Throws `.mismatch` when the
    /// layouts differ.
    public func aligned(to reference: Adapter) throws(LoragenError) -> Adapter {
        let start = try canonical()
        defer { withExtendedLifetime(start) {} }
        if let difference = reference.layout.difference(from: start.layout) {
            throw LoragenError(.mismatch, "the reference does not fit the adapter in canonical form: \(difference)")
        }
        try reference.checkFinite(source: "the reference")
        let layout = start.layout
        return try Adapter(layout: layout, metadata: metadata) { (values) throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                // All transposed: Aᵀ [in, r], which is A's row-major memory; B [out, r].
                let a = SmallMatrix(
                    transposeOf: start.tensor(at: 2 * i).values, rows: module.rank, columns: module.inputs)
                let b = SmallMatrix(
                    rowMajor: start.tensor(at: 2 * i + 1).values, rows: module.outputs, columns: module.rank)
                let aRef = SmallMatrix(
                    transposeOf: reference.tensor(at: 2 * i).values, rows: module.rank, columns: module.inputs)
                let bRef = SmallMatrix(
                    rowMajor: reference.tensor(at: 2 * i + 1).values, rows: module.outputs, columns: module.rank)
                var core = b.times(bRef, transposeSelf: true)
                let other = a.times(aRef, transposeSelf: true)
                for k in core.values.indices { core.values[k] += other.values[k] }
                let (u, _, vt) = try core.svd()
                let q = u.times(vt)
                let turnedA = a.times(q)
                let turnedB = b.times(q)
                let (placeA, placeB) = (layout.tensors[2 * i].offset, layout.tensors[2 * i + 1].offset)
                for k in turnedA.values.indices { values[placeA + k] = Float(turnedA.values[k]) }
                for row in 0..<module.outputs {
                    for column in 0..<module.rank {
                        values[placeB + row * module.rank + column] = Float(turnedB[row, column])
                    }
                }
            }
        }
    }
}
