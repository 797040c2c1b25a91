import Adapters

/// Distances between adapters as updates of the base model: `Σ_modules ‖s·B·A − s'·B'·A'‖²`, the same for all factors
/// that have the same product. Products are never formed: `⟨BA, B'A'⟩ = tr((BᵀB')(A'Aᵀ))` needs r×r matrices only.
enum ProductDistance {
    /// The squared distance between two vectors of one layout.
    static func squared(
        _ x: UnsafeBufferPointer<Float>, _ y: UnsafeBufferPointer<Float>, layout: Layout
    ) -> Double {
        var total = 0.0
        for (i, module) in layout.modules.enumerated() {
            let a = layout.tensors[2 * i].range
            let b = layout.tensors[2 * i + 1].range
            let xa = UnsafeBufferPointer(rebasing: x[a])
            let xb = UnsafeBufferPointer(rebasing: x[b])
            let ya = UnsafeBufferPointer(rebasing: y[a])
            let yb = UnsafeBufferPointer(rebasing: y[b])
            let inner =
                product(xa, xb, xa, xb, module) + product(ya, yb, ya, yb, module) - 2 * product(xa, xb, ya, yb, module)
            total += module.scale * module.scale * max(0, inner)
        }
        return total
    }

    /// `⟨B·A, B'·A'⟩` with `A [r, in]` and `B [out, r]`.
    private static func product(
        _ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>, _ otherA: UnsafeBufferPointer<Float>,
        _ otherB: UnsafeBufferPointer<Float>, _ module: ModuleShape
    ) -> Double {
        let r = module.rank
        var sum = 0.0
        withUnsafeTemporaryAllocation(of: Double.self, capacity: r * r) { gram in
            gram.initialize(repeating: 0)
            for o in 0..<module.outputs {
                for i in 0..<r {
                    let left = Double(b[o * r + i])
                    for j in 0..<r { gram[i * r + j] += left * Double(otherB[o * r + j]) }
                }
            }
            for i in 0..<r {
                for j in 0..<r {
                    var dot = 0.0
                    for k in 0..<module.inputs {
                        dot += Double(a[i * module.inputs + k]) * Double(otherA[j * module.inputs + k])
                    }
                    sum += gram[i * r + j] * dot
                }
            }
        }
        return sum
    }
}
