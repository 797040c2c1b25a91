import CKernels
import COpenBLAS

/// A row-major matrix in memory, possibly to be read transposed.
struct MatrixView<E: Element> {
    let base: UnsafePointer<E>
    /// Elements between stored rows.
    let pitch: Int
    let transposed: Bool

    /// The view of op(matrix) that starts at this row and column of op(matrix).
    func from(row: Int, column: Int) -> MatrixView {
        MatrixView(
            base: base + (transposed ? column * pitch + row : row * pitch + column), pitch: pitch,
            transposed: transposed)
    }

    /// The same memory read the other way.
    var flipped: MatrixView { MatrixView(base: base, pitch: pitch, transposed: !transposed) }
}

/// Up to here the kernel that packs nothing is ahead of the full product.
private let fewRows = 32

/// c [m, n] = op(a) [m, k] op(b) [k, n], or c += when `accumulate`; c's rows are `pitch` apart. The tiles depend on the
/// shape alone.
func product<E: Element>(
    _ m: Int, _ n: Int, _ k: Int, _ a: MatrixView<E>, _ b: MatrixView<E>, _ c: UnsafeMutablePointer<E>, pitch: Int,
    accumulate: Bool = false
) {
    if m == 0 || n == 0 { return }
    if k == 0 {
        if !accumulate { for row in 0..<m { lk_fill(E.kind, n, 0, c + row * pitch) } }
        return
    }
    if m <= fewRows { return skinny(m, n, k, a, b, c, rowStep: pitch, columnStep: 1, accumulate) }
    if n <= fewRows { return skinny(n, m, k, b.flipped, a.flipped, c, rowStep: 1, columnStep: pitch, accumulate) }
    // Ahead of OpenBLAS where vectors are long; on other CPUs it is not. OpenBLAS counts in 32 bits.
    let isLong = max(m, n, k, a.pitch, b.pitch, pitch) > Int32.max
    if isLong || E.self == Float.self && lk_level_in_use() == LK_AVX512 {
        return packed(m, n, k, a, b, c, pitch, accumulate)
    }
    let (tileM, tileN) = tile(m, n, k)
    let (rows, columns) = ((m + tileM - 1) / tileM, (n + tileN - 1) / tileN)
    Threads.parallelFor(rows * columns) { index in
        let (row, column) = (index / columns * tileM, index % columns * tileN)
        gemm(
            min(tileM, m - row), min(tileN, n - column), k, a.from(row: row, column: 0),
            b.from(row: 0, column: column), c + row * pitch + column, pitch, accumulate)
    }
}

/// Both operands are packed, a block of depth at a time, and then multiplied in a grid of row blocks and column groups.
private func packed<E: Element>(
    _ m: Int, _ n: Int, _ k: Int, _ a: MatrixView<E>, _ b: MatrixView<E>, _ c: UnsafeMutablePointer<E>, _ pitch: Int,
    _ accumulate: Bool
) {
    let strip = Int(LK_STRIP)
    let depth = roundedUp(divided(k, divided(k, 1024)), 16)
    let (mostRows, mostColumns) = (min(m, 4096), min(roundedUp(n, strip), 96 * strip))
    let isSmall = m * n * k <= 1 << 20
    let left = Storage<E>(count: mostRows * min(depth, k))
    let right = Storage<E>(count: mostColumns * min(depth, k))
    for column in stride(from: 0, to: n, by: mostColumns) {
        for row in stride(from: 0, to: m, by: mostRows) {
            let (columns, rows) = (min(mostColumns, n - column), min(mostRows, m - row))
            let panels = divided(columns, strip)
            let (rowBlock, panelGroup) = isSmall ? (rows, panels) : grid(rows, panels)
            let (packRows, packPanels) = isSmall ? (rows, panels) : (64, 2)
            let (rowPacks, panelPacks) = (divided(rows, packRows), divided(panels, packPanels))
            let (rowBlocks, groups) = (divided(rows, rowBlock), divided(panels, panelGroup))
            for first in stride(from: 0, to: k, by: depth) {
                let count = min(depth, k - first)
                let (x, y) = (a.from(row: row, column: first), b.from(row: first, column: column))
                Threads.parallelFor(rowPacks + panelPacks) { index in
                    // Evenly mixed, so that each thread packs the rows that it will multiply.
                    let block = index * rowPacks / (rowPacks + panelPacks)
                    if block < (index + 1) * rowPacks / (rowPacks + panelPacks) {
                        let start = block * packRows
                        lk_gemm_pack_rows(
                            E.kind, rows, count, x.base, x.pitch, x.transposed, left.base, start,
                            min(rows, start + packRows))
                    } else {
                        let start = (index - block) * packPanels
                        lk_gemm_pack_columns(
                            E.kind, columns, count, y.base, y.pitch, y.transposed, right.base, start,
                            min(panels, start + packPanels))
                    }
                }
                Threads.parallelFor(rowBlocks * groups) { index in
                    let (start, panel) = (index / groups * rowBlock, index % groups * panelGroup)
                    lk_gemm_block(
                        E.kind, rows, columns, count, left.base, right.base, c + row * pitch + column, pitch,
                        accumulate || first > 0, start, min(rows, start + rowBlock), panel,
                        min(panels, panel + panelGroup))
                }
            }
        }
    }
    withExtendedLifetime((left, right)) {}
}

/// Rows of a block, at most 128 so that they stay in the second-level cache, and panels of a group: an even number of
/// equal pieces, 8 or more if there is enough.
private func grid(_ rows: Int, _ panels: Int) -> (Int, Int) {
    let blocks = rows <= 96 ? 1 : roundedUp(divided(rows, 128), 2)
    let groups = min(panels, max(1, 16 / blocks))
    return (roundedUp(divided(rows, blocks), 8), divided(panels, groups))
}

private func divided(_ n: Int, _ by: Int) -> Int { (n + by - 1) / by }

/// Small products stay whole; large ones are halved along their longer side until there are 8 tiles, or until
/// packing a tile's operands would cost as much as multiplying them.
private func tile(_ m: Int, _ n: Int, _ k: Int) -> (Int, Int) {
    var (rows, columns, tiles) = (m, n, 1)
    while (tiles < 2 && rows * columns * k > 1 << 21) || (tiles < 8 && rows * columns * k > 1 << 25),
        max(rows, columns) > 96
    {
        if rows >= columns { rows = (rows + 1) / 2 } else { columns = (columns + 1) / 2 }
        tiles *= 2
    }
    return (roundedUp(rows, 16), roundedUp(columns, 16))
}

private func roundedUp(_ n: Int, _ multiple: Int) -> Int { (n + multiple - 1) / multiple * multiple }

private func gemm<E: Element>(
    _ m: Int, _ n: Int, _ k: Int, _ a: MatrixView<E>, _ b: MatrixView<E>, _ c: UnsafeMutablePointer<E>, _ pitch: Int,
    _ accumulate: Bool
) {
    let (ta, tb) = (a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans)
    let (m, n, k) = (Int32(m), Int32(n), Int32(k))
    if E.self == Float.self {
        cblas_sgemm(
            CblasRowMajor, ta, tb, m, n, k, 1, raw(a.base), Int32(a.pitch), raw(b.base), Int32(b.pitch),
            accumulate ? 1 : 0, raw(c), Int32(pitch))
    } else {
        cblas_dgemm(
            CblasRowMajor, ta, tb, m, n, k, 1, raw(a.base), Int32(a.pitch), raw(b.base), Int32(b.pitch),
            accumulate ? 1 : 0, raw(c), Int32(pitch))
    }
}

func raw<E, F>(_ pointer: UnsafePointer<E>) -> UnsafePointer<F> {
    UnsafeRawPointer(pointer).assumingMemoryBound(to: F.self)
}
func raw<E, F>(_ pointer: UnsafeMutablePointer<E>) -> UnsafeMutablePointer<F> {
    UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: F.self)
}

/// Few rows: c(i, j) at i * rowStep + j * columnStep. Blocks of columns are the outer loop, so that b comes
/// from memory once.
private func skinny<E: Element>(
    _ m: Int, _ n: Int, _ k: Int, _ a: MatrixView<E>, _ b: MatrixView<E>, _ c: UnsafeMutablePointer<E>, rowStep: Int,
    columnStep: Int, _ accumulate: Bool
) {
    var (left, pitch) = (a.base, a.pitch)
    var packed: Storage<E>?
    // Rows a multiple of 4096 bytes apart share their places in the first-level cache.
    if a.transposed || (m > 2 && b.transposed && a.pitch * MemoryLayout<E>.size % 4096 == 0) {
        pitch = k + 16
        let copy = Storage<E>(count: m * pitch)
        for row in 0..<m {
            let from = a.from(row: row, column: 0).base
            lk_copy_strided(E.kind, 1, [k], [a.transposed ? a.pitch : 1], from, copy.base + row * pitch, 0, 1)
        }
        packed = copy
        left = UnsafePointer(copy.base)
    }
    withExtendedLifetime(packed) {
        // Whole groups of columns, some 10^4 multiplications a piece
        let unit = b.transposed ? 48 : 64
        let grain = roundedUp(max(unit, (m == 1 ? 1 << 15 : 1 << 17) / (m * k)), unit)
        Threads.over(n, grain: grain) { start, count in
            lk_skinny_matmul(
                E.kind, b.transposed, m, k, left, pitch, b.base, b.pitch, c, rowStep, columnStep, accumulate, start,
                start + count)
        }
    }
}
