import Adapters
import Tensor

/// A weighted sum of vectors, block by block, in double; with normal noise of some deviation if asked for.
public final class CombinedRows: VectorStream {
    private let rows: any VectorRows
    private let weights: [(row: Int, weight: Double)]
    private let deviation: Double
    private var random: Random
    private var block = 0

    public init(
        _ rows: any VectorRows, _ weights: [(row: Int, weight: Double)], deviation: Double = 0,
        random: Random = .none
    ) {
        (self.rows, self.weights, self.deviation, self.random) = (rows, weights, deviation, random)
    }

    /// The mean of some rows.
    public convenience init(meanOf indices: some Collection<Int>, _ rows: any VectorRows) {
        self.init(rows, indices.map { ($0, 1 / Double(indices.count)) })
    }

    public func next() throws(LoragenError) -> Tensor<Float>? {
        guard rows.blocks.indices.contains(block) else { return nil }
        let columns = rows.blocks[block]
        block += 1
        var sums = [Double](repeating: 0, count: columns.count)
        for (row, weight) in weights {
            try rows.tensor([row], columns).withUnsafeBufferPointer { x in
                for j in sums.indices { sums[j] += weight * Double(x[j]) }
            }
        }
        let sum = Tensor(sums.map { Float($0) })
        return deviation == 0 ? sum : sum + (random.normal([columns.count]) as Tensor<Float>) * deviation
    }
}

/// Hands modules through and measures on the way how far their vector is from each row.
public final class MeasuredModules: ModuleStream {
    private let modules: any ModuleStream
    private let rows: any VectorRows
    private let representation: Representation
    private var module = 0
    /// Squared distances, as far as the modules have come.
    public private(set) var squares: [Double]

    public init(_ modules: any ModuleStream, _ rows: any VectorRows, _ representation: Representation) {
        (self.modules, self.rows, self.representation) = (modules, rows, representation)
        squares = [Double](repeating: 0, count: rows.count)
    }

    public var sketch: Sketch { modules.sketch }

    /// The nearest row and its distance.
    public var nearest: (row: Int, distance: Double) {
        let least = squares.indices.min { squares[$0] < squares[$1] } ?? 0
        return (least, squares.isEmpty ? 0 : squares[least].squareRoot())
    }

    public func next() throws(LoragenError) -> Adapter {
        let adapter = try modules.next()
        let columns = representation.space.range(of: module)
        var vector = try representation.space.encode(adapter, module: module)
        module += 1
        vector.withUnsafeMutableBufferPointer { x in
            guard let base = x.baseAddress, x.count == columns.count else { return }
            representation.normaliser.apply(to: base, columns, group: 0)
        }
        for row in squares.indices {
            let other = try rows.tensor([row], columns)
            squares[row] = other.withUnsafeBufferPointer { y in
                var sum = squares[row]
                for j in 0..<min(vector.count, y.count) {
                    sum += (Double(vector[j]) - Double(y[j])) * (Double(vector[j]) - Double(y[j]))
                }
                return sum
            }
        }
        return adapter
    }
}
