import Files
import Tensor

/// Two adapters side by side, as updates `ΔW = s·B·A` of the base model: the same for all factors that have the same
/// product. A module that one of them lacks counts as a zero update there. Products are never formed. The magnitudes of
/// DoRA, which change the base model's weights in another way, are left out.
public struct Comparison: Sendable {
    /// One module of both.
    public struct Module: Sendable {
        public let name: String
        /// Cosine of the angle between the updates; `nil` when one of them is zero.
        public let similarity: Double?
        /// `‖ΔW − ΔW'‖`.
        public let distance: Double
        public let spectra: (Spectrum, Spectrum)
        /// Principal angles between what both write (column spaces) and what both read (row spaces), in radians, rising.
        public let leftAngles: [Double]
        public let rightAngles: [Double]
        /// Mean squared cosine of those angles, 0 to 1.
        public let leftOverlap: Double
        public let rightOverlap: Double
    }

    public let modules: [Module]
    /// Cosine over all modules; `nil` when one adapter is zero.
    public let similarity: Double?
    /// `√Σ‖ΔW − ΔW'‖²`.
    public let distance: Double
    /// `√Σ‖ΔW‖²` of each.
    public let norms: (Double, Double)
    /// The base models that the adapters name.
    public let baseModels: (String?, String?)

    /// Throws `.mismatch` when a module has other sizes in both or when they have no module in common, and `.nonFinite`.
    public init(_ x: Adapter, _ y: Adapter) throws(LoragenError) {
        try x.checkFinite(source: "the first adapter")
        try y.checkFinite(source: "the second adapter")
        let places = try ModulePairs(x.layout, y.layout)
        var modules: [Module] = []
        var (dot, squares, distance) = (0.0, (0.0, 0.0), 0.0)
        for (i, j) in places.pairs {
            guard let shape = i.map({ x.layout.modules[$0] }) ?? j.map({ y.layout.modules[$0] }) else { continue }
            let zero = CanonicalForm.zero(of: shape)
            let first = try i.map { (i) throws(LoragenError) in try x.canonicalForm(ofModule: i) } ?? zero
            let second = try j.map { (j) throws(LoragenError) in try y.canonicalForm(ofModule: j) } ?? zero
            let module = try Module(shape.name, first, second)
            modules.append(module)
            dot += first.inner(second)
            squares.0 += module.spectra.0.norm * module.spectra.0.norm
            squares.1 += module.spectra.1.norm * module.spectra.1.norm
            distance += module.distance * module.distance
        }
        self.modules = modules
        norms = (squares.0.squareRoot(), squares.1.squareRoot())
        similarity = cosine(dot, norms.0, norms.1)
        self.distance = distance.squareRoot()
        baseModels = (x.layout.baseModel, y.layout.baseModel)
    }

    /// All of it, as `loragen compare --json` prints it.
    public var json: JSON {
        func both(_ x: Double, _ y: Double) -> JSON { [.number(x), .number(y)] }
        return [
            "similarity": similarity.map { .number($0) } ?? .null, "distance": .number(distance),
            "norms": both(norms.0, norms.1),
            "base_models": [baseModels.0, baseModels.1].json,
            "modules": .array(
                modules.map { module in
                    [
                        "name": .string(module.name), "similarity": module.similarity.map { .number($0) } ?? .null,
                        "distance": .number(module.distance),
                        "left_angles": JSON(module.leftAngles), "right_angles": JSON(module.rightAngles),
                        "left_overlap": .number(module.leftOverlap), "right_overlap": .number(module.rightOverlap),
                        "spectra": [module.spectra.0.json, module.spectra.1.json],
                    ]
                }),
        ]
    }
}

extension Comparison.Module {
    fileprivate init(_ name: String, _ x: CanonicalForm, _ y: CanonicalForm) throws(LoragenError) {
        self.name = name
        spectra = (Spectrum(x.sigma), Spectrum(y.sigma))
        similarity = cosine(x.inner(y), spectra.0.norm, spectra.1.norm)
        distance = try x.distance(y)
        let left = try SubspaceAngles(x.leftBasis, y.leftBasis)
        let right = try SubspaceAngles(x.rightBasis, y.rightBasis)
        (leftAngles, leftOverlap) = (left.angles, left.overlap)
        (rightAngles, rightOverlap) = (right.angles, right.overlap)
    }
}

/// Two adapters in three numbers: what a search over many adapters needs.
public struct Similarity: Sendable {
    /// Cosine over all modules; `nil` when one adapter is zero.
    public let cosine: Double?
    /// `√Σ‖ΔW − ΔW'‖²`, to about 10⁻⁸ of the norms; `Comparison` is exact for near copies too.
    public let distance: Double
    public let norms: (Double, Double)

    /// Throws as `Comparison`.
    public init(_ x: Adapter, _ y: Adapter) throws(LoragenError) {
        try x.checkFinite(source: "the first adapter")
        try y.checkFinite(source: "the second adapter")
        var (dot, first, second) = (0.0, 0.0, 0.0)
        for (i, j) in try ModulePairs(x.layout, y.layout).pairs {
            if let i, let j { dot += x.inner(i, y, j) }
            if let i { first += x.inner(i, x, i) }
            if let j { second += y.inner(j, y, j) }
        }
        norms = (max(0, first).squareRoot(), max(0, second).squareRoot())
        cosine = Adapters.cosine(dot, norms.0, norms.1)
        distance = max(0, first + second - 2 * dot).squareRoot()
    }
}

extension [String?] {
    fileprivate var json: JSON { .array(map { text in text.map { .string($0) } ?? .null }) }
}

/// `dot / (x y)`, kept in [−1, 1]; `nil` when a norm is zero.
func cosine(_ dot: Double, _ x: Double, _ y: Double) -> Double? {
    x > 0 && y > 0 ? max(-1, min(1, dot / x / y)) : nil
}

/// Which module of one layout is which of another, by name.
struct ModulePairs {
    let pairs: [(Int?, Int?)]

    /// Throws `.mismatch` when a module has other sizes in both, or when there is none in common.
    init(_ x: Layout, _ y: Layout) throws(LoragenError) {
        var places: [ByteKey: Int] = [:]
        for (j, module) in y.modules.enumerated() { places[ByteKey(module.name)] = j }
        var pairs: [(Int?, Int?)] = []
        var common = 0
        for (i, module) in x.modules.enumerated() {
            let place = places.removeValue(forKey: ByteKey(module.name))
            if let place {
                let other = y.modules[place]
                if module.columns != other.columns || module.outputs != other.outputs || module.groups != other.groups {
                    throw LoragenError(
                        .mismatch,
                        "module '\(module.name)' is [\(module.outputs), \(module.columns)] in one adapter and "
                            + "[\(other.outputs), \(other.columns)] in the other; are they for the same base model?")
                }
                common += 1
            }
            pairs.append((i, place))
        }
        if common == 0 {
            throw LoragenError(
                .mismatch,
                "the adapters have no module in common: one starts with '\(x.modules.first?.name ?? "")', the other with "
                    + "'\(y.modules.first?.name ?? "")'; are they for the same base model?")
        }
        for (j, module) in y.modules.enumerated() where places[ByteKey(module.name)] != nil { pairs.append((nil, j)) }
        self.pairs = pairs
    }
}

extension CanonicalForm {
    /// The form of a module that an adapter leaves alone.
    static func zero(of module: ModuleShape) -> CanonicalForm {
        CanonicalForm(
            b: SmallMatrix(rows: module.outputs, columns: 0), a: SmallMatrix(rows: 0, columns: module.columns),
            sigma: [])
    }

    private init(b: SmallMatrix, a: SmallMatrix, sigma: [Double]) {
        self.b = b
        self.a = a
        self.sigma = sigma
    }
}
