import Tensor

/// A linear digest of an update that keeps inner products: number d of it is `p_dᵀ ΔW q_d` with random signs in p and q,
/// over the square root of how many a module has. `⟨s, s'⟩` is the cosine in the mean, with a deviation of at most
/// `√(8/width)` (Achlioptas 2003 for vectors; twice applied, once for each side of the product).
public struct UpdateSketch: Sendable {
    public let width: Int
    private let parts: [Part]

    private struct Part {
        let width: Int
        let outputs: Int
        let inputs: Int
        /// `[outputs, width]` and `[inputs, width]`, column by column.
        let p: [Float]
        let q: [Float]
    }

    /// The signs depend on the modules alone, so that digests made at different times fit together. The width is shared
    /// between the modules, at least 8 numbers each.
    public init(modules: [Update.Module], width: Int = 8192) {
        let each = max(8, width / max(1, modules.count))
        self.width = each * modules.count
        parts = modules.enumerated().map { index, module in
            func signs(_ count: Int, side: UInt64) -> [Float] {
                let seed = UInt64(truncatingIfNeeded: index) << 33 | side << 32
                return (0..<count).map { Self.mix(seed &+ UInt64(truncatingIfNeeded: $0)) >> 63 == 0 ? 1 : -1 }
            }
            return Part(
                width: each, outputs: module.outputs, inputs: module.inputs,
                p: signs(module.outputs * each, side: 0), q: signs(module.inputs * each, side: 1))
        }
    }

    /// The digest of an update of the same modules over its norm; zeros for a zero update.
    public func digest(_ update: Update) -> [Float] {
        precondition(update.modules.count == parts.count)
        let norm = update.norm
        if norm == 0 { return [Float](repeating: 0, count: width) }
        var result: [Float] = []
        result.reserveCapacity(width)
        for (part, module) in zip(parts, update.modules) {
            let k = module.columns
            let left = transposedProduct(part.p, part.width, module.left, k, depth: part.outputs)
            let right = transposedProduct(part.q, part.width, module.right, k, depth: part.inputs)
            let factor = module.scale / norm / Double(part.width).squareRoot()
            for d in 0..<part.width {
                var sum = 0.0
                for j in 0..<k { sum += Double(left[d + j * part.width]) * Double(right[d + j * part.width]) }
                result.append(Float(sum * factor))
            }
        }
        return result
    }

    /// The finaliser of SplitMix64, which scatters consecutive numbers.
    private static func mix(_ index: UInt64) -> UInt64 {
        var z = (index &+ 1) &* 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
