import Testing

@testable import Tensor

@Suite("Linear algebra") struct LinearAlgebraTests {
    static let shapes = [[1, 1], [7, 3], [3, 7], [40, 40], [300, 16], [16, 300]]

    private func random(_ shape: [Int], seed: UInt64 = 2) -> Tensor<Double> {
        var random = Random(seed: seed)
        return random.normal(shape)
    }
    private func identity(_ n: Int) -> Tensor<Double> {
        Tensor((0..<n * n).map { $0 / n == $0 % n ? 1 : 0 }, shape: [n, n])
    }

    @Test("QR: q r = a, qᵀq = 1, r upper triangular", arguments: shapes)
    func qr(_ shape: [Int]) throws {
        let a = random(shape)
        let (q, r) = try thinQR(a)
        let k = min(shape[0], shape[1])
        #expect(q.shape == [shape[0], k] && r.shape == [k, shape[1]])
        #expect(relativeError(q.matmul(r), a) < 1e-13)
        #expect(relativeError(q.matmul(q, transposeA: true), identity(k)) < 1e-13)
        for i in 0..<k { for j in 0..<min(i, shape[1]) { #expect(r[i, j] == 0) } }
    }

    @Test("SVD: u s vt = a, orthonormal factors, descending values", arguments: shapes)
    func svd(_ shape: [Int]) throws {
        let a = random(shape)
        let (u, s, vt) = try thinSVD(a)
        let k = min(shape[0], shape[1])
        #expect(relativeError((u * s).matmul(vt), a) < 1e-13)
        #expect(relativeError(u.matmul(u, transposeA: true), identity(k)) < 1e-13)
        #expect(relativeError(vt.matmul(vt, transposeB: true), identity(k)) < 1e-13)
        #expect(zip(s.values, s.values.dropFirst()).allSatisfy { $0 >= $1 } && s.values.allSatisfy { $0 >= 0 })
    }

    @Test("Eigen-decomposition: a = vectorsᵀ values vectors, ascending", arguments: [1, 5, 60])
    func eigen(_ n: Int) throws {
        let b = random([n, n])
        let a = b + b.transposed()
        let (values, vectors) = try symmetricEigen(a)
        #expect(relativeError((vectors.transposed() * values).matmul(vectors), a) < 1e-12)
        #expect(zip(values.values, values.values.dropFirst()).allSatisfy { $0 <= $1 })
    }

    @Test("Cholesky solves for many right-hand sides and refuses what is not positive definite")
    func cholesky() throws {
        let b = random([30, 30])
        let a = b.matmul(b, transposeB: true) + identity(30)
        let right = random([30, 4], seed: 8)
        let x = try choleskySolve(a, right)
        #expect(relativeError(a.matmul(x), right) < 1e-11)
        let single: Tensor<Float> = try choleskySolve(a.converted(), right.converted())
        #expect(relativeError(single, x) < 1e-4)
        #expect(throws: LoragenError.self) { try choleskySolve(-a, right) }
    }

    @Test("NaN and empty matrices are errors, not endless loops")
    func refusals() {
        let bad = Tensor<Float>([1, .nan, 0, 1], shape: [2, 2])
        #expect(throws: LoragenError.self) { try thinSVD(bad) }
        #expect(throws: LoragenError.self) { try thinQR(bad) }
        #expect(throws: LoragenError.self) { try symmetricEigen(bad) }
        #expect(throws: LoragenError.self) { try thinSVD(Tensor<Float>.zeros([0, 3])) }
    }

    @Test("A rank-deficient matrix and a zero matrix are factored")
    func degenerate() throws {
        let column = random([20, 1])
        let a = column.matmul(random([1, 9], seed: 5))
        let (u, s, vt) = try thinSVD(a)
        #expect(relativeError((u * s).matmul(vt), a) < 1e-13 && s[1] < 1e-12 * s[0])
        #expect(try thinSVD(Tensor<Float>.zeros([4, 3])).s.values == [0, 0, 0])
        #expect(try thinQR(Tensor<Float>.zeros([4, 3])).r.values.allSatisfy { $0 == 0 })
    }

    @Test("Work areas hold what LAPACK's documentation asks for, and are refused where 32 bits cannot count them")
    func workAreas() throws {
        for n in [1, 2, 33, 1000, 32_000] {
            #expect(Int(try WorkArea.eigen(n)) >= 1 + 6 * n + 2 * n * n)
        }
        for (m, n) in [(1, 1), (1000, 3), (3, 1000), (20_000, 20_000)] {
            let (short, long) = (min(m, n), max(m, n))
            #expect(Int(try WorkArea.svd(m, n)) >= max(4 * short * short + 7 * short, 3 * short + long, 5 * short))
            #expect(Int(try WorkArea.qr(columns: n)) >= n)
        }
        // 2 n² + 6 n + 1 passes 2³¹ from here on.
        for n in [32_767, 100_000, 1 << 31] {
            let error = #expect(throws: LoragenError.self) { try WorkArea.eigen(n) }
            #expect(error?.code == .unsupported && error?.message.contains("\(n)") == true)
        }
        #expect(throws: LoragenError.self) { try WorkArea.svd(30_000, 30_000) }
        #expect(throws: LoragenError.self) { try WorkArea.qr(columns: 1 << 26) }
    }
}
