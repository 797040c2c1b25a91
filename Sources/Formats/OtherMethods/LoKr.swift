import Adapters
import Files
import Tensor

/// LoKr (arXiv 2212.10650): `ΔW = s·(W₁ ⊗ W₂)`, each whole or a product of rank r. The SVD of a Kronecker product is the
/// Kronecker product of the SVDs, so the best LoRA of any rank is known without forming it: the largest products of singular
/// values.
enum LoKr {
    static func modules(_ file: SafetensorsFile, _ config: ProductConfig) throws(LoragenError) -> [ProductModule] {
        let names = ["lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"]
        let tensors = try ProductTensors(file, names)
        var modules: [ProductModule] = []
        for (name, parts) in tensors.modules {
            let first = try factor(tensors, name, "lokr_w1", parts)
            let second = try factor(tensors, name, "lokr_w2", parts)
            let scale = try config.scale(of: name)
            let (outputs, columns) = (
                first.b.rows.multipliedReportingOverflow(by: second.b.rows),
                first.a.rows.multipliedReportingOverflow(by: second.a.rows)
            )
            if outputs.overflow || columns.overflow {
                throw tensors.mismatch(name, "factors whose product is too large")
            }
            let shape = try ModuleShape(
                name: name, kind: second.kernel.isEmpty ? .linear : .convolution,
                inputs: columns.partialValue / second.kernel.reduce(1, *), outputs: outputs.partialValue,
                kernel: second.kernel, rank: 1, alpha: 1)
            try config.check(shape)
            modules.append(
                ProductModule(shape: shape) { (limit) throws(LoragenError) in
                    try product(first, second, scale: scale, shape, limit)
                })
        }
        return modules
    }

    /// A factor as `b [rows, r] · aᵀ`, a `[columns, r]`: whole ones with a unit matrix.
    private typealias Factor = (b: SmallMatrix, a: SmallMatrix, kernel: [Int])

    private static func factor(
        _ tensors: ProductTensors, _ name: String, _ part: String, _ parts: [String: SafetensorsTensor]
    ) throws(LoragenError) -> Factor {
        if let whole = parts[part] {
            let w = try tensors.matrix(whole, name, dimensions: 2...5)
            let kernel = part == "lokr_w2" ? Array(whole.shape[2...]) : []
            // The shorter side becomes the rank.
            if w.rows <= w.columns { return (.identity(w.rows), w.transposed(), kernel) }
            return (w, .identity(w.columns), kernel)
        }
        let right = try tensors.matrix(parts[part + "_b"], "\(name).\(part)_b")
        let left = try tensors.matrix(parts[part + "_a"], "\(name).\(part)_a")
        if part == "lokr_w2", let core = parts["lokr_t2"] {
            let (columns, kernel) = try TuckerCore.columns(tensors, name, core, right)
            if left.rows != columns.columns { throw tensors.mismatch(name, "factors of other ranks than its core") }
            return (left.transposed(), columns, kernel)
        }
        if left.columns != right.rows {
            throw tensors.mismatch(name, "factors of ranks \(left.columns) and \(right.rows)")
        }
        return (left, right.transposed(), [])
    }

    private static func product(
        _ first: Factor, _ second: Factor, scale: Double, _ shape: ModuleShape, _ limit: Int?
    ) throws(LoragenError) -> ProductModule.Factors {
        let (x, y) = (
            try CanonicalForm(b: first.b, aTransposed: first.a, module: shape),
            try CanonicalForm(b: second.b, aTransposed: second.a, module: shape)
        )
        var pairs: [(sigma: Double, i: Int, j: Int)] = []
        for (i, s) in x.sigma.enumerated() {
            for (j, t) in y.sigma.enumerated() { pairs.append((s * t, i, j)) }
        }
        pairs.sort { $0.sigma == $1.sigma ? ($0.i, $0.j) < ($1.i, $1.j) : $0.sigma > $1.sigma }
        let energy = scale * scale * pairs.reduce(0) { $0 + $1.sigma * $1.sigma }
        let kept = pairs.prefix(limit ?? pairs.count)
        if kept.count > ModuleShape.rankLimit {
            throw LoragenError(
                .unsupported,
                "module '\(shape.name)' has rank \(kept.count) as LoRA, more than \(ModuleShape.rankLimit); give a rank"
            )
        }
        let (outputs, columns) = (shape.outputs, shape.columns)
        try Memory.require(
            2 * max(1, kept.count) * (outputs + columns), of: Double.self, for: "LoKr's module '\(shape.name)' as LoRA")
        var (b, a) = (
            SmallMatrix(rows: outputs, columns: max(1, kept.count)),
            SmallMatrix(rows: columns, columns: max(1, kept.count))
        )
        // `CanonicalForm`'s factors carry the roots of the singular values; the sign of the scale goes to b.
        let root = abs(scale).squareRoot()
        for (k, pair) in kept.enumerated() {
            for p in 0..<x.b.rows {
                for q in 0..<y.b.rows {
                    b[p * y.b.rows + q, k] = (scale < 0 ? -root : root) * x.b[p, pair.i] * y.b[q, pair.j]
                }
            }
            for p in 0..<x.a.columns {
                for q in 0..<y.a.columns { a[p * y.a.columns + q, k] = root * x.a[pair.i, p] * y.a[pair.j, q] }
            }
        }
        let lost = scale * scale * pairs.dropFirst(kept.count).reduce(0) { $0 + $1.sigma * $1.sigma }
        return ProductModule.Factors(b: b, a: a, energy: energy, lost: lost)
    }
}

extension SmallMatrix {
    fileprivate static func identity(_ size: Int) -> SmallMatrix {
        var result = SmallMatrix(rows: size, columns: size)
        for i in 0..<size { result[i, i] = 1 }
        return result
    }
}
