import Adapters
import Tensor

/// Turns adapters into vectors and back: which of the factors that have the same product stands for an adapter.
public struct AdapterCodec: Sendable {
    public enum Factors: String, CaseIterable, Sendable {
        /// `A` and `B` as they were trained. Comparable when all runs share their initialisation and data order.
        case raw
        /// `U√Σ` and `√ΣVᵀ` of the product: unique, but jumps where singular values cross or a sign flips.
        case canonical
        /// The canonical factors, turned by the rotation that brings them nearest to one training adapter's: unique, and
        /// smooth in the product.
        case aligned
    }

    public let factors: Factors
    /// Of the vectors, and of the adapters that `decode` gives; alpha = rank unless the factors are raw.
    public let layout: Layout
    /// What `aligned` turns to.
    public let reference: Adapter?

    /// - Parameter adapters: training adapters; the first is what `aligned` turns to.
    public init(factors: Factors, corpusLayout: Layout, adapters: any AdapterModules) throws(LoragenError) {
        self.factors = factors
        switch factors {
        case .raw:
            layout = corpusLayout
            self.reference = nil
        case .canonical, .aligned:
            layout = try corpusLayout.withRanks(corpusLayout.modules.map(\.rank))
            let target = layout
            guard factors == .aligned else {
                reference = nil
                return
            }
            reference = try Adapter(layout: target) { (values) throws(LoragenError) in
                for index in target.modules.indices {
                    let module = try adapters.module(index, of: 0).canonical()
                    _ = UnsafeMutableBufferPointer(rebasing: values[target.values(of: index)])
                        .update(fromContentsOf: module.values)
                    withExtendedLifetime(module) {}
                }
            }
        }
    }

    /// Of a file. Throws `.mismatch` for what `init(factors:corpusLayout:adapters:)` would not have made.
    public init(factors: Factors, layout: Layout, reference: Adapter?) throws(LoragenError) {
        if factors != .raw, let odd = layout.modules.first(where: { $0.scale != 1 }) {
            throw LoragenError(
                .mismatch, "module '\(odd.name)' has the scale \(odd.scale); \(factors.rawValue) factors have 1")
        }
        if factors == .aligned {
            guard let reference else { throw LoragenError(.mismatch, "aligned factors without a reference") }
            if let difference = reference.layout.difference(from: layout) {
                throw LoragenError(.mismatch, "the reference of aligned factors: \(difference)")
            }
        }
        self.factors = factors
        self.layout = layout
        self.reference = reference
    }

    /// The factors of one module, an adapter of its own, that stand for it.
    public func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> Adapter {
        switch factors {
        case .raw: return adapter
        case .canonical: return try adapter.canonical()
        case .aligned:
            guard let reference else { throw LoragenError(.internalError, "aligned factors without a reference") }
            return try adapter.aligned(to: reference.module(module))
        }
    }
}
