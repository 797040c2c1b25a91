import Adapters
import Tensor

/// Adapters as points of a space in which adding them means adding their updates of the base model.
///
/// Factors are a poor space to learn in: the mean of two pairs (A, B) is not the pair of the mean update. Here a module's
/// update `ΔW = s·B·A` is written in fixed orthonormal frames, `ΔW ≈ U·C·Vᵀ` with the core `C = Uᵀ ΔW V [p, q]`, the frames
/// spanning what the training adapters use (a Tucker decomposition of their stack). Cores do not depend on the factors
/// that were chosen, nor on their rank, and they are linear in ΔW. Back, the best approximation of rank r of the core
/// gives the canonical factors `U·u√σ` and `√σvᵀ·Vᵀ`. The product itself, `[out, in]`, is never formed.
struct ProductSpace: Sendable {
    /// One module's frames.
    struct Frame: Sendable {
        /// `[out, p]`, orthonormal columns.
        let u: Tensor<Float>
        /// `[in, q]`, orthonormal columns.
        let v: Tensor<Float>
        /// Index of its core in the vector, `[p, q]` row-major.
        let offset: Int

        var p: Int { u.shape[1] }
        var q: Int { v.shape[1] }
        var count: Int { p * q }
        var range: Range<Int> { offset..<(offset + count) }
    }

    /// Of the adapters that `decode` gives; alpha = rank.
    let layout: Layout
    let frames: [Frame]
    var count: Int { frames.last.map { $0.offset + $0.count } ?? 0 }

    init(layout: Layout, frames: [(u: Tensor<Float>, v: Tensor<Float>)]) {
        self.layout = layout
        var offset = 0
        self.frames = frames.map { u, v in
            defer { offset += u.shape[1] * v.shape[1] }
            return Frame(u: u, v: v, offset: offset)
        }
    }

    /// Measures the frames on training adapters.
    ///
    /// - Parameters:
    ///   - outputs: the most columns of `U`, in units of the module's rank.
    ///   - inputs: the most columns of `V`, likewise.
    init(
        fitting adapters: any AdapterModules, outputs: Int, inputs: Int, random: Random
    ) throws(LoragenError) {
        let corpus = try adapters.layout
        var frames: [(u: Tensor<Float>, v: Tensor<Float>)] = []
        var random = random
        for (i, module) in corpus.modules.enumerated() {
            // ΔW_n = B_n (s·A_n). With the QR factors of one side, ‖ΔW x‖ over all n is that of a tall stack.
            var left: [Tensor<Float>] = []
            var right: [Tensor<Float>] = []
            for row in 0..<adapters.count {
                let adapter = try adapters.module(i, of: row)
                let a = adapter.matrix(0)
                let b = adapter.matrix(1)
                let (ra, rb) = try typed { (try thinQR(a.transposed()).r, try thinQR(b).r) }
                left.append(b.matmul(ra, transposeB: true))
                right.append(a.transposed().matmul(rb, transposeB: true))
            }
            let width = (min(outputs * module.rank, module.outputs), min(inputs * module.rank, module.inputs))
            let u = try dominantSubspace(Tensor.concatenate(left, axis: 1), count: width.0, random: &random)
            let v = try dominantSubspace(Tensor.concatenate(right, axis: 1), count: width.1, random: &random)
            frames.append((u, v))
        }
        self.init(layout: try corpus.withRanks(corpus.modules.map(\.rank)), frames: frames)
    }

    /// The core of one module, an adapter of its own at any rank.
    func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
        let frame = frames[module]
        let left = frame.u.matmul(adapter.matrix(1), transposeA: true)
        let right = adapter.matrix(0).matmul(frame.v)
        return (left.matmul(right) * adapter.layout.modules[0].scale).values
    }

    /// The module of a core, as an adapter of its own.
    func decode(_ core: Tensor<Float>, module index: Int) throws(LoragenError) -> Adapter {
        let (frame, module) = (frames[index], layout.modules[index])
        let svd = try typed { try thinSVD(core.reshaped([frame.p, frame.q])) }
        let alone = try layout.only(index)
        return try Adapter(layout: alone) { (target) throws(LoragenError) in
            let kept = min(module.rank, svd.s.count)
            let b = frame.u.matmul(svd.u.slice(axis: 1, 0..<kept)).values
            let a = svd.vt.slice(axis: 0, 0..<kept).matmul(frame.v, transposeB: true).values
            let sigma = svd.s.values
            let (rangeA, rangeB) = (alone.tensors[0].range, alone.tensors[1].range)
            for k in 0..<kept {
                // The canonical sign: the largest entry of each left vector is positive.
                var top: Float = 0
                for o in 0..<module.outputs where abs(b[o * kept + k]) > abs(top) { top = b[o * kept + k] }
                let factor = (top < 0 ? -1 : 1) * max(0, sigma[k]).squareRoot()
                for o in 0..<module.outputs {
                    target[rangeB.lowerBound + o * module.rank + k] = b[o * kept + k] * factor
                }
                for j in 0..<module.inputs {
                    target[rangeA.lowerBound + k * module.inputs + j] = a[k * module.inputs + j] * factor
                }
            }
        }
    }
}

/// A name for tensors inside types that have a `Tensor` of their own.
typealias Matrix = Tensor<Float>

extension Adapter {
    /// A tensor of the layout as a matrix on the adapter's own memory.
    func matrix(_ index: Int) -> Matrix {
        let part = tensor(at: index)
        guard let base = part.values.baseAddress else { return .zeros(part.shape) }
        return .init(borrowing: base, shape: part.shape, owner: self)
    }
}

/// Orthonormal columns `[m, count]` that span the dominant left singular vectors of `x [m, n]`, by subspace iteration
/// (Halko, Martinsson and Tropp 2011, algorithm 4.4).
func dominantSubspace(
    _ x: Tensor<Float>, count: Int, random: inout Random
) throws(LoragenError) -> Tensor<Float> {
    let width = min(count + 8, x.shape[0])
    var q: Tensor<Float> = random.normal([x.shape[0], width])
    for _ in 0..<5 {
        let next = x.matmul(x.matmul(q, transposeA: true))
        q = try typed { try thinQR(next).q }
    }
    // Rotate the basis to the singular directions, so that the first columns carry the most.
    let small = q.matmul(x, transposeA: true)
    let turn = try typed { try thinSVD(small.matmul(small, transposeB: true)).u }
    return q.matmul(turn).slice(axis: 1, 0..<min(count, width))
}
