import Tensor

/// The one representative of all pairs (A, B) with the same product `scale · B · A`.
///
/// QR of both factors, SVD of the r × r core, `B = U√Σ` and `A = √ΣVᵀ`, the sign of each pair of vectors such that the
/// entry of largest magnitude in the left one is positive. The product itself, [out, in], is never formed; all arithmetic
/// is in double. Unique when the singular values differ from each other. Singular values below 2⁻²⁴ of the largest,
/// which float32 factors cannot carry, become zero, so that noise in them does not come out as its square root.
public struct CanonicalForm {
    /// `[out, k]` and `[k, in]` with k the number of singular values kept, in falling order.
    public let b: SmallMatrix
    public let a: SmallMatrix
    public let sigma: [Double]

    private static let threshold = 0x1p-24

    /// Of one group of a module. Throws `.internalError` when LAPACK fails.
    init(_ factors: Adapter.Factors, module: ModuleShape) throws(LoragenError) {
        try self.init(b: factors.b, aTransposed: factors.aTransposed, module: module)
    }

    /// Of factors `[out, r]` and `[in, r]`.
    public init(b: SmallMatrix, aTransposed: SmallMatrix, module: ModuleShape) throws(LoragenError) {
        let bytes = 8.0 * Double(b.values.count + aTransposed.values.count)
        // Both again as Q, R and the product, and LAPACK's room.
        if bytes >= 0x1p20 { try Memory.require(6 * bytes, for: "the canonical form of module '\(module.name)'") }
        let right = try aTransposed.qr()
        let left = try b.qr()
        var core = left.r.times(right.r, transposeOther: true)
        let scale = module.scale
        for i in core.values.indices { core.values[i] *= scale }
        let (u, sigma, vt) = try core.svd()
        let largest = sigma.first ?? 0
        guard largest.isFinite else {
            throw LoragenError(.nonFinite, "module '\(module.name)': the product of its factors is not finite")
        }
        let kept = largest > 0 ? sigma.prefix { $0 > largest * Self.threshold } : []
        var newB = left.q.times(u.leadingColumns(kept.count))
        var a = vt.leadingRows(kept.count).times(right.q, transposeOther: true)
        for (j, value) in kept.enumerated() {
            var top = 0.0
            for i in 0..<newB.rows where abs(newB[i, j]) > abs(top) { top = newB[i, j] }
            let factor = (top < 0 ? -1 : 1) * value.squareRoot()
            for i in 0..<newB.rows { newB[i, j] *= factor }
            for i in 0..<a.columns { a[j, i] *= factor }
        }
        self.a = a
        self.b = newB
        self.sigma = Array(kept)
    }

    /// `‖ΔW‖²` beyond the first `rank` singular values.
    public func energy(beyond rank: Int) -> Double { sigma.dropFirst(rank).reduce(0) { $0 + $1 * $1 } }

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
    public func leadingColumns(_ count: Int) -> SmallMatrix {
        var result = SmallMatrix(rows: rows, columns: count)
        result.values.replaceSubrange(result.values.indices, with: values[..<(rows * count)])
        return result
    }

    public func leadingRows(_ count: Int) -> SmallMatrix {
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
                var (total, beyond) = (0.0, 0.0)
                let rank = ranks[i] / module.groups
                for group in 0..<module.groups {
                    let form = try CanonicalForm(factors(of: i, group: group), module: module)
                    total += form.energy(beyond: 0)
                    beyond += form.energy(beyond: rank)
                    form.store(
                        rank: rank, a: target.range(.a, of: i, group: group, in: values),
                        b: target.range(.b, of: i, group: group, in: values))
                }
                lost[i] = total == 0 ? 0 : beyond / total
                copyMagnitude(of: i, to: target, in: values)
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
                for group in 0..<module.groups {
                    let own = start.factors(of: i, group: group)
                    let other = reference.factors(of: i, group: group)
                    var core = own.b.times(other.b, transposeSelf: true)
                    let second = own.aTransposed.times(other.aTransposed, transposeSelf: true)
                    for k in core.values.indices { core.values[k] += second.values[k] }
                    let (u, _, vt) = try core.svd()
                    let q = u.times(vt)
                    let turnedA = own.aTransposed.times(q)
                    let turnedB = own.b.times(q)
                    let a = layout.range(.a, of: i, group: group, in: values)
                    let b = layout.range(.b, of: i, group: group, in: values)
                    for k in turnedA.values.indices { a[k] = Float(turnedA.values[k]) }
                    for row in 0..<turnedB.rows {
                        for column in 0..<turnedB.columns {
                            b[row * turnedB.columns + column] = Float(turnedB[row, column])
                        }
                    }
                }
                start.copyMagnitude(of: i, to: layout, in: values)
            }
        }
    }
}
