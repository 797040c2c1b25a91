import COpenBLAS
import Tensor

/// All inner products `⟨ΔW_i, ΔW_j⟩` of many adapters; distances, similarities and least squares follow from them.
public struct Gram: Sendable {
    public let count: Int
    /// Row-major, symmetric.
    public private(set) var values: [Double]

    public subscript(i: Int, j: Int) -> Double { values[i * count + j] }

    /// A Gram matrix that is known.
    public init(count: Int, values: [Double]) {
        precondition(values.count == count * count)
        self.count = count
        self.values = values
    }

    /// Exact, from the factors: `⟨L Rᵀ, L' R'ᵀ⟩ = Σ_kl (LᵀL')_kl (RᵀR')_kl`. The updates have the same modules.
    public init(_ updates: [Update]) {
        count = updates.count
        values = [Double](repeating: 0, count: count * count)
        guard let first = updates.first else { return }
        precondition(updates.allSatisfy { $0.modules.count == first.modules.count })
        // Tiles of about 1,024 columns, whatever the ranks; they depend on the updates alone.
        var tiles: [Range<Int>] = []
        let widest = updates.reduce(1) { max($0, $1.modules.reduce(1) { max($0, $1.columns) }) }
        let size = max(1, 1024 / widest)
        for start in stride(from: 0, to: count, by: size) { tiles.append(start..<min(count, start + size)) }
        let pairs = tiles.indices.flatMap { i in (0...i).map { (i, $0) } }
        let n = count
        values.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let target = buffer
            Threads.parallelFor(pairs.count) { pair in
                let (rows, columns) = (tiles[pairs[pair].0], tiles[pairs[pair].1])
                for m in first.modules.indices {
                    Self.add(module: m, updates[rows], updates[columns]) { i, j, value in
                        target[i * n + j] += value
                    }
                }
            }
        }
        mirror()
    }

    /// From digests of equal length, and the norms that they were made without: `‖ΔW_i‖ ‖ΔW_j‖ ⟨s_i, s_j⟩`.
    public init(sketches: [[Float]], norms: [Double]) {
        count = sketches.count
        values = [Double](repeating: 0, count: count * count)
        guard let width = sketches.first?.count, width > 0 else { return }
        precondition(sketches.allSatisfy { $0.count == width } && norms.count == count)
        let size = 128
        let starts = Array(stride(from: 0, to: count, by: size))
        let pairs = starts.indices.flatMap { i in (0...i).map { (starts[i], starts[$0]) } }
        let n = count
        values.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let target = buffer
            Threads.parallelFor(pairs.count) { pair in
                let rows = pairs[pair].0..<min(n, pairs[pair].0 + size)
                let columns = pairs[pair].1..<min(n, pairs[pair].1 + size)
                let products = transposedProduct(
                    Array(sketches[rows].joined()), rows.count, Array(sketches[columns].joined()), columns.count,
                    depth: width)
                for (i, row) in rows.enumerated() {
                    for (j, column) in columns.enumerated() {
                        target[row * n + column] = norms[row] * norms[column] * Double(products[i + j * rows.count])
                    }
                }
            }
        }
        mirror()
    }

    /// The inner products among some of the adapters.
    public func subset(_ indices: [Int]) -> Gram {
        Gram(count: indices.count, values: indices.flatMap { i in indices.map { self[i, $0] } })
    }

    /// The matrix over its mean diagonal, so that no power of it overflows; itself when that is zero.
    public func inUnits() -> Gram {
        let mean = (0..<count).reduce(0) { $0 + self[$1, $1] / Double(count) }
        return mean > 0 && mean.isFinite ? Gram(count: count, values: values.map { $0 / mean }) : self
    }

    /// `‖ΔW_i − ΔW_j‖²`.
    public func squaredDistance(_ i: Int, _ j: Int) -> Double { max(0, self[i, i] + self[j, j] - 2 * self[i, j]) }

    /// The cosine; `nil` when one of them is zero.
    public func similarity(_ i: Int, _ j: Int) -> Double? {
        cosine(self[i, j], self[i, i].squareRoot(), self[j, j].squareRoot())
    }

    /// Only tiles on and below the diagonal are computed.
    private mutating func mirror() {
        for i in 0..<count {
            for j in 0..<i { values[j * count + i] = values[i * count + j] }
        }
    }

    private static func add(
        module: Int, _ rows: ArraySlice<Update>, _ columns: ArraySlice<Update>, into target: (Int, Int, Double) -> Void
    ) {
        func offsets(_ part: ArraySlice<Update>) -> [Int] {
            part.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.modules[module].columns) }
        }
        let (rowOffsets, columnOffsets) = (offsets(rows), offsets(columns))
        let (m, n) = (rowOffsets[rows.count], columnOffsets[columns.count])
        guard m > 0, n > 0, let shape = rows.first?.modules[module] else { return }
        let left = transposedProduct(
            rows.flatMap { $0.modules[module].left }, m, columns.flatMap { $0.modules[module].left }, n,
            depth: shape.outputs)
        let right = transposedProduct(
            rows.flatMap { $0.modules[module].right }, m, columns.flatMap { $0.modules[module].right }, n,
            depth: shape.inputs)
        for (i, row) in rows.indices.enumerated() {
            for (j, column) in columns.indices.enumerated() where column <= row {
                var sum = 0.0
                for l in columnOffsets[j]..<columnOffsets[j + 1] {
                    for k in rowOffsets[i]..<rowOffsets[i + 1] {
                        sum += Double(left[k + l * m]) * Double(right[k + l * m])
                    }
                }
                target(row, column, sum * rows[row].modules[module].scale * columns[column].modules[module].scale)
            }
        }
    }
}

/// `XᵀY` of `x [depth, m]` and `y [depth, n]`, all column by column.
func transposedProduct(_ x: [Float], _ m: Int, _ y: [Float], _ n: Int, depth: Int) -> [Float] {
    if m == 0 || n == 0 { return [] }
    return [Float](unsafeUninitializedCapacity: m * n) { target, count in
        cblas_sgemm(
            CblasColMajor, CblasTrans, CblasNoTrans, Int32(m), Int32(n), Int32(depth), 1, x, Int32(depth), y,
            Int32(depth), 0, target.baseAddress, Int32(m))
        count = m * n
    }
}
