import CKernels

/// A weight [outputs, inputs] in bf16, for sampling: half the bytes of f32, sums in f32. CPUs with AVX512-BF16 also
/// round x to bf16 and multiply natively; others widen the weight. Relative error about 4e-3 in either case.
public struct HalfMatrix: @unchecked Sendable {
    public let shape: [Int]
    private let storage: Storage<Float>

    private var base: UnsafeMutablePointer<UInt16> { HalfMatrix.halves(of: storage) }

    private static func halves(of storage: Storage<Float>) -> UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(storage.base).assumingMemoryBound(to: UInt16.self)
    }

    /// Rounds a [outputs, inputs] to nearest even.
    public init(_ weight: Tensor<Float>) {
        precondition(weight.rank == 2, "half matrix of \(weight.shape)")
        shape = weight.shape
        storage = Storage(count: (weight.count + 1) / 2)
        lk_to_bf16(weight.count, weight.storage.base, base)
    }

    /// Memory of somebody else, read only; `owner` (a mapped file, say) stays alive as long as this.
    public init(borrowing memory: UnsafeRawPointer, shape: [Int], owner: AnyObject) {
        precondition(shape.count == 2 && UInt(bitPattern: memory) % 2 == 0, "half matrix of \(shape)")
        self.shape = shape
        storage = Storage(
            borrowing: memory.assumingMemoryBound(to: Float.self), count: (shape[0] * shape[1] + 1) / 2, owner: owner)
    }

    /// The bytes of the rounded values.
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(storage) {
            try body(UnsafeRawBufferPointer(start: storage.base, count: 2 * shape[0] * shape[1]))
        }
    }

    /// The rounded values.
    public var widened: Tensor<Float> { Tensor.make(shape) { lk_from_bf16(shape[0] * shape[1], base, $0) } }

    /// x [..., inputs] times the weight transposed, plus bias [outputs]: [..., outputs]; a constant.
    public func callAsFunction(_ x: Tensor<Float>, bias: Tensor<Float>? = nil) -> Tensor<Float> {
        let (n, k) = (shape[0], shape[1])
        precondition(x.rank >= 1 && x.shape[x.rank - 1] == k, "half matrix \(shape) of \(x.shape)")
        precondition(bias.map { $0.shape == [n] } ?? true, "bias for a half matrix \(shape)")
        let rows = k == 0 ? x.shape.dropLast().reduce(1, *) : x.count / k
        var halves: Storage<Float>?
        if lk_has_bf16() {
            let rounded = Storage<Float>(count: (x.count + 1) / 2)
            lk_to_bf16(x.count, x.storage.base, HalfMatrix.halves(of: rounded))
            halves = rounded
        }
        return Tensor.make(x.shape.dropLast() + [n]) { to in
            let grain = (max(64, (1 << 17) / max(1, rows * k)) + 63) / 64 * 64
            Threads.over(n, grain: grain) { start, count in
                for row in 0..<rows {
                    let at = to + row * n + start
                    if let bias {
                        at.update(from: bias.storage.base + start, count: count)
                    } else {
                        lk_fill(Float.kind, count, 0, at)
                    }
                }
                lk_half_matmul(
                    rows, k, x.storage.base, halves.map { HalfMatrix.halves(of: $0) }, base, to, n, start, start + count
                )
            }
            withExtendedLifetime(halves) {}
        }
    }
}

/// A `HalfMatrix` in the place of a parameter of any element type.
public struct HalfFactor<E: Element>: Sendable {
    public let matrix: HalfMatrix

    public init(_ matrix: HalfMatrix) { self.matrix = matrix }

    /// x [..., inputs] times the matrix transposed, plus bias [outputs]; a constant.
    public func callAsFunction(_ x: Tensor<E>, bias: Tensor<E>?) -> Tensor<E> {
        matrix(x.converted(), bias: bias.map { $0.converted() }).converted()
    }
}
