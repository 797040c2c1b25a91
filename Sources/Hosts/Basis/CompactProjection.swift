import Adapters
import Files
import Formats
import Tensor

/// An ordinary adapter on the directions of a basis: what of it a compact adapter can have, by least squares.
public struct CompactProjection: Sendable {
    public let adapter: CompactAdapter
    /// Of each module, the share of `‖ΔW‖²` that the directions hold; 1 where the update is zero.
    public let captured: [Double]
    /// Of the whole.
    public let total: Double
    /// What an update without any relation to the directions would have: r / (out · in), over all modules.
    public let chance: Double

    /// The share below which a projection is refused unless asked for.
    public static let least = 0.5

    /// Never forms ΔW. SVFit: `δ_i = u_iᵀ·ΔW·v_i`; LoLDU: the normal equations of its correlated directions. Throws
    /// `.mismatch` when the basis lacks a module; `.unsupported` for DoRA and groups, and when less than `least` of the energy
    /// is captured.
    public init(_ lora: Adapter, basis: Basis, least: Double = CompactProjection.least) throws(LoragenError) {
        try lora.checkFinite(source: "the adapter")
        var modules: [CompactAdapter.Module] = []
        var captured: [Double] = []
        var (held, all, chanceSum) = (0.0, 0.0, 0.0)
        let norms = lora.squaredNorms()
        for (index, shape) in lora.layout.modules.enumerated() {
            if shape.hasMagnitude || shape.groups > 1 {
                throw LoragenError(
                    .unsupported,
                    "module '\(shape.name)' is \(shape.hasMagnitude ? "DoRA" : "a convolution in groups"), which "
                        + "no compact adapter can have")
            }
            guard let place = basis.module(shape.name) else {
                throw LoragenError(.mismatch, "\(basis.path): it has no module '\(shape.name)', which the adapter has")
            }
            if let difference = shape.difference(from: basis.layout.modules[place]) {
                throw LoragenError(.mismatch, "\(basis.path): for the adapter, \(difference)")
            }
            let factors = try basis.factors(of: place)
            let (delta, energy) = try Self.project(lora, index, on: factors, method: basis.method)
            modules.append(
                CompactAdapter.Module(
                    shape: factors.shape, delta: delta.map { Float($0) }, sigma: factors.sigma, pivots: factors.pivots,
                    signature: factors.signature, source: basis.modules[place]))
            captured.append(norms[index] == 0 ? 1 : min(1, energy / norms[index]))
            held += energy
            all += norms[index]
            chanceSum +=
                norms[index] * Double(factors.shape.rank)
                / (Double(shape.outputs) * Double(shape.columns))
        }
        total = all == 0 ? 1 : min(1, held / all)
        chance = all == 0 ? 0 : chanceSum / all
        self.captured = captured
        if total < least {
            throw LoragenError(
                .unsupported,
                "the directions of \(basis.path) hold \(percent(total)) of the adapter's energy ‖ΔW‖² (an update without any "
                    + "relation to them has \(percent(chance))), less than \(percent(least)): it was not trained on them, and "
                    + "projecting it would leave another adapter. Train a compact adapter natively, or lower the least share "
                    + "to look at the rest")
        }
        adapter = try CompactAdapter(
            method: basis.method,
            layout: try Layout(
                modules: modules.map(\.shape), baseModel: lora.layout.baseModel, taskType: lora.layout.taskType),
            modules: modules, metadata: lora.metadata, source: "the projection")
    }

    /// δ and the squared norm of what it makes.
    private static func project(
        _ lora: Adapter, _ index: Int, on basis: BasisFactors, method: BasisMethod
    ) throws(LoragenError) -> (delta: [Double], energy: Double) {
        let shape = basis.shape
        let factors = lora.factors(of: index, group: 0)
        defer { withExtendedLifetime(lora) {} }
        try Memory.require(
            3 * (shape.rank + factors.module.rank) * (shape.outputs + shape.columns), of: Double.self,
            for: "the projection of module '\(shape.name)'")
        func matrix(_ values: [Float], transposed: Bool, rows: Int, columns: Int) -> SmallMatrix {
            values.withUnsafeBufferPointer {
                transposed
                    ? SmallMatrix(transposeOf: $0, rows: rows, columns: columns)
                    : SmallMatrix(rowMajor: $0, rows: rows, columns: columns)
            }
        }
        let left = matrix(basis.left, transposed: false, rows: shape.outputs, columns: shape.rank)
        let right = matrix(basis.right, transposed: true, rows: shape.rank, columns: shape.columns)
        let (b, a) = (
            left.times(factors.b, transposeSelf: true), right.times(factors.aTransposed, transposeSelf: true)
        )
        let scale = factors.module.scale
        let inner = (0..<shape.rank).map { i in
            scale * (0..<factors.module.rank).reduce(0.0) { $0 + b[i, $1] * a[i, $1] }
        }
        if method == .svfit { return (inner, inner.reduce(0) { $0 + $1 * $1 }) }
        let (gramLeft, gramRight) = (left.times(left, transposeSelf: true), right.times(right, transposeSelf: true))
        var gram = SmallMatrix(rows: shape.rank, columns: shape.rank)
        let lengths = (0..<shape.rank).map { (gramLeft[$0, $0] * gramRight[$0, $0]).squareRoot() }
        for i in 0..<shape.rank {
            for j in 0..<shape.rank { gram[i, j] = gramLeft[i, j] * gramRight[i, j] / (lengths[i] * lengths[j]) }
        }
        let (values, vectors) = try gram.symmetricEigen()
        let largest = values.last ?? 0
        var delta = [Double](repeating: 0, count: shape.rank)
        var energy = 0.0
        for k in values.indices where values[k] > 1e-12 * largest {
            let part = (0..<shape.rank).reduce(0.0) { $0 + vectors[$1, k] * inner[$1] / lengths[$1] }
            energy += part * part / values[k]
            for i in 0..<shape.rank { delta[i] += vectors[i, k] * part / values[k] / lengths[i] }
        }
        return (delta, energy)
    }
}

private func percent(_ share: Double) -> String {
    let thousandths = Int(saturating: (share * 1000).rounded())
    return "\(thousandths / 10).\(abs(thousandths % 10)) %"
}
