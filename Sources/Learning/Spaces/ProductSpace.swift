import Adapters
import Files
import Formats
import Tensor

/// Adapters as points of a space in which adding them means adding their updates of the base model.
///
/// Factors are a poor space to learn in: the mean of two pairs (A, B) is not the pair of the mean update. Here a module's
/// update `ΔW = s·B·A` is written in fixed orthonormal frames, `ΔW ≈ U·C·Vᵀ` with the core `C = Uᵀ ΔW V [p, q]`, the frames
/// spanning what the training adapters use (a Tucker decomposition of their stack). Cores do not depend on the factors
/// that were chosen, nor on their rank, and they are linear in ΔW. Back, the best approximation of rank r of the core
/// gives the canonical factors `U·u√σ` and `√σvᵀ·Vᵀ`. The product itself, `[out, in]`, is never formed.
public struct ProductSpace: Space {
    public static let name = "product"

    /// One module's frames.
    public struct Frame: Sendable {
        /// `[out, p]`, orthonormal columns.
        public let u: Tensor<Float>
        /// `[columns, q]`, orthonormal columns.
        public let v: Tensor<Float>
        /// Index of its core in the vector, `[p, q]` row-major.
        let offset: Int

        var p: Int { u.shape[1] }
        var q: Int { v.shape[1] }
        public var count: Int { p * q }
        var range: Range<Int> { offset..<(offset + count) }
    }

    /// Of the adapters that `decode` gives; alpha = rank.
    public let layout: Layout
    public let frames: [Frame]
    public var tensors: [(shape: [Int], isA: Bool)] { frames.map { ([$0.p, $0.q], false) } }
    public func range(of module: Int) -> Range<Int> { frames[module].range }
    /// What the singular values of a core are found with, in double.
    public var decodingMemory: Int { 12 * 8 * (frames.map(\.count).max() ?? 0) }

    public init(
        fitting adapters: any AdapterModules, _ settings: Settings, random: Random
    ) throws(LoragenError) {
        let (outputs, inputs) = try Self.widths(settings)
        try self.init(fitting: adapters, outputs: outputs, inputs: inputs, random: random)
    }

    private static func widths(_ settings: Settings) throws(LoragenError) -> (outputs: Int, inputs: Int) {
        (try settings.integer("outputFrame", 1...4096), try settings.integer("inputFrame", 1...4096))
    }

    public init(reading file: TensorReader, _ settings: Settings, layout: Layout) throws(LoragenError) {
        _ = try Self.widths(settings)
        var frames: [(u: Tensor<Float>, v: Tensor<Float>)] = []
        for i in layout.modules.indices {
            frames.append((try file.present("frames.\(i).u"), try file.present("frames.\(i).v")))
        }
        try self.init(layout: layout, frames: frames)
    }

    public var state: [(name: String, tensor: Tensor<Float>)] {
        frames.enumerated().flatMap { i, frame in [("frames.\(i).u", frame.u), ("frames.\(i).v", frame.v)] }
    }

    /// Frames that were fitted, or are in a file. Throws `.unsupported` for modules that have no place in the space, and
    /// `.mismatch` for frames that are not those of the layout. Whether their columns are orthonormal is not looked at: what
    /// is decoded in others is another adapter, and reading them all would be most of what opening a file costs.
    public init(layout: Layout, frames: [(u: Tensor<Float>, v: Tensor<Float>)]) throws(LoragenError) {
        try Self.check(layout)
        guard frames.count == layout.modules.count, layout.modules.allSatisfy({ $0.scale == 1 }) else {
            throw LoragenError(
                .mismatch,
                "\(frames.count) frames for \(layout.modules.count) modules, or a module whose scale is not 1")
        }
        var made: [Frame] = []
        made.reserveCapacity(frames.count)
        var offset = 0
        for (module, frame) in zip(layout.modules, frames) {
            let (u, v) = (frame.u.shape, frame.v.shape)
            guard u.count == 2, v.count == 2, u[0] == module.outputs, v[0] == module.columns,
                (1...module.outputs).contains(u[1]), (1...module.columns).contains(v[1])
            else {
                throw LoragenError(
                    .mismatch,
                    "module '\(module.name)' has the frames \(u) and \(v); expected [\(module.outputs), up to "
                        + "\(module.outputs)] and [\(module.columns), up to \(module.columns)]")
            }
            made.append(Frame(u: frame.u, v: frame.v, offset: offset))
            // Dimensions are at most 2^30, so the product cannot overflow, nor the sum at this limit.
            offset += u[1] * v[1]
            if offset > Layout.valueLimit {
                throw LoragenError(.mismatch, "the frames have more than \(Layout.valueLimit) numbers in their cores")
            }
        }
        (self.layout, self.frames) = (layout, made)
    }

    /// Throws `.unsupported` unless every module's update is one product B·A.
    private static func check(_ layout: Layout) throws(LoragenError) {
        guard let odd = layout.modules.first(where: { $0.hasMagnitude || $0.groups > 1 }) else { return }
        throw LoragenError(
            .unsupported,
            "module '\(odd.name)' is \(odd.hasMagnitude ? "DoRA, whose magnitudes have" : "a grouped convolution, which has") "
                + "no place among products B·A; set \"space\" to \"factors\"")
    }

    /// Measures the frames on training adapters.
    ///
    /// - Parameters:
    ///   - outputs: the most columns of `U`, in units of the module's rank.
    ///   - inputs: the most columns of `V`, likewise.
    public init(
        fitting adapters: any AdapterModules, outputs: Int, inputs: Int, random: Random
    ) throws(LoragenError) {
        let corpus = try adapters.layout
        try Self.check(corpus)
        var frames: [(u: Tensor<Float>, v: Tensor<Float>)] = []
        var random = random
        for (i, module) in corpus.modules.enumerated() {
            // ΔW_n = B_n (s·A_n). With the QR factors of one side, ‖ΔW x‖ over all n is that of a tall stack.
            var left = ScaledStack()
            var right = ScaledStack()
            for row in 0..<adapters.count {
                let adapter = try adapters.module(i, of: row)
                let (factorA, factorB) = adapter.matrices(of: 0)
                let ((a, powerA), (b, powerB)) = (factorA.inUnits(), factorB.inUnits())
                let (ra, rb) = try typed { (try thinQR(a.transposed()).r, try thinQR(b).r) }
                left.append(b.matmul(ra, transposeB: true), power: powerA + powerB)
                right.append(a.transposed().matmul(rb, transposeB: true), power: powerA + powerB)
            }
            let width = (min(outputs * module.rank, module.outputs), min(inputs * module.rank, module.columns))
            let u = try dominantSubspace(left.joined(), count: width.0, random: &random)
            let v = try dominantSubspace(right.joined(), count: width.1, random: &random)
            frames.append((u, v))
        }
        try self.init(layout: corpus.withRanks(corpus.modules.map(\.rank)), frames: frames)
    }

    /// The core of one module, an adapter of its own at any rank.
    public func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
        let frame = frames[module]
        let (a, b) = adapter.matrices(of: 0)
        let left = frame.u.matmul(b, transposeA: true)
        let right = a.matmul(frame.v)
        return (left.matmul(right) * adapter.layout.modules[0].scale).values
    }

    /// The module of a core, as an adapter of its own.
    public func decode(_ core: Tensor<Float>, module index: Int) throws(LoragenError) -> Adapter {
        let (frame, module) = (frames[index], layout.modules[index])
        let svd = try typed { try thinSVD(core.reshaped([frame.p, frame.q])) }
        let alone = try layout.only(index)
        return try Adapter(layout: alone) { (target) throws(LoragenError) in
            let kept = min(module.rank, svd.s.count)
            let b = frame.u.matmul(svd.u.slice(axis: 1, 0..<kept)).values
            let a = svd.vt.slice(axis: 0, 0..<kept).matmul(frame.v, transposeB: true).values
            let sigma = svd.s.values
            let (rangeA, rangeB) = (alone.tensors[0].range, alone.tensors[1].range)
            for k in 0..<kept {
                // The canonical sign: the largest entry of each left vector is positive.
                var top: Float = 0
                for o in 0..<module.outputs where abs(b[o * kept + k]) > abs(top) { top = b[o * kept + k] }
                let factor = (top < 0 ? -1 : 1) * max(0, sigma[k]).squareRoot()
                for o in 0..<module.outputs {
                    target[rangeB.lowerBound + o * module.rank + k] = b[o * kept + k] * factor
                }
                for j in 0..<module.columns {
                    target[rangeA.lowerBound + k * module.columns + j] = a[k * module.columns + j] * factor
                }
            }
        }
    }
}

/// A name for tensors inside types that have a `Tensor` of their own.
public typealias Matrix = Tensor<Float>

extension Adapter {
    /// The factors of one group of a module, `A [r, columns]` and `B [out, r]`, on the adapter's own memory.
    public func matrices(of module: Int, group: Int = 0) -> (a: Matrix, b: Matrix) {
        let part = factors(of: module, group: group)
        return (
            matrix(part.valuesA, [part.module.groupRank, part.module.columns]),
            matrix(part.valuesB, [part.module.groupOutputs, part.module.groupRank])
        )
    }

    private func matrix(_ values: UnsafeBufferPointer<Float>, _ shape: [Int]) -> Matrix {
        guard let base = values.baseAddress else { return .zeros(shape) }
        return .init(borrowing: base, shape: shape, owner: self)
    }
}

extension Tensor<Float> {
    /// The tensor over a power of two, so that its largest number is about 1 and squares neither overflow nor vanish. Powers
    /// of two round nothing.
    public func inUnits() -> (Tensor<Float>, power: Int) {
        let largest = withUnsafeBufferPointer { values in values.reduce(Float(0)) { max($0, $1.magnitude) } }
        guard largest > 0, largest.isFinite else { return (self, 0) }
        let power = largest.exponent
        return (scaled(byPower: -power), power)
    }

    fileprivate func scaled(byPower power: Int) -> Tensor<Float> {
        if power == 0 { return self }
        // In two steps: a power beyond 2¹²⁷ is no float.
        let half = power / 2
        return self * Double(sign: .plus, exponent: half, significand: 1)
            * Double(sign: .plus, exponent: power - half, significand: 1)
    }
}

/// Matrices side by side that were taken in units of their own.
private struct ScaledStack {
    private var parts: [(matrix: Matrix, power: Int)] = []

    mutating func append(_ matrix: Matrix, power: Int) { parts.append((matrix, power)) }

    /// In units of the largest.
    func joined() -> Matrix {
        let top = parts.reduce(Int.min) { max($0, $1.power) }
        return .concatenate(parts.map { $0.matrix.scaled(byPower: max($0.power - top, -250)) }, axis: 1)
    }
}

/// Orthonormal columns `[m, count]` that span the dominant left singular vectors of `x [m, n]`, by subspace iteration
/// (Halko, Martinsson and Tropp 2011, algorithm 4.4).
public func dominantSubspace(
    _ x: Tensor<Float>, count: Int, random: inout Random
) throws(LoragenError) -> Tensor<Float> {
    let x = x.inUnits().0
    let width = min(count + 8, x.shape[0])
    var q: Tensor<Float> = random.normal([x.shape[0], width])
    for _ in 0..<5 {
        let next = x.matmul(x.matmul(q, transposeA: true))
        q = try typed { try thinQR(next).q }
    }
    // Rotate the basis to the singular directions, so that the first columns carry the most.
    let small = q.matmul(x, transposeA: true)
    let turn = try typed { try thinSVD(small.matmul(small, transposeB: true)).u }
    return q.matmul(turn).slice(axis: 1, 0..<min(count, width))
}
