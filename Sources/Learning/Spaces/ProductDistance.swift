import Adapters

/// The squared distance of two adapters as updates of the base model, `Σ_modules ‖s·B·A − s'·B'·A'‖²`: the same for all
/// factors that have the same product. Products are never formed. Both have the same modules, at any ranks. The
/// magnitudes of DoRA, whose update depends on the base model's weights, count by their own squared distance.
func productDistance(_ x: Adapter, _ y: Adapter) -> Double {
    var total = 0.0
    for i in x.layout.modules.indices {
        total += max(0, x.inner(i, x, i) + y.inner(i, y, i) - 2 * x.inner(i, y, i))
        guard let p = x.layout.parts[i].magnitude, let q = y.layout.parts[i].magnitude else { continue }
        for (a, b) in zip(x.tensor(at: p).values, y.tensor(at: q).values) {
            total += (Double(a) - Double(b)) * (Double(a) - Double(b))
        }
    }
    return total
}
