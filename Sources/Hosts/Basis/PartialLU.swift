import Adapters
import COpenBLAS
import Files
import Formats
import Tensor

/// The first r columns and pivot rows of `W = P·L·D·U`, LU with partial pivoting: `W ≈ W[:, :r]·W[I, :r]⁻¹·W[I, :]` with I the
/// pivot rows, exact in r rows and r columns. In double, of the matrix `[outputs, columns]` as the layer sees it, since LU of
/// a transpose is another one.
struct PartialLU {
    /// Columns of P·L, as rows `[r, outputs]`: 1 at their pivot row, 0 at those before.
    let left: FloatRows
    /// Rows of U over its diagonal, `[r, columns]`: 1 at column i, 0 before.
    let right: FloatRows
    /// The diagonal of U.
    let diagonal: [Double]
    /// The row of W that each pivot stands in.
    let pivots: [Int32]

    /// The smallest pivot over the largest that is divided by.
    static let smallestPivot = 1e-6

    static func bytes(_ matrix: BaseMatrix, rank: Int) -> Double {
        let (m, n, r) = (Double(matrix.shape.outputs), Double(matrix.shape.columns), Double(rank))
        return 8 * r * (m + n) + 4 * (r * (m + n) + Double(matrix.columns))
    }

    /// With `pivots` the search is left out: the factors of another run, wherever rounding had its pivots.
    /// Throws `.unsupported` for a pivot that is nothing beside the largest.
    init(_ matrix: BaseMatrix, rank: Int, pivots known: [Int32]? = nil) throws(LoragenError) {
        let (m, n) = (matrix.shape.outputs, matrix.shape.columns)
        try Memory.require(Self.bytes(matrix, rank: rank), for: "the LU of module '\(matrix.shape.name)'")
        var panel = try Self.columns(matrix, rank)
        let order: [Int]
        if let known {
            guard known.count == rank, Set(known).count == rank, known.allSatisfy({ $0 >= 0 && Int($0) < m }) else {
                throw LoragenError(
                    .mismatch,
                    "module '\(matrix.shape.name)': \(known.count) pivot rows; expected \(rank) of \(m), each once")
            }
            let chosen = known.map { Int($0) }
            let taken = Set(chosen)
            order = chosen + (0..<m).filter { !taken.contains($0) }
            panel = panel.rows(order)
            panel.eliminate()
        } else {
            order = try panel.factorise(module: matrix.shape.name)
        }
        let diagonal = (0..<rank).map { panel[$0, $0] }
        let largest = diagonal.reduce(0) { max($0, abs($1)) }
        for (i, value) in diagonal.enumerated() where !(abs(value) >= Self.smallestPivot * largest && value != 0) {
            throw LoragenError(
                .unsupported,
                "module '\(matrix.shape.name)': pivot \(i) of its LU is \(value), nothing beside the largest, \(largest): the "
                    + "first \(rank) columns of the weight are dependent. Take a rank of at most \(i), or SVFit, which does "
                    + "not mind")
        }
        var upper = try Self.rows(matrix, order.prefix(rank).map { $0 })
        upper.values.withUnsafeMutableBufferPointer { values in
            cblas_dtrsm(
                CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasUnit, Int32(rank), Int32(n), 1, panel.values,
                Int32(m), values.baseAddress, Int32(rank))
        }
        left = FloatRows(width: m, capacity: rank, count: rank)
        right = FloatRows(width: n, capacity: rank, count: rank)
        for i in 0..<rank {
            for j in i..<m { left.row(i)[order[j]] = j == i ? 1 : Float(panel[j, i]) }
            for j in i..<n { right.row(i)[j] = j == i ? 1 : Float(upper[i, j] / diagonal[i]) }
        }
        self.diagonal = diagonal
        pivots = order.prefix(rank).map { Int32(clamping: $0) }
    }

    /// `W[:, :r]`, `[outputs, r]`.
    private static func columns(_ matrix: BaseMatrix, _ rank: Int) throws(LoragenError) -> SmallMatrix {
        var panel = SmallMatrix(rows: matrix.shape.outputs, columns: rank)
        let row = FloatRows(width: matrix.columns, capacity: 1, count: 1)
        for i in 0..<(matrix.isTransposed ? rank : matrix.rows) {
            try matrix.read(rows: i..<(i + 1), into: row.base)
            if matrix.isTransposed {
                for j in 0..<matrix.columns { panel[j, i] = Double(row.base[j]) }
            } else {
                for j in 0..<rank { panel[i, j] = Double(row.base[j]) }
            }
        }
        withExtendedLifetime(row) {}
        return panel
    }

    /// `W[I, :]`, `[r, columns]`.
    private static func rows(_ matrix: BaseMatrix, _ chosen: [Int]) throws(LoragenError) -> SmallMatrix {
        var result = SmallMatrix(rows: chosen.count, columns: matrix.shape.columns)
        let row = FloatRows(width: matrix.columns, capacity: 1, count: 1)
        if matrix.isTransposed {
            for j in 0..<matrix.rows {
                try matrix.read(rows: j..<(j + 1), into: row.base)
                for (i, place) in chosen.enumerated() { result[i, j] = Double(row.base[place]) }
            }
        } else {
            for (i, place) in chosen.enumerated() {
                try matrix.read(rows: place..<(place + 1), into: row.base)
                for j in 0..<matrix.columns { result[i, j] = Double(row.base[j]) }
            }
        }
        withExtendedLifetime(row) {}
        return result
    }
}

extension SmallMatrix {
    /// The same rows in another order.
    fileprivate func rows(_ order: [Int]) -> SmallMatrix {
        var result = SmallMatrix(rows: rows, columns: columns)
        for j in 0..<columns { for (i, place) in order.enumerated() { result[i, j] = self[place, j] } }
        return result
    }

    /// LU with partial pivoting in place; gives the order of rows.
    fileprivate mutating func factorise(module: String) throws(LoragenError) -> [Int] {
        var (m, n, info) = (Int32(rows), Int32(columns), Int32(0))
        var exchanges = [Int32](repeating: 0, count: min(rows, columns))
        dgetrf_(&m, &n, &values, &m, &exchanges, &info)
        if info < 0 { throw LoragenError(.internalError, "module '\(module)': dgetrf returned \(info)") }
        var order = Array(0..<rows)
        for (i, exchange) in exchanges.enumerated() {
            let other = Int(exchange) - 1
            if other >= 0 && other < rows { order.swapAt(i, other) }
        }
        return order
    }

    /// LU without exchanges in place, a panel of 32 columns at a time. A zero pivot gives what is not finite, which the caller
    /// refuses.
    fileprivate mutating func eliminate() {
        let (height, width) = (rows, columns)
        values.withUnsafeMutableBufferPointer { all in
            guard let base = all.baseAddress else { return }
            for first in stride(from: 0, to: width, by: 32) {
                let end = min(first + 32, width)
                for k in first..<end {
                    let column = base + k * height
                    for i in (k + 1)..<max(height, k + 1) { column[i] /= column[k] }
                    for j in (k + 1)..<max(end, k + 1) {
                        let factor = base[j * height + k]
                        for i in (k + 1)..<max(height, k + 1) { base[j * height + i] -= column[i] * factor }
                    }
                }
                if end == width { return }
                let (corner, rest) = (base + first * height + first, base + end * height + first)
                let (size, others) = (Int32(end - first), Int32(width - end))
                cblas_dtrsm(
                    CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasUnit, size, others, 1, corner,
                    Int32(height),
                    rest, Int32(height))
                cblas_dgemm(
                    CblasColMajor, CblasNoTrans, CblasNoTrans, Int32(height - end), others, size, -1,
                    corner + (end - first), Int32(height), rest, Int32(height), 1, rest + (end - first), Int32(height))
            }
        }
    }
}
