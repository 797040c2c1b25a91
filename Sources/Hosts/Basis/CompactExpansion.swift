import Adapters
import Files
import Formats
import Tensor

/// Compact adapters as ordinary ones, on the unchanged base model.
public struct CompactExpansion: Sendable {
    private let compact: CompactAdapter
    private let basis: Basis
    /// Of each module of the adapter, the place in the basis.
    private let places: [Int]
    /// Of the ordinary adapter; alpha = rank.
    public let layout: Layout

    /// `basis` may have more modules and higher ranks than the adapter. Throws `.mismatch` when the adapter belongs to
    /// another base model, or its directions are not those of the basis.
    public init(_ compact: CompactAdapter, basis: Basis) throws(LoragenError) {
        func other(_ what: String) -> LoragenError {
            LoragenError(.mismatch, "\(basis.path): \(what)")
        }
        if compact.method != basis.method {
            throw other("a basis of \(basis.method.rawValue), and the adapter is \(compact.method.rawValue)")
        }
        var places: [Int] = []
        for module in compact.modules {
            guard let place = basis.module(module.shape.name) else {
                throw other("it has no module '\(module.shape.name)', which the adapter has")
            }
            let shape = basis.layout.modules[place]
            if let difference = module.shape.difference(from: shape) { throw other("for the adapter, \(difference)") }
            if shape.rank < module.shape.rank {
                throw other(
                    "module '\(shape.name)' has \(shape.rank) directions, and the adapter \(module.shape.rank); make a basis "
                        + "of that rank")
            }
            if basis.modules[place].fingerprint != module.source.fingerprint {
                throw other(
                    "module '\(shape.name)' is of another base model than the adapter's: fingerprint "
                        + "\(basis.modules[place].fingerprint), not \(module.source.fingerprint)"
                        + (compact.layout.baseModel.map { ". The adapter's is '\(shortened($0))'" } ?? ""))
            }
            places.append(place)
        }
        (self.compact, self.basis, self.places) = (compact, basis, places)
        layout = try compact.layout.withRanks(compact.modules.map(\.shape.rank))
    }

    /// One module as an adapter of its own: `B = left·sign(δ)·g`, `A = g·right`, both sides of a direction of one length, so
    /// that half precision neither over- nor underflows.
    public func module(_ index: Int) throws(LoragenError) -> Adapter {
        let module = compact.modules[index]
        let factors = try basis.factors(of: places[index]).prefix(module.shape.rank)
        try checkSignature(factors, module)
        let (rank, columns, outputs) = (module.shape.rank, module.shape.columns, module.shape.outputs)
        let lengths = factors.lengths
        var (forB, forA) = ([Double](repeating: 0, count: rank), [Double](repeating: 0, count: rank))
        for i in 0..<rank where module.delta[i] != 0 {
            let delta = Double(module.delta[i])
            let g = (abs(delta) * lengths.left[i] * lengths.right[i]).squareRoot()
            (forB[i], forA[i]) = ((delta < 0 ? -g : g) / lengths.left[i], g / lengths.right[i])
        }
        return try Adapter(layout: layout.only(index)) { target in
            guard let a = target.baseAddress else { return }
            let b = a + rank * columns
            for i in 0..<rank {
                for j in 0..<columns { a[i * columns + j] = Float(Double(factors.right[i * columns + j]) * forA[i]) }
            }
            for j in 0..<outputs {
                for i in 0..<rank { b[j * rank + i] = Float(Double(factors.left[j * rank + i]) * forB[i]) }
            }
        }
    }

    private func checkSignature(_ factors: BasisFactors, _ module: CompactAdapter.Module) throws(LoragenError) {
        let own = factors.signature
        func norm(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
        let distance = norm(zip(own, module.signature).map { Double($0) - Double($1) })
        // A basis that is stored in 16 bits is another within their rounding.
        let tolerance = (basis.type == .bf16 ? 1e-2 : 1e-3) * max(norm(own.map(Double.init)), 1e-30)
        if !(distance <= tolerance) {
            throw LoragenError(
                .mismatch,
                "\(basis.path): the directions of module '\(module.shape.name)' are not those of the adapter, though the "
                    + "weight is the same (signatures differ by \(distance), \(tolerance) allowed): they were computed anew, "
                    + "and rounding or another rank gave others. Use the basis file that the adapter was made with")
        }
    }

    /// All of it in memory. Throws `.memory`.
    public func adapter() throws(LoragenError) -> Adapter {
        try Adapter(layout: layout, metadata: compact.metadata) { (target) throws(LoragenError) in
            for index in layout.modules.indices {
                let part = try module(index)
                let place = layout.values(of: index)
                _ = UnsafeMutableBufferPointer(rebasing: target[place]).update(fromContentsOf: part.values)
                withExtendedLifetime(part) {}
            }
        }
    }

    /// Writes it, a module at a time where the format allows that.
    public func write(
        to path: String, format: AdapterFormat, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        var options = options
        options.sources.add(basis.path)
        guard AdapterStream.takes(layout, format, options: options) else {
            return try adapter().write(to: path, format: format, options: options)
        }
        var next = 0
        try AdapterStream(layout: layout, options: options).write(to: path, format: format) {
            compact.metadata
        } modules: { () throws(LoragenError) in
            let part = try module(next)
            next += 1
            return part
        }
    }
}

extension BasisFactors {
    /// Of the columns of `left` and the rows of `right`.
    var lengths: (left: [Double], right: [Double]) {
        var left = [Double](repeating: 0, count: shape.rank)
        var right = left
        for (i, value) in self.left.enumerated() { left[i % shape.rank] += Double(value) * Double(value) }
        for (i, value) in self.right.enumerated() { right[i / shape.columns] += Double(value) * Double(value) }
        return (left.map { max($0.squareRoot(), 1e-30) }, right.map { max($0.squareRoot(), 1e-30) })
    }
}
