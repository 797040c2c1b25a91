import Adapters
import Files
import Formats
import Tensor

extension CompactAdapter {
    /// SVFit: the adapter with all but the `count` largest `|δ|` of each module at zero, and the share of `‖ΔW‖²` that is lost:
    /// the best approximation of that rank, since the directions are orthonormal. Throws `.unsupported` for LoLDU, whose
    /// directions are not: expand it and cut that.
    public func truncated(to count: Int) throws(LoragenError) -> (adapter: CompactAdapter, lost: Double) {
        if method != .svfit {
            throw LoragenError(
                .unsupported,
                "the directions of LoLDU are not orthogonal, so dropping some is no approximation of the rest; expand the "
                    + "adapter with a rank, which cuts it by its singular values")
        }
        if count < 1 { throw LoragenError(.invalidArgument, "\(count) directions to keep; expected 1 or more") }
        var (kept, all) = (0.0, 0.0)
        var deltas: [Float] = []
        for module in modules {
            let order = module.delta.indices.sorted { abs(module.delta[$0]) > abs(module.delta[$1]) }
            let chosen = Set(order.prefix(count))
            for (i, delta) in module.delta.enumerated() {
                let energy = Double(delta) * Double(delta)
                all += energy
                if chosen.contains(i) { kept += energy }
                deltas.append(chosen.contains(i) ? delta : 0)
            }
        }
        return (try with(deltas: deltas), all == 0 ? 0 : (all - kept) / all)
    }
}

extension CompactExpansion {
    /// The adapter with at most `rank` in each module: SVFit's largest directions, which is exact truncation; LoLDU by QR of
    /// both factors and the SVD of the core. And the share of `‖ΔW‖²` that is lost.
    public func adapter(rank: Int) throws(LoragenError) -> RankCut {
        try adapter().recut(ranks: layout.modules.map { min(rank, $0.rank) })
    }
}
