import Adapters
import Files
import Formats
import Tensor

/// An adapter of one number per direction of a base model's own weights: `W' = W + left · diag(δ) · right`, with directions
/// that a basis has and all adapters of the base share.
public struct CompactAdapter: Sendable {
    /// One module of it.
    public struct Module: Sendable {
        /// Of this rank, alpha = rank.
        public let shape: ModuleShape
        /// `[rank]`: what is added along each direction.
        public let delta: [Float]
        /// `[rank]`: what the base's weight has there. SVFit: singular values; LoLDU: pivots.
        public let sigma: [Float]
        /// LoLDU: the rows of the pivots.
        public let pivots: [Int32]
        /// See `BasisFactors.signature`.
        public let signature: [Float]
        let source: BasisModule
    }

    public let method: BasisMethod
    public let layout: Layout
    /// In the order of the layout.
    public let modules: [Module]
    /// What is known of its origin.
    public let metadata: [String: String]

    /// Numbers in all: the sum of the ranks.
    public var count: Int { modules.reduce(0) { $0 + $1.delta.count } }

    /// All numbers, module by module.
    public var deltas: [Float] { modules.flatMap(\.delta) }

    /// Of `BasisModule` alone: names and ranks of the directions that `delta` belongs to.
    init(
        method: BasisMethod, layout: Layout, modules: [Module], metadata: [String: String], source: String
    ) throws(LoragenError) {
        for module in modules {
            if let bad = module.delta.firstIndex(where: { !$0.isFinite }) {
                throw LoragenError(
                    .nonFinite,
                    "\(source): module '\(module.shape.name)': delta[\(bad)] is \(module.delta[bad]); expected a finite number"
                )
            }
            guard module.delta.count == module.shape.rank, module.sigma.count == module.shape.rank else {
                throw LoragenError(
                    .format,
                    "\(source): module '\(module.shape.name)' has \(module.delta.count) deltas at rank "
                        + "\(module.shape.rank)")
            }
            try BasisFactors.check(
                sigma: module.sigma, pivots: module.pivots, shape: module.shape, method: method, source: source)
            if module.signature.count != 8 || !module.signature.allSatisfy(\.isFinite) {
                throw LoragenError(
                    .format, "\(source): module '\(module.shape.name)': its signature is not 8 finite numbers")
            }
        }
        (self.method, self.layout, self.modules, self.metadata) = (method, layout, modules, metadata)
    }

    /// The adapter of these numbers, module by module in the basis' order and at its ranks, or at one smaller rank.
    /// Throws `.invalidArgument` for another count.
    public init(
        basis: Basis, deltas: [Float], rank: Int? = nil, metadata: [String: String] = [:]
    ) throws(LoragenError) {
        let ranks = basis.layout.modules.map { min(rank ?? $0.rank, $0.rank) }
        let total = ranks.reduce(0, +)
        if deltas.count != total {
            throw LoragenError(
                .invalidArgument,
                "\(deltas.count) numbers for a basis of \(basis.layout.modules.count) modules with \(total) directions in all"
            )
        }
        var modules: [Module] = []
        var start = 0
        for (index, rank) in ranks.enumerated() {
            let factors = try basis.factors(of: index).prefix(rank)
            modules.append(
                Module(
                    shape: factors.shape, delta: Array(deltas[start..<(start + rank)]), sigma: factors.sigma,
                    pivots: factors.pivots, signature: factors.signature, source: basis.modules[index]))
            start += rank
        }
        try self.init(
            method: basis.method, layout: basis.layout.withRanks(ranks), modules: modules, metadata: metadata,
            source: "the compact adapter")
    }

    /// The same directions with other numbers, module by module.
    public func with(deltas: [Float], metadata: [String: String]? = nil) throws(LoragenError) -> CompactAdapter {
        if deltas.count != count {
            throw LoragenError(.invalidArgument, "\(deltas.count) numbers for \(count) directions")
        }
        var start = 0
        let changed = modules.map { module in
            defer { start += module.delta.count }
            return Module(
                shape: module.shape, delta: Array(deltas[start..<(start + module.delta.count)]), sigma: module.sigma,
                pivots: module.pivots, signature: module.signature, source: module.source)
        }
        return try CompactAdapter(
            method: method, layout: layout, modules: changed, metadata: metadata ?? self.metadata,
            source: "the compact adapter")
    }

    /// Whether both are numbers for the same directions; `nil`, or in what they differ.
    public func difference(from other: CompactAdapter) -> String? {
        if method != other.method { return "it is \(method.rawValue), not \(other.method.rawValue)" }
        if let difference = layout.difference(from: other.layout) { return difference }
        for (a, b) in zip(modules, other.modules) where a.source.fingerprint != b.source.fingerprint {
            return "module '\(a.shape.name)' belongs to another base model: fingerprint \(a.source.fingerprint), not "
                + b.source.fingerprint
        }
        return nil
    }

    /// The largest `|δ_i| / σ_i` of a module.
    public func relativeChange(ofModule index: Int) -> Double {
        zip(modules[index].delta, modules[index].sigma).reduce(0) { largest, pair in
            let (delta, sigma) = (Double(abs(pair.0)), Double(abs(pair.1)))
            return max(largest, delta == 0 ? 0 : delta / sigma)
        }
    }

    /// With each `|δ_i|` at most `limit · |σ_i|`: a trust region for numbers that were generated.
    public func limited(to limit: Double) throws(LoragenError) -> CompactAdapter {
        if !limit.isFinite || limit <= 0 {
            throw LoragenError(.invalidArgument, "a relative change of at most \(limit); expected a number above 0")
        }
        let deltas = modules.flatMap { module in
            zip(module.delta, module.sigma).map { delta, sigma in
                let most = Float(limit * Double(abs(sigma)))
                return min(max(delta, -most), most)
            }
        }
        return try with(deltas: deltas)
    }
}
