import Tensor

/// Vectors `[count, width]`, one an adapter, that need not be in memory.
public protocol VectorRows {
    var count: Int { get }
    var width: Int { get }
    /// Columns in ranges without gaps between them; reading a whole one costs less than reading its parts.
    var blocks: [Range<Int>] { get }
    /// All of them where they are in memory, `[count, width]`.
    var held: Tensor<Float>? { get }
    /// Puts some columns of a row into `target`, which has room for them.
    func read(
        _ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError)
}

extension VectorRows {
    public var held: Tensor<Float>? { nil }

    /// Some columns of some rows, `[rows, columns]`.
    public func tensor(_ rows: some Collection<Int>, _ columns: Range<Int>) throws(LoragenError) -> Tensor<Float> {
        try typed {
            try Tensor.make([rows.count, columns.count]) { target in
                for (i, row) in rows.enumerated() { try read(row, columns, into: target + i * columns.count) }
            }
        }
    }

    /// All of them, `[count, width]`.
    func tensor() throws(LoragenError) -> Tensor<Float> { try tensor(0..<count, 0..<width) }
}

/// Vectors in memory.
public struct TensorRows: VectorRows {
    let vectors: Tensor<Float>
    public let blocks: [Range<Int>]
    public var held: Tensor<Float>? { vectors }
    public var count: Int { vectors.shape[0] }
    public var width: Int { vectors.shape[1] }

    public init(_ vectors: Tensor<Float>, blocks: [Range<Int>]? = nil) {
        self.vectors = vectors
        self.blocks = blocks ?? [0..<vectors.shape[1]]
    }

    public func read(_ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        vectors.withUnsafeBufferPointer { values in
            guard let base = values.baseAddress else { return }
            target.update(from: base + row * width + columns.lowerBound, count: columns.count)
        }
    }
}

/// The vectors of adapters, made when they are asked for; a module is the least that is looked at, unless the factors
/// are taken as they are stored. For one thread.
final class EncodedRows: VectorRows {
    private let adapters: any AdapterModules
    private let space: any Space
    let blocks: [Range<Int>]
    private var last: (row: Int, module: Int, values: [Float])?

    var count: Int { adapters.count }
    var width: Int { blocks.last?.upperBound ?? 0 }

    init(_ adapters: any AdapterModules, _ space: any Space) {
        self.adapters = adapters
        self.space = space
        blocks = space.layout.modules.indices.map { space.range(of: $0) }
    }

    func read(
        _ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        if space.isStored, let reader = try adapters.reader(of: row) {
            for place in overlapping(space.layout.tensors, columns, { $0.range }) {
                let tensor = space.layout.tensors[place]
                let part = tensor.range.clamped(to: columns)
                try reader.read(
                    place, part.lowerBound - tensor.offset..<part.upperBound - tensor.offset,
                    into: target + (part.lowerBound - columns.lowerBound))
            }
            return
        }
        for module in overlapping(blocks, columns, { $0 }) {
            let values = try encoded(row, module)
            let part = blocks[module].clamped(to: columns)
            for j in part { target[j - columns.lowerBound] = values[j - blocks[module].lowerBound] }
        }
    }

    private func encoded(_ row: Int, _ module: Int) throws(LoragenError) -> [Float] {
        if let last, last.row == row, last.module == module { return last.values }
        let values = try space.encode(adapters.module(module, of: row), module: module)
        guard values.allSatisfy(\.isFinite) else {
            throw LoragenError(
                .nonFinite,
                "\(adapters.name(of: row)): the update of module '\(space.layout.modules[module].name)' is too large for single "
                    + "precision; `loragen doctor` shows the norms")
        }
        last = (row, module, values)
        return values
    }
}

/// Places of the ranges, which are in order, that have something in common with `columns`.
private func overlapping<T>(_ items: [T], _ columns: Range<Int>, _ range: (T) -> Range<Int>) -> Range<Int> {
    var (low, high) = (0, items.count)
    while low < high {
        let middle = (low + high) / 2
        if range(items[middle]).upperBound <= columns.lowerBound { low = middle + 1 } else { high = middle }
    }
    var end = low
    while end < items.count, range(items[end]).lowerBound < columns.upperBound { end += 1 }
    return low..<end
}

/// Vectors shifted and scaled on the way.
struct NormalisedRows: VectorRows {
    let rows: any VectorRows
    let normaliser: Normaliser
    let groups: [Int32]

    var count: Int { rows.count }
    var width: Int { rows.width }
    var blocks: [Range<Int>] { rows.blocks }

    func read(
        _ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        try rows.read(row, columns, into: target)
        normaliser.apply(to: target, columns, group: groups[row])
    }
}

/// Rows of others, in any order and more than once.
struct ChosenRows: VectorRows {
    private let rows: any VectorRows
    private let chosen: [Int]
    let held: Tensor<Float>?

    var count: Int { chosen.count }
    var width: Int { rows.width }
    var blocks: [Range<Int>] { rows.blocks }

    init(_ rows: any VectorRows, _ chosen: [Int]) {
        (self.rows, self.chosen) = (rows, chosen)
        held = rows.held?.gather(chosen.map { Int32(clamping: $0) })
    }

    func read(_ row: Int, _ columns: Range<Int>, into target: UnsafeMutablePointer<Float>) throws(LoragenError) {
        try rows.read(chosen[row], columns, into: target)
    }
}
