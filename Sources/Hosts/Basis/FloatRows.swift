import Adapters
import Files
import Formats
import Tensor

/// Vectors of one length as the rows of a row-major matrix, with room for `capacity` of them.
final class FloatRows {
    let width: Int
    let capacity: Int
    private(set) var count: Int
    let base: UnsafeMutablePointer<Float>

    /// Whoever makes one asked `Memory.require` before.
    init(width: Int, capacity: Int, count: Int = 0) {
        precondition(width >= 0 && count >= 0 && count <= capacity)
        self.width = width
        self.capacity = capacity
        self.count = count
        base = .allocate(capacity: max(1, width * capacity))
        base.initialize(repeating: 0, count: max(1, width * capacity))
    }

    deinit { base.deallocate() }

    func resize(to count: Int) {
        precondition(count >= 0 && count <= capacity)
        self.count = count
    }

    func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * width }

    /// Of all rows.
    var values: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: base, count: count * width) }

    func operand(from row: Int = 0, transposed: Bool = false) -> Operand<Float> {
        Operand(UnsafePointer(base + row * width), pitch: width, transposed: transposed)
    }

    /// Rows `from ..< from + count` as the columns of a matrix in double.
    func matrix(from first: Int, count: Int) -> SmallMatrix {
        var matrix = SmallMatrix(rows: width, columns: count)
        for i in 0..<(count * width) { matrix.values[i] = Double(base[first * width + i]) }
        return matrix
    }

    /// Puts the columns of a matrix of `width` rows in place, from row `first` on.
    func store(_ matrix: SmallMatrix, from first: Int) {
        precondition(matrix.rows == width && first + matrix.columns <= capacity)
        for (i, value) in matrix.values.enumerated() { base[first * width + i] = Float(value) }
    }
}
