import Adapters
import Tensor

/// Turns adapters into vectors and back: which of the factors that have the same product stands for an adapter.
struct AdapterCodec: Sendable {
    enum Factors: String, CaseIterable {
        /// `A` and `B` as they were trained. Comparable when all runs share their initialisation and data order.
        case raw
        /// `U√Σ` and `√ΣVᵀ` of the product: unique, but jumps where singular values cross or a sign flips.
        case canonical
        /// The canonical factors, turned by the rotation that brings them nearest to one training adapter's: unique, and
        /// smooth in the product.
        case aligned
    }

    let factors: Factors
    /// Of the vectors, and of the adapters that `decode` gives; alpha = rank unless the factors are raw.
    let layout: Layout
    /// What `aligned` turns to.
    let reference: Adapter?

    /// - Parameter reference: any training adapter; used by `aligned` alone.
    init(factors: Factors, corpusLayout: Layout, reference: Adapter) throws(LoragenError) {
        self.factors = factors
        switch factors {
        case .raw:
            layout = corpusLayout
            self.reference = nil
        case .canonical, .aligned:
            layout = try corpusLayout.withRanks(corpusLayout.modules.map(\.rank))
            self.reference = factors == .aligned ? try reference.canonical() : nil
        }
    }

    init(factors: Factors, layout: Layout, reference: Adapter?) {
        self.factors = factors
        self.layout = layout
        self.reference = reference
    }

    func encode(_ adapter: Adapter) throws(LoragenError) -> Adapter {
        switch factors {
        case .raw: return adapter
        case .canonical: return try adapter.canonical()
        case .aligned:
            guard let reference else { throw LoragenError(.internalError, "aligned factors without a reference") }
            return try adapter.aligned(to: reference)
        }
    }
}
