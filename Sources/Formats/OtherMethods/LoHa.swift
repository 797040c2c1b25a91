import Adapters
import Files
import Tensor

/// LoHa (arXiv 2108.06098): `ΔW = s·(B₁A₁)∘(B₂A₂)`, element by element. The product of two rank-r matrices has rank r² at
/// most: its factors are all products of a column of B₁ with one of B₂, and of a row of A₁ with one of A₂.
enum LoHa {
    static func modules(_ file: SafetensorsFile, _ config: ProductConfig) throws(LoragenError) -> [ProductModule] {
        let names = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"]
        let tensors = try ProductTensors(file, names)
        var modules: [ProductModule] = []
        for (name, parts) in tensors.modules {
            let first = try half(tensors, name, parts["hada_w1_a"], parts["hada_w1_b"], parts["hada_t1"])
            let second = try half(tensors, name, parts["hada_w2_a"], parts["hada_w2_b"], parts["hada_t2"])
            guard first.b.rows == second.b.rows, first.a.rows == second.a.rows, first.kernel == second.kernel else {
                throw tensors.mismatch(name, "its two halves have different sizes")
            }
            let (scale, kernel) = (try config.scale(of: name), first.kernel)
            let (outputs, columns) = (first.b.rows, first.a.rows)
            let shape = try ModuleShape(
                name: name, kind: kernel.isEmpty ? .linear : .convolution,
                inputs: columns / kernel.reduce(1, *), outputs: outputs, kernel: kernel, rank: 1, alpha: 1)
            try config.check(shape)
            modules.append(
                ProductModule(shape: shape) { (limit) throws(LoragenError) in
                    let rank = first.b.columns * second.b.columns
                    try Memory.require(
                        4 * rank * (outputs + columns), of: Double.self, for: "LoHa's module '\(name)' as LoRA")
                    var (b, a) = (SmallMatrix(rows: outputs, columns: rank), SmallMatrix(rows: columns, columns: rank))
                    for k in 0..<first.b.columns {
                        for l in 0..<second.b.columns {
                            let place = k * second.b.columns + l
                            for i in 0..<outputs { b[i, place] = scale * first.b[i, k] * second.b[i, l] }
                            for j in 0..<columns { a[j, place] = first.a[j, k] * second.a[j, l] }
                        }
                    }
                    return try ProductModule.cut(b, a, limit, shape)
                })
        }
        return modules
    }

    /// One of the two matrices as `b [out, r] · aᵀ`, a `[columns, r]`.
    private static func half(
        _ tensors: ProductTensors, _ name: String, _ left: SafetensorsTensor?, _ right: SafetensorsTensor?,
        _ core: SafetensorsTensor?
    ) throws(LoragenError) -> (b: SmallMatrix, a: SmallMatrix, kernel: [Int]) {
        let (w, v) = (try tensors.matrix(left, name + ".hada_w_a"), try tensors.matrix(right, name + ".hada_w_b"))
        guard let core else {
            if w.columns != v.rows { throw tensors.mismatch(name, "factors of ranks \(w.columns) and \(v.rows)") }
            return (w, v.transposed(), [])
        }
        let (columns, kernel) = try TuckerCore.columns(tensors, name, core, v)
        if w.rows != columns.columns { throw tensors.mismatch(name, "factors of other ranks than its core") }
        return (w.transposed(), columns, kernel)
    }
}

/// The form of convolutions with a small core: `W[p, r, k, l] = Σ_ij t[i, j, k, l]·w_a[i, p]·w_b[j, r]`.
enum TuckerCore {
    /// `Σ_j t[i, j, k, l]·w_b[j, r]` as a matrix `[r·k·l, i]`, and the kernel, without the 1 that a core of one dimension ends in.
    static func columns(
        _ tensors: ProductTensors, _ name: String, _ core: SafetensorsTensor, _ right: SmallMatrix
    ) throws(LoragenError) -> (SmallMatrix, kernel: [Int]) {
        let t = try tensors.matrix(core, name + ".t", dimensions: 4...4)
        let (outer, inner) = (core.shape[0], core.shape[1])
        let kernel = Array(core.shape[2...])
        let size = kernel.reduce(1, *)
        if inner != right.rows {
            throw tensors.mismatch(name, "a core \(core.shape) for a factor of rank \(right.rows)")
        }
        try Memory.require(
            2 * outer * right.columns * size, of: Double.self, for: "the core of module '\(shortened(name))'")
        var result = SmallMatrix(rows: right.columns * size, columns: outer)
        for i in 0..<outer {
            for j in 0..<inner {
                for place in 0..<size {
                    let value = t[i, j * size + place]
                    for r in 0..<right.columns { result[r * size + place, i] += value * right[j, r] }
                }
            }
        }
        return (result, kernel)
    }
}
