import Glibc
import Tensor

/// How two sets of orthonormal columns lie to each other.
struct SubspaceAngles {
    /// In radians, rising: as many as the smaller subspace has dimensions.
    let angles: [Double]

    /// Principal angles by cosines and, where those are close to 1 and lose digits, by sines (Björck and Golub 1973;
    /// Knyazev and Argentati 2002).
    init(_ x: SmallMatrix, _ y: SmallMatrix) throws(LoragenError) {
        let (large, small) = x.columns >= y.columns ? (x, y) : (y, x)
        guard small.columns > 0 else {
            angles = []
            return
        }
        let core = large.times(small, transposeSelf: true)
        let cosines = try core.svd().sigma
        var rest = large.times(core)
        for i in rest.values.indices { rest.values[i] = small.values[i] - rest.values[i] }
        let sines = try rest.svd().sigma
        // The largest cosine belongs to the smallest sine.
        angles = cosines.enumerated().map { i, cosine in
            let sine = sines[sines.count - 1 - i]
            return cosine * cosine < 0.5 ? acos(max(-1, min(1, cosine))) : asin(max(-1, min(1, sine)))
        }
    }

    /// The mean of the squared cosines: 1 when the smaller subspace lies in the larger, 0 when they are orthogonal.
    var overlap: Double {
        angles.isEmpty ? 0 : angles.reduce(0) { $0 + cos($1) * cos($1) } / Double(angles.count)
    }
}

extension CanonicalForm {
    /// Orthonormal columns that span what the update writes, `[out, k]`.
    var leftBasis: SmallMatrix {
        var basis = b
        for (j, value) in sigma.enumerated() {
            for i in 0..<basis.rows { basis[i, j] /= value.squareRoot() }
        }
        return basis
    }

    /// Orthonormal columns that span what the update reads, `[in, k]`.
    var rightBasis: SmallMatrix {
        var basis = SmallMatrix(rows: a.columns, columns: a.rows)
        for (j, value) in sigma.enumerated() {
            for i in 0..<a.columns { basis[i, j] = a[j, i] / value.squareRoot() }
        }
        return basis
    }

    /// `⟨ΔW, ΔW'⟩ = Σ_kl (B'ᵀB)_kl (A'Aᵀ)_kl`.
    func inner(_ other: CanonicalForm) -> Double {
        let left = other.b.times(b, transposeSelf: true)
        let right = other.a.times(a, transposeOther: true)
        return zip(left.values, right.values).reduce(0) { $0 + $1.0 * $1.1 }
    }

    /// `‖ΔW − ΔW'‖`, of the pair `[B, −B'] · [A; A']`: no difference of large numbers, so it is exact for neighbours too.
    func distance(_ other: CanonicalForm) throws(LoragenError) -> Double {
        if sigma.isEmpty || other.sigma.isEmpty { return Spectrum(sigma + other.sigma).norm }
        var left = SmallMatrix(rows: b.rows, columns: b.columns + other.b.columns)
        left.values = b.values + other.b.values.map { -$0 }
        var right = SmallMatrix(rows: a.columns, columns: left.columns)
        for k in 0..<a.rows {
            for i in 0..<a.columns { right[i, k] = a[k, i] }
        }
        for k in 0..<other.a.rows {
            for i in 0..<a.columns { right[i, a.rows + k] = other.a[k, i] }
        }
        let core = try left.qr().r.times(right.qr().r, transposeOther: true)
        return core.values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    }
}
