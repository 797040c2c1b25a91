import Adapters
import COpenBLAS
import Files
import Tensor

/// A module's update in the order in which a model stores the weight, and what the weight becomes by it.
public struct WeightUpdate {
    /// How the weight lies in memory, as a matrix.
    public enum Order: Sendable {
        /// `[outputs, columns]`
        case outputsFirst
        /// `[columns, outputs]`
        case inputsFirst
    }

    let name: String
    public let rows: Int
    public let columns: Int
    /// The update is `left · right`, row-major `[rows, rank] · [rank, columns]`.
    private let left: [Float]
    private let right: [Float]
    private let rank: Int
    /// DoRA: what the norm of each output's part of the sum becomes; `nil` leaves the sum as it is.
    private let magnitude: [Float]?
    private let order: Order

    /// Rows of a part that is computed at once hold about so many elements.
    private static let partSize = 1 << 19

    /// `scale` is a factor on the module's own. Throws `.unsupported` for grouped convolutions, and for DoRA unless the
    /// scale is 1.
    public init(_ adapter: Adapter, module index: Int, order: Order, scale: Double) throws(LoragenError) {
        let module = adapter.layout.modules[index]
        if module.groups > 1 {
            throw LoragenError(
                .unsupported,
                "module '\(module.name)': the update of a convolution in \(module.groups) groups cannot be merged, as in PEFT"
            )
        }
        if module.hasMagnitude && scale != 1 {
            throw LoragenError(
                .unsupported,
                "module '\(module.name)' is DoRA, which scales the weight's rows: it can be merged with scale 1 only, and "
                    + "not taken out again; keep the model from before")
        }
        let factors = adapter.factors(of: index, group: 0)
        let factor = scale * module.scale
        try Memory.require(
            3 * (factors.valuesA.count + factors.valuesB.count)
                + 2 * max(Self.partSize, module.outputs, module.columns), of: Float.self,
            for: "merging module '\(module.name)'")
        var b = factors.valuesB.map { Float(Double($0) * factor) }
        var a = Array(factors.valuesA)
        if order == .inputsFirst {
            b = b.withUnsafeBufferPointer { transposed($0, rows: module.outputs, columns: module.rank) }
            a = a.withUnsafeBufferPointer { transposed($0, rows: module.rank, columns: module.columns) }
        }
        (left, right) = order == .outputsFirst ? (b, a) : (a, b)
        rows = order == .outputsFirst ? module.outputs : module.columns
        columns = order == .outputsFirst ? module.columns : module.outputs
        rank = module.rank
        name = module.name
        self.order = order
        magnitude = adapter.layout.parts[index].magnitude.map { Array(adapter.tensor(at: $0).values) }
        withExtendedLifetime(adapter) {}
    }

    /// Writes the new weight in the type of the old one, a part at a time. `weight` holds `rows · columns` elements of a
    /// float type of at most 32 bits. Throws `.nonFinite`.
    func write(
        _ weight: UnsafeRawBufferPointer, type: ElementType, to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        var norms: [Double]?
        if magnitude != nil && order == .inputsFirst {
            var sums = [Double](repeating: 0, count: columns)
            try parts(of: weight, type) { (part, _) throws(LoragenError) in
                for (i, value) in part.enumerated() { sums[i % columns] += Double(value) * Double(value) }
            }
            norms = sums.map { $0.squareRoot() }
        }
        let encoder = FloatEncoder(type: type, scale: 1, name: name)
        try parts(of: weight, type) { (part, row) throws(LoragenError) in
            try normalise(part, norms, firstRow: row)
            try encoder.encode(UnsafeBufferPointer(part), to: sink)
        }
    }

    private func normalise(
        _ part: UnsafeMutableBufferPointer<Float>, _ norms: [Double]?, firstRow: Int
    ) throws(LoragenError) {
        guard let magnitude else { return }
        if let norms {
            for i in part.indices {
                let column = i % columns
                part[i] = Float(Double(part[i]) * Double(magnitude[column]) / norms[column])
            }
            return
        }
        for row in 0..<(part.count / columns) {
            let range = (row * columns)..<(row * columns + columns)
            let norm = part[range].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            for i in range { part[i] = Float(Double(part[i]) * Double(magnitude[firstRow + row]) / norm) }
        }
    }

    /// Hands out `weight + update`, whole rows at a time.
    private func parts(
        of weight: UnsafeRawBufferPointer, _ type: ElementType,
        _ body: (UnsafeMutableBufferPointer<Float>, _ firstRow: Int) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        let width = type.bits / 8
        precondition(weight.count == rows * columns * width)
        let step = max(1, min(rows, Self.partSize / max(columns, 1)))
        let part = UnsafeMutableBufferPointer<Float>.allocate(capacity: step * columns)
        defer { part.deallocate() }
        part.initialize(repeating: 0)
        for row in stride(from: 0, to: rows, by: step) {
            let count = min(step, rows - row)
            let target = UnsafeMutableBufferPointer(rebasing: part[..<(count * columns)])
            let start = row * columns * width
            type.convert(
                UnsafeRawBufferPointer(rebasing: weight[start..<(start + target.count * width)]), to: target)
            left.withUnsafeBufferPointer { left in
                guard let left = left.baseAddress else { return }
                cblas_sgemm(
                    CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(count), Int32(columns), Int32(rank), 1,
                    left + row * rank, Int32(rank), right, Int32(columns), 1, target.baseAddress, Int32(columns))
            }
            try body(target, row)
        }
    }
}

/// A piece of a file whose bytes are computed anew; their number stays.
public struct Patch {
    let range: Range<Int>
    let update: WeightUpdate
    let type: ElementType

    /// Throws `.unsupported` unless the weight is of a type that can be merged.
    public init(range: Range<Int>, type: ElementType, update: WeightUpdate) throws(LoragenError) {
        guard [.f32, .f16, .bf16].contains(type) else {
            throw LoragenError(
                .unsupported,
                "module '\(update.name)': its weight is \(type.rawValue); adapters are merged into F32, F16 and BF16")
        }
        guard range.count == update.rows * update.columns * (type.bits / 8) else {
            throw LoragenError(.internalError, "module '\(update.name)': \(range.count) bytes of weight")
        }
        self.range = range
        self.type = type
        self.update = update
    }

    /// Appends the bytes of a file with the patches in place of theirs.
    public static func copy(_ file: MappedFile, _ patches: [Patch], to target: AtomicFile) throws(LoragenError) {
        var position = 0
        for patch in patches.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
            guard patch.range.lowerBound >= position, patch.range.upperBound <= file.size else {
                throw LoragenError(
                    .unsupported, "module '\(patch.update.name)' shares its weight with another; it cannot be merged")
            }
            try target.append(UnsafeRawBufferPointer(rebasing: file.bytes[position..<patch.range.lowerBound]))
            let weight = UnsafeRawBufferPointer(rebasing: file.bytes[patch.range])
            try patch.update.write(weight, type: patch.type) { (raw) throws(LoragenError) in try target.append(raw) }
            position = patch.range.upperBound
        }
        try target.append(UnsafeRawBufferPointer(rebasing: file.bytes[position...]))
        withExtendedLifetime(file) {}
    }
}
