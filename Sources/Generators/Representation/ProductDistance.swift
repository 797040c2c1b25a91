import Adapters
import Tensor

/// The squared distance of two adapters as updates of the base model, `Σ_modules ‖s·B·A − s'·B'·A'‖²`: the same for all
/// factors that have the same product. Products are never formed: `⟨BA, B'A'⟩ = tr((BᵀB')(A'Aᵀ))` needs r×r' matrices
/// only. Both have the same modules, at any ranks.
func productDistance(_ x: Adapter, _ y: Adapter) -> Double {
    var total = 0.0
    for i in x.layout.modules.indices {
        let distance = inner(x, x, i) + inner(y, y, i) - 2 * inner(x, y, i)
        total += max(0, distance)
    }
    return total
}

/// `⟨s·B·A, s'·B'·A'⟩` of one module.
private func inner(_ x: Adapter, _ y: Adapter, _ i: Int) -> Double {
    let left: Matrix = x.matrix(2 * i + 1).matmul(y.matrix(2 * i + 1), transposeA: true)
    let right: Matrix = x.matrix(2 * i).matmul(y.matrix(2 * i), transposeB: true)
    let dot: Matrix = left * right
    return Double(dot.sum().item) * x.layout.modules[i].scale * y.layout.modules[i].scale
}

/// `‖s·B·A‖²` of one module.
func squaredNorm(_ x: Adapter, module: Int) -> Double { inner(x, x, module) }
