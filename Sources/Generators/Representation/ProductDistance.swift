import Adapters
import Tensor

/// The squared distance of two adapters as updates of the base model, `Σ_modules ‖s·B·A − s'·B'·A'‖²`: the same for all
/// factors that have the same product. Products are never formed: `⟨BA, B'A'⟩ = tr((BᵀB')(A'Aᵀ))` needs r×r' matrices
/// only. Both have the same modules, at any ranks. The magnitudes of DoRA, whose update depends on the base model's
/// weights, count by their own squared distance.
func productDistance(_ x: Adapter, _ y: Adapter) -> Double {
    var total = 0.0
    for i in x.layout.modules.indices {
        let distance = inner(x, x, i) + inner(y, y, i) - 2 * inner(x, y, i)
        total += max(0, distance)
        guard let p = x.layout.parts[i].magnitude, let q = y.layout.parts[i].magnitude else { continue }
        for (a, b) in zip(x.tensor(at: p).values, y.tensor(at: q).values) {
            total += (Double(a) - Double(b)) * (Double(a) - Double(b))
        }
    }
    return total
}

/// `⟨s·B·A, s'·B'·A'⟩` of one module.
private func inner(_ x: Adapter, _ y: Adapter, _ i: Int) -> Double {
    let scale = x.layout.modules[i].scale * y.layout.modules[i].scale
    return (0..<x.layout.modules[i].groups).reduce(0) { total, group in
        let (p, q) = (x.matrices(of: i, group: group), y.matrices(of: i, group: group))
        let left: Matrix = p.b.matmul(q.b, transposeA: true)
        let right: Matrix = p.a.matmul(q.a, transposeB: true)
        let dot: Matrix = left * right
        return total + Double(dot.sum().item) * scale
    }
}

/// `‖s·B·A‖²` of one module, magnitudes aside.
func squaredNorm(_ x: Adapter, module: Int) -> Double { inner(x, x, module) }
