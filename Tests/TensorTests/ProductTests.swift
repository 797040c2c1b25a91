import CKernels
import Testing

@testable import Tensor

/// The product from packed operands against plain sums in double, at extents that no block divides.
@Suite("Packed products") struct ProductTests {
    static let extents = [
        [33, 33, 1], [40, 100, 17], [65, 47, 400], [129, 145, 33], [200, 300, 900], [97, 1000, 50],
    ]

    @Test("All four ways to read the operands, set and added", arguments: extents)
    func shapes(_ e: [Int]) {
        let (m, n, k) = (e[0], e[1], e[2])
        var random = Random(seed: 8)
        let (a, b): (Tensor<Float>, Tensor<Float>) = (random.normal([m, k]), random.normal([k, n]))
        let before: Tensor<Float> = random.normal([m, n])
        let (left, right) = (a.values, b.values.map { Double($0) })
        var exact = [Double](repeating: 0, count: m * n)
        for i in 0..<m {
            for p in 0..<k {
                let x = Double(left[i * k + p])
                for j in 0..<n { exact[i * n + j] += x * right[p * n + j] }
            }
        }
        let reference = Tensor(exact, shape: [m, n])
        let (turnedA, turnedB) = (a.transposed(), b.transposed())
        for (readA, readB) in [(false, false), (true, false), (false, true), (true, true)] {
            let (x, y) = (readA ? turnedA : a, readB ? turnedB : b)
            for accumulate in [false, true] {
                var c = before
                c.withUnsafeMutableBufferPointer { to in
                    guard let base = to.baseAddress else { return }
                    product(
                        m, n, k, MatrixView(base: x.storage.base, pitch: readA ? m : k, transposed: readA),
                        MatrixView(base: y.storage.base, pitch: readB ? k : n, transposed: readB), base, pitch: n,
                        accumulate: accumulate)
                }
                let whole = accumulate ? reference + before.converted(to: Double.self) : reference
                let error = relativeError(c, whole)
                #expect(error < 1e-6, "\(e), \(readA), \(readB), \(accumulate): \(error)")
            }
        }
    }
}

// It changes what is one for the whole process.
extension ProcessTests {
    @Test("Packed products on each instruction set, though not all are chosen")
    func packedLevels() async {
        await #expect(processExitsWith: .success) {
            let (m, n, k) = (45, 110, 37)
            var random = Random(seed: 9)
            let (a, b): (Tensor<Float>, Tensor<Float>) = (random.normal([m, k]), random.normal([n, k]))
            let exact = a.converted(to: Double.self).matmul(b.converted(to: Double.self), transposeB: true)
            for level in [LK_PORTABLE, LK_AVX2, LK_AVX512] where lk_force_level(level) {
                let (left, right) = (Storage<Float>(count: m * k), Storage<Float>(count: 3 * Int(LK_STRIP) * k))
                lk_gemm_pack_rows(LK_F32, m, k, a.storage.base, k, false, left.base, 0, m)
                lk_gemm_pack_columns(LK_F32, n, k, b.storage.base, k, true, right.base, 0, 3)
                let c = Tensor<Float>.make([m, n]) {
                    lk_gemm_block(LK_F32, m, n, k, left.base, right.base, $0, n, false, 0, m, 0, 3)
                }
                withExtendedLifetime((left, right)) {}
                let error = relativeError(c, exact)
                #expect(error < 1e-6, "\(level): \(error)")
            }
        }
    }
}
