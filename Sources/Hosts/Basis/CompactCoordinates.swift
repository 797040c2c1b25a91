import Adapters
import Files
import Tensor

/// A compact adapter in the coordinates of its directions: an adapter whose modules are `[r, r]`, with diagonal factors. For
/// orthonormal directions norms, distances and angles of updates are those of the whole adapters.
extension CompactAdapter {
    /// The layout of adapters in coordinates: the same names, `r` inputs and outputs.
    public func coordinateLayout() throws(LoragenError) -> Layout {
        var modules: [ModuleShape] = []
        for shape in layout.modules {
            modules.append(
                try ModuleShape(
                    name: shape.name, inputs: shape.rank, outputs: shape.rank, rank: shape.rank,
                    alpha: Double(shape.rank)))
        }
        return try Layout(modules: modules, baseModel: layout.baseModel, taskType: layout.taskType)
    }

    /// The adapter in coordinates.
    public func coordinates() throws(LoragenError) -> Adapter {
        let layout = try coordinateLayout()
        let deltas = Dictionary(uniqueKeysWithValues: modules.map { ($0.shape.name, $0.delta) })
        return try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (index, shape) in layout.modules.enumerated() {
                let range = layout.values(of: index)
                let part = UnsafeMutableBufferPointer(rebasing: target[range])
                Self.store(deltas[shape.name] ?? [], in: part)
            }
        }
    }

    /// Writes the factors of one module in coordinates, A before B.
    public static func store(_ delta: [Float], in target: UnsafeMutableBufferPointer<Float>) {
        let rank = delta.count
        guard target.count == 2 * rank * rank else { return }
        for (i, value) in delta.enumerated() {
            let root = abs(value).squareRoot()
            target[i * rank + i] = root
            target[rank * rank + i * rank + i] = value < 0 ? -root : root
        }
    }

    /// The diagonal of a module in coordinates. Throws `.mismatch` when it is more than a diagonal.
    public static func delta(of adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
        let factors = adapter.factors(of: module, group: 0)
        let (rank, scale) = (factors.module.rank, factors.module.scale)
        defer { withExtendedLifetime(adapter) {} }
        guard factors.module.inputs == rank, factors.module.outputs == rank, factors.module.kernel.isEmpty else {
            throw notDiagonal(factors.module)
        }
        var delta = [Float](repeating: 0, count: rank)
        for i in 0..<rank {
            for j in 0..<rank where i != j && (factors.valuesA[i * rank + j] != 0 || factors.valuesB[i * rank + j] != 0)
            {
                throw notDiagonal(factors.module)
            }
            delta[i] = Float(scale * Double(factors.valuesA[i * rank + i]) * Double(factors.valuesB[i * rank + i]))
        }
        return delta
    }

    private static func notDiagonal(_ module: ModuleShape) -> LoragenError {
        LoragenError(
            .mismatch,
            "module '\(module.name)' is no compact adapter's; the space \"spectrum\" learns compact adapters (loragen basis, "
                + "loragen.tune)")
    }

    /// What a file of these directions says beside the numbers.
    public var header: [String: String] {
        get throws(LoragenError) {
            try BasisHeader(method: method, layout: layout, modules: modules.map(\.source))
                .metadata(format: CompactFile.format)
        }
    }

    /// An adapter without a change, from a header and what stands beside it, module by module. Throws as reading a file.
    public init(
        header: [String: String], sigma: [Float], pivots: [Int32], signatures: [Float], source: String
    ) throws(LoragenError) {
        let header = try BasisHeader(header, path: source, format: CompactFile.format)
        let total = header.layout.modules.reduce(0) { $0 + $1.rank }
        guard sigma.count == total, signatures.count == 8 * header.layout.modules.count,
            pivots.count == (header.method == .loldu ? total : 0)
        else {
            throw LoragenError(
                .format,
                "\(source): \(sigma.count) directions, \(pivots.count) pivots and \(signatures.count) numbers of "
                    + "signatures for \(total) directions of \(header.layout.modules.count) modules")
        }
        var modules: [Module] = []
        var start = 0
        for (i, shape) in header.layout.modules.enumerated() {
            let range = start..<(start + shape.rank)
            modules.append(
                Module(
                    shape: shape, delta: [Float](repeating: 0, count: shape.rank), sigma: Array(sigma[range]),
                    pivots: pivots.isEmpty ? [] : Array(pivots[range]),
                    signature: Array(signatures[(8 * i)..<(8 * i + 8)]), source: header.modules[i]))
            start = range.upperBound
        }
        try self.init(
            method: header.method, layout: header.layout, modules: modules, metadata: [:], source: source)
    }

    /// The compact adapter at `path`; `nil` when it is another kind of file.
    public static func found(at path: String) throws(LoragenError) -> CompactAdapter? {
        guard path.hasSuffix(".safetensors") else { return nil }
        let file = try SafetensorsFile(path: path)
        return CompactFile.isOne(file) ? try CompactFile.read(file) : nil
    }
}

/// A compact adapter in coordinates, as an adapter that is read in parts.
public struct CoordinateReader: AdapterReader {
    private let adapter: Adapter
    public var layout: Layout { adapter.layout }

    public init(_ compact: CompactAdapter) throws(LoragenError) { adapter = try compact.coordinates() }

    public func read(_ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let values = adapter.tensor(at: tensor).values
        for (i, place) in range.enumerated() { target[i] = values[place] }
        withExtendedLifetime(adapter) {}
    }
}
