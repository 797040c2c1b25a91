import Adapters
import Files
import Formats
import Tensor

/// Where the frozen directions of a compact adapter come from.
public enum BasisMethod: String, Sendable, CaseIterable {
    /// The largest singular triplets of the weight (SVFit, arXiv 2409.05926).
    case svfit
    /// Its partial LU with pivots (LoLDU, arXiv 2410.13618).
    case loldu
}

/// Frozen directions of one weight: `W' = W + left · diag(δ) · right`.
public struct BasisFactors: Sendable {
    /// Of this rank, alpha = rank.
    public let shape: ModuleShape
    /// `[outputs, rank]`, row-major. SVFit: orthonormal columns U. LoLDU: columns of P·L.
    public let left: [Float]
    /// `[rank, columns]`, row-major. SVFit: rows of Vᵀ. LoLDU: rows of U over its diagonal.
    public let right: [Float]
    /// `[rank]`: what the weight itself has along each direction, singular values or pivots.
    public let sigma: [Float]
    /// LoLDU: the row of each pivot.
    public let pivots: [Int32]

    /// Checks what every basis has, made here or read from a file. Throws `.format` naming `source`.
    init(
        shape: ModuleShape, left: [Float], right: [Float], sigma: [Float], pivots: [Int32], method: BasisMethod,
        source: String
    ) throws(LoragenError) {
        (self.shape, self.left, self.right, self.sigma, self.pivots) = (shape, left, right, sigma, pivots)
        func wrong(_ what: String) -> LoragenError {
            LoragenError(.format, "\(source): the basis of module '\(shape.name)' \(what)")
        }
        let rank = shape.rank
        guard left.count == shape.outputs * rank, right.count == rank * shape.columns, sigma.count == rank else {
            throw wrong("has other sizes than \([shape.outputs, rank, shape.columns])")
        }
        try Self.check(sigma: sigma, pivots: pivots, shape: shape, method: method, source: source)
        switch method {
        case .svfit:
            var sums = [Double](repeating: 0, count: rank)
            for (i, value) in left.enumerated() { sums[i % rank] += Double(value) * Double(value) }
            for (i, sum) in sums.enumerated() where !(abs(sum - 1) < 1e-2) {
                throw wrong("has a left vector \(i) of length \(sum.squareRoot()); expected 1")
            }
            for i in 0..<rank {
                let row = right[(i * shape.columns)..<((i + 1) * shape.columns)]
                let sum = row.reduce(0.0) { $0 + Double($1) * Double($1) }
                if !(abs(sum - 1) < 1e-2) {
                    throw wrong("has a right vector \(i) of length \(sum.squareRoot()); expected 1")
                }
            }
        case .loldu:
            for (i, row) in pivots.enumerated() {
                let (l, u) = (left[Int(row) * rank + i], right[i * shape.columns + i])
                if l != 1 || u != 1 {
                    throw wrong("has \(l) and \(u) at pivot \(i), in row \(row); expected 1 in both factors")
                }
            }
            for (name, values) in [("left", left), ("right", right)] {
                if let bad = values.firstIndex(where: { !$0.isFinite }) {
                    throw LoragenError(
                        .nonFinite, "\(source): '\(shape.name)': element \(bad) of its \(name) factor is \(values[bad])"
                    )
                }
            }
        }
    }

    /// What sigma and pivots of a basis, and of a compact adapter, have to be.
    static func check(
        sigma: [Float], pivots: [Int32], shape: ModuleShape, method: BasisMethod, source: String
    ) throws(LoragenError) {
        func wrong(_ what: String) -> LoragenError {
            LoragenError(.format, "\(source): module '\(shape.name)': \(what)")
        }
        if let bad = sigma.firstIndex(where: { !$0.isFinite }) {
            throw LoragenError(.nonFinite, "\(source): module '\(shape.name)': sigma[\(bad)] is \(sigma[bad])")
        }
        if shape.rank > min(shape.outputs, shape.columns) {
            throw wrong("rank \(shape.rank) is more than a matrix \([shape.outputs, shape.columns]) has")
        }
        switch method {
        case .svfit:
            for i in sigma.indices where sigma[i] < 0 || i > 0 && sigma[i] > sigma[i - 1] {
                throw wrong("sigma[\(i)] is \(sigma[i]); expected singular values, none below 0 and none rising")
            }
            if !pivots.isEmpty { throw wrong("it has pivots, which belong to LoLDU") }
        case .loldu:
            let largest = sigma.reduce(0) { max($0, abs($1)) }
            for (i, value) in sigma.enumerated()
            where value == 0 || Double(abs(value)) < PartialLU.smallestPivot / 2 * Double(largest) {
                throw wrong("pivot \(i) is \(value), nothing beside the largest, \(largest)")
            }
            guard pivots.count == shape.rank, Set(pivots).count == pivots.count,
                pivots.allSatisfy({ $0 >= 0 && Int($0) < shape.outputs })
            else {
                throw wrong("its \(pivots.count) pivots are not \(shape.rank) rows of \(shape.outputs), each once")
            }
        }
    }

    /// The first `rank` directions.
    func prefix(_ rank: Int) throws(LoragenError) -> BasisFactors {
        if rank == shape.rank { return self }
        return BasisFactors(prefix: rank, of: self, shape: try shape.withRank(rank))
    }

    private init(prefix rank: Int, of all: BasisFactors, shape: ModuleShape) {
        self.shape = shape
        left = (0..<(shape.outputs * rank)).map { all.left[$0 / rank * all.shape.rank + $0 % rank] }
        right = Array(all.right.prefix(rank * shape.columns))
        sigma = Array(all.sigma.prefix(rank))
        pivots = Array(all.pivots.prefix(rank))
    }

    /// The seed of the signs that signatures are made with.
    static let signatureSeed: UInt64 = 1

    /// The first four entries of `ΔW·t` and of `ΔWᵀ·t'` for δ = 1 and signs t, t' of SplitMix64 (the highest bit of each
    /// number set: −1): tells another basis of the same weight from this one.
    var signature: [Float] {
        var random = SplitMix(state: Self.signatureSeed)
        func signs(_ count: Int) -> [Double] { (0..<count).map { _ in random.next() >> 63 == 1 ? -1 : 1 } }
        let (t, s) = (signs(shape.columns), signs(shape.outputs))
        var (inner, outer) = ([Double](repeating: 0, count: shape.rank), [Double](repeating: 0, count: shape.rank))
        for i in 0..<shape.rank {
            for j in 0..<shape.columns { inner[i] += Double(right[i * shape.columns + j]) * t[j] }
        }
        for j in 0..<shape.outputs {
            for i in 0..<shape.rank { outer[i] += Double(left[j * shape.rank + i]) * s[j] }
        }
        var result = [Float](repeating: 0, count: 8)
        for k in 0..<min(4, shape.outputs) {
            result[k] = Float((0..<shape.rank).reduce(0.0) { $0 + Double(left[k * shape.rank + $1]) * inner[$1] })
        }
        for k in 0..<min(4, shape.columns) {
            result[4 + k] = Float(
                (0..<shape.rank).reduce(0.0) { $0 + outer[$1] * Double(right[$1 * shape.columns + k]) })
        }
        return result
    }
}

/// What a basis says of one of its modules.
public struct BasisModule: Equatable, Sendable {
    /// The tensor of the base's checkpoint that it was made of.
    public let tensor: String
    /// SHA-256 of that tensor's type, shape and bytes, 32 hexadecimal digits.
    public let fingerprint: String
    /// SVFit: the largest `‖Wv − σu‖ / σ`, as measured. 0 for LoLDU and a full SVD.
    public let residual: Double
    /// SVFit: `(σ_r − σ_{r+1}) / σ_1`; where it is tiny, which directions are the first r is a matter of rounding. `nil` when
    /// there is no next one, and for LoLDU.
    public let gap: Double?

    /// Directions whose next neighbour is nearer are said to be undetermined.
    static let smallestGap = 1e-5
}

/// The frozen directions of a base model's weights, as they lie in a basis file; read a module at a time.
public final class Basis: Sendable {
    public let path: String
    public let method: BasisMethod
    /// Its modules, with the base model's name.
    public let layout: Layout
    /// In the order of the layout.
    public let modules: [BasisModule]
    /// Of the stored factors.
    public let type: ElementType
    private let file: SafetensorsFile

    init(file: SafetensorsFile, header: BasisHeader, type: ElementType) {
        path = file.path
        self.file = file
        method = header.method
        layout = header.layout
        modules = header.modules
        self.type = type
    }

    /// Reads and checks one module. Throws `.format`, `.nonFinite`, `.memory`.
    public func factors(of module: Int) throws(LoragenError) -> BasisFactors {
        let shape = layout.modules[module]
        try Memory.require(
            2 * shape.rank * (shape.outputs + shape.columns), of: Float.self, for: "\(path): '\(shape.name)'")
        let factors = try BasisFactors(
            shape: shape, left: file.floats(BasisName.left(shape.name)),
            right: file.floats(BasisName.right(shape.name)),
            sigma: file.floats(BasisName.sigma(shape.name)),
            pivots: method == .loldu ? file.elements(BasisName.pivots(shape.name)) : [], method: method, source: path)
        for name in [BasisName.left(shape.name), BasisName.right(shape.name)] {
            if let tensor = file.tensor(name) { file.release(tensor, 0..<tensor.byteCount) }
        }
        return factors
    }

    /// The place of a module, `nil` if it has none of the name.
    public func module(_ name: String) -> Int? {
        layout.tensor("base_model.model.\(name).lora_A.weight").map(\.module)
    }

    /// Compares the fingerprints with the base model's weights. Throws `.mismatch` naming the first tensor that is another.
    public func check(base: String) throws(LoragenError) {
        let checkpoint = try BaseCheckpoint(path: base)
        for (module, shape) in zip(modules, layout.modules) {
            guard let name = module.tensor.dropping(suffix: ".weight") else { continue }
            let matrix = try checkpoint.matrix(of: name)
            if matrix.fingerprint != module.fingerprint {
                throw LoragenError(
                    .mismatch,
                    "\(base): tensor '\(module.tensor)' is not the one that \(path) was made of (fingerprint "
                        + "\(matrix.fingerprint), expected \(module.fingerprint)): the basis of module '\(shape.name)' belongs "
                        + "to another model or version of it. Make a new one: loragen basis \(base)")
            }
            matrix.release()
        }
    }
}

extension String {
    func dropping(suffix: String) -> String? { hasSuffix(suffix) ? String(dropLast(suffix.count)) : nil }
}
