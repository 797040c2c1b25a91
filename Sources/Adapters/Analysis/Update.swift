import Tensor

/// What an adapter adds to the weights of its base model, in canonical factors: the form in which many adapters are held
/// against each other.
public struct Update: Sendable {
    /// One module: `ΔW = scale · left · rightᵀ`, the singular values shared between both.
    public struct Module: Sendable {
        public let outputs: Int
        public let inputs: Int
        public let spectrum: Spectrum
        /// `[outputs, k]` and `[inputs, k]`, column by column, for the k singular values that are not zero.
        let left: [Float]
        let right: [Float]
        /// A power of two that keeps products of the factors in the middle of single precision.
        let scale: Double

        var columns: Int { spectrum.values.count }
    }

    /// In the order of the layout.
    public let modules: [Module]

    /// Throws `.nonFinite`.
    public init(_ adapter: Adapter) throws(LoragenError) {
        try adapter.checkFinite(source: "the adapter")
        var modules: [Module] = []
        for (i, shape) in adapter.layout.modules.enumerated() {
            let form = try adapter.canonicalForm(ofModule: i)
            // The power of two below the root of the largest singular value.
            let unit = Double(
                sign: .plus, exponent: form.sigma.first?.squareRoot().exponent ?? 0, significand: 1)
            var right = [Float](repeating: 0, count: form.a.values.count)
            for k in 0..<form.a.rows {
                for j in 0..<form.a.columns { right[k * form.a.columns + j] = Float(form.a[k, j] / unit) }
            }
            modules.append(
                Module(
                    outputs: shape.outputs, inputs: shape.columns, spectrum: Spectrum(form.sigma),
                    left: form.b.values.map { Float($0 / unit) }, right: right, scale: unit * unit))
        }
        self.modules = modules
    }

    /// `√Σ‖ΔW‖²`.
    public var norm: Double { modules.reduce(0) { $0 + $1.spectrum.norm * $1.spectrum.norm }.squareRoot() }

    /// Bytes that the factors take.
    public var byteCount: Int { modules.reduce(0) { $0 + 4 * ($1.left.count + $1.right.count) } }
}
