import Adapters
import Files
import Tensor

/// Adapters as their factors, flattened in the layout's order: which of the factors that have the same product stands for an
/// adapter.
public struct FactorSpace: Space {
    public static let name = "factors"

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

    public init(
        fitting adapters: any AdapterModules, _ settings: Settings, random: Random
    ) throws(LoragenError) {
        try self.init(factors: Self.factors(settings), corpusLayout: adapters.layout, adapters: adapters)
    }

    public init(reading file: TensorReader, _ settings: Settings, layout: Layout) throws(LoragenError) {
        let factors = try Self.factors(settings)
        var reference: Adapter?
        if factors == .aligned {
            let values = try file.tensor("factors.reference", [layout.valueCount])
            reference = try Adapter(layout: layout) { target in
                values.withUnsafeBufferPointer { _ = target.update(fromContentsOf: $0) }
            }
        }
        try self.init(factors: factors, layout: layout, reference: reference)
    }

    private static func factors(_ settings: Settings) throws(LoragenError) -> Factors {
        Factors(rawValue: try settings.choice("factors", Factors.allCases.map(\.rawValue))) ?? .raw
    }

    public var state: [(name: String, tensor: Tensor<Float>)] {
        guard let reference else { return [] }
        return [("factors.reference", Tensor(reference.copyValues()))]
    }

    public var tensors: [(shape: [Int], isA: Bool)] { layout.tensors.map { ($0.shape, $0.role == .a) } }
    public func range(of module: Int) -> Range<Int> { layout.values(of: module) }
    public var isStored: Bool { factors == .raw }

    public func check(_ normaliser: Normaliser.Kind) throws(LoragenError) {
        guard normaliser == .constant, let odd = layout.modules.first(where: \.hasMagnitude) else { return }
        throw LoragenError(
            .unsupported,
            "module '\(odd.name)' is DoRA, and the normaliser \"constant\" has no constant for magnitudes; choose "
                + "\"per-tensor\" or \"per-element\"")
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
    func chosen(_ adapter: Adapter, module: Int) throws(LoragenError) -> Adapter {
        switch factors {
        case .raw: return adapter
        case .canonical: return try adapter.canonical()
        case .aligned:
            guard let reference else { throw LoragenError(.internalError, "aligned factors without a reference") }
            return try adapter.aligned(to: reference.module(module))
        }
    }

    public func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
        try chosen(adapter, module: module).copyValues()
    }

    public func decode(_ values: Tensor<Float>, module: Int) throws(LoragenError) -> Adapter {
        try Adapter(layout: layout.only(module), values: values.values)
    }
}
