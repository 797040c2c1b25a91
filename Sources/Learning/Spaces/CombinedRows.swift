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

/// Hands a vector through and measures how far it is from each row on the way.
public final class MeasuredStream: VectorStream {
    private let vector: any VectorStream
    private let rows: any VectorRows
    private var position = 0
    /// Squared distances, as far as the vector has come.
    private(set) var squares: [Double]

    public init(_ vector: any VectorStream, _ rows: any VectorRows) {
        (self.vector, self.rows) = (vector, rows)
        squares = [Double](repeating: 0, count: rows.count)
    }

    /// The nearest row and its distance.
    public var nearest: (row: Int, distance: Double) {
        let least = squares.indices.min { squares[$0] < squares[$1] } ?? 0
        return (least, squares.isEmpty ? 0 : squares[least].squareRoot())
    }

    public func next() throws(LoragenError) -> Tensor<Float>? {
        guard let piece = try vector.next() else { return nil }
        let columns = position..<min(rows.width, position + piece.count)
        position += piece.count
        for row in squares.indices {
            let other = try rows.tensor([row], columns)
            squares[row] = piece.withUnsafeBufferPointer { x in
                other.withUnsafeBufferPointer { y in
                    var sum = squares[row]
                    for j in 0..<columns.count { sum += (Double(x[j]) - Double(y[j])) * (Double(x[j]) - Double(y[j])) }
                    return sum
                }
            }
        }
        return piece
    }
}
