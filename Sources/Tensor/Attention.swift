import CKernels

/// Multi-head attention (Vaswani et al. 2017) over tiles of 48 queries and 256 keys with a running softmax (Dao,
/// "FlashAttention-2", 2023): the scores [T, T] never exist at once, so memory grows with T alone.
struct AttentionShape {
    let batch: Int
    let heads: Int
    let queries: Int
    let keys: Int
    /// Numbers a head.
    let width: Int
    let causal: Bool
    /// Causal: query i sees the keys 0 ... offset + i.
    let offset: Int
    let scale: Double

    var features: Int { heads * width }
    /// Rows of the transposed keys are this far apart: whole vectors on every instruction set.
    var keyPitch: Int { (keys + 15) / 16 * 16 }

    init(
        batch: Int, heads: Int, queries: Int, keys: Int, features: Int, causal: Bool, offset: Int = 0,
        scale: Double? = nil
    ) {
        precondition(heads > 0 && features % heads == 0, "\(features) features for \(heads) heads")
        precondition(keys > 0 || queries == 0, "attention over no keys")
        (self.batch, self.heads, self.queries, self.keys) = (batch, heads, queries, keys)
        width = features / heads
        (self.causal, self.offset) = (causal, offset)
        self.scale = scale ?? 1 / Double(width).squareRoot()
    }

    /// The kernel's description of head `index` of batch * heads, without operands.
    fileprivate var description: lk_attention {
        var result = lk_attention()
        (result.queries, result.keys, result.width) = (queries, keys, width)
        (result.offset, result.causal, result.scale) = (offset, causal, scale)
        return result
    }
}

/// A matrix [T, D] of each sample, maybe a part of wider rows.
struct SampleRows<E: Element> {
    let base: UnsafeMutablePointer<E>
    /// Elements between rows and between samples.
    let pitch: Int
    let sampleStride: Int

    init(_ tensor: Tensor<E>) {
        (base, pitch) = (tensor.storage.base, tensor.shape[2])
        sampleStride = tensor.shape[1] * pitch
    }

    /// Columns `first ...` of a [B, T, wide].
    init(_ base: UnsafeMutablePointer<E>, shape: [Int], from first: Int) {
        (self.base, pitch, sampleStride) = (base + first, shape[2], shape[1] * shape[2])
    }

    /// Head `index` of batch * heads.
    func head(_ index: Int, _ shape: AttentionShape) -> UnsafeMutablePointer<E> {
        base + index / shape.heads * sampleStride + index % shape.heads * shape.width
    }
}

/// Keys, transposed, and values of all heads as the kernel reads them: [B, H, width, pitch] and [B, H, keys, width].
struct PackedKeys<E: Element> {
    let keys: Storage<E>
    let values: Storage<E>
    let keyPitch: Int
    let capacity: Int

    init(_ shape: AttentionShape) {
        (keyPitch, capacity) = (shape.keyPitch, shape.keys)
        keys = Storage(count: shape.batch * shape.features * keyPitch)
        values = Storage(count: shape.batch * shape.features * capacity)
    }

    private func place(_ s: inout lk_attention, _ index: Int) {
        s.kt = UnsafeRawPointer(keys.base + index * s.width * keyPitch)
        s.v = UnsafeRawPointer(values.base + index * s.width * capacity)
        (s.ktPitch, s.vPitch) = (keyPitch, s.width)
    }

    /// Takes the positions [first, shape.keys) from k and v, whose row 0 is position `first`.
    func pack(_ shape: AttentionShape, _ k: SampleRows<E>, _ v: SampleRows<E>, from first: Int = 0) {
        let count = max(1, (shape.keys - first) * shape.width)
        Threads.over(shape.batch * shape.heads, grain: max(1, 16384 / count)) { start, n in
            for index in start..<start + n {
                var s = shape.description
                place(&s, index)
                lk_attention_pack(
                    E.kind, &s, k.head(index, shape), k.pitch, v.head(index, shape), v.pitch, first,
                    UnsafeMutableRawPointer(mutating: s.kt), UnsafeMutableRawPointer(mutating: s.v))
            }
        }
    }

    /// out [B, queries, D] and, if wanted, logsum [B, H, queries].
    func attend(
        _ shape: AttentionShape, _ q: SampleRows<E>, _ out: UnsafeMutablePointer<E>, logsum: Storage<E>?
    ) {
        let tile = LK_ATTENTION_QUERIES
        let tiles = (shape.queries + tile - 1) / tile
        let work = min(tile, shape.queries) * shape.keys * shape.width
        Threads.over(shape.batch * shape.heads * tiles, grain: max(1, (1 << 16) / max(1, work))) { start, n in
            let rows = min(tile, shape.queries)
            let scratch = Storage<E>(count: rows * (LK_ATTENTION_KEYS + 2 * shape.width + 2))
            defer { withExtendedLifetime(scratch) {} }
            for task in start..<start + n {
                let (index, first) = (task / tiles, task % tiles * tile)
                var s = shape.description
                place(&s, index)
                (s.q, s.qPitch) = (UnsafeRawPointer(q.head(index, shape)), q.pitch)
                s.out = UnsafeMutableRawPointer(
                    out + index / shape.heads * shape.queries * shape.features + index % shape.heads * shape.width)
                s.outPitch = shape.features
                s.logsum = logsum.map { UnsafeMutableRawPointer($0.base + index * shape.queries) }
                lk_attention_forward(E.kind, &s, first, min(first + tile, shape.queries), scratch.base)
            }
        }
    }
}

/// Everything of the forward pass that the way back reads.
private struct AttentionRun<E: Element> {
    let shape: AttentionShape
    let out: Tensor<E>
    let logsum: Storage<E>?

    init(_ shape: AttentionShape, _ q: SampleRows<E>, _ k: SampleRows<E>, _ v: SampleRows<E>, tracked: Bool) {
        self.shape = shape
        let sums = tracked ? Storage<E>(count: shape.batch * shape.heads * shape.queries) : nil
        logsum = sums
        out = Tensor.make([shape.batch, shape.queries, shape.features]) { to in
            let packed = PackedKeys<E>(shape)
            packed.pack(shape, k, v)
            packed.attend(shape, q, to, logsum: sums)
        }
    }

    /// One task a head: its keys' gradients are sums over all queries.
    func back(
        _ g: Tensor<E>, _ q: SampleRows<E>, _ k: SampleRows<E>, _ v: SampleRows<E>, _ dq: SampleRows<E>,
        _ dk: SampleRows<E>, _ dv: SampleRows<E>
    ) {
        let (result, gradient) = (SampleRows(out), SampleRows(g))
        Threads.parallelFor(shape.batch * shape.heads) { index in
            var s = shape.description
            (s.q, s.qPitch) = (UnsafeRawPointer(q.head(index, shape)), q.pitch)
            (s.v, s.vPitch) = (UnsafeRawPointer(v.head(index, shape)), v.pitch)
            (s.out, s.outPitch) = (UnsafeMutableRawPointer(result.head(index, shape)), result.pitch)
            s.logsum = logsum.map { UnsafeMutableRawPointer($0.base + index * shape.queries) }
            var b = lk_attention_gradient()
            (b.k, b.kPitch) = (UnsafeRawPointer(k.head(index, shape)), k.pitch)
            (b.g, b.gPitch) = (UnsafeRawPointer(gradient.head(index, shape)), gradient.pitch)
            (b.dq, b.dqPitch) = (UnsafeMutableRawPointer(dq.head(index, shape)), dq.pitch)
            (b.dk, b.dkPitch) = (UnsafeMutableRawPointer(dk.head(index, shape)), dk.pitch)
            (b.dv, b.dvPitch) = (UnsafeMutableRawPointer(dv.head(index, shape)), dv.pitch)
            let scratch = Storage<E>(count: lk_attention_backward_scratch(&s))
            lk_attention_backward(E.kind, &s, &b, scratch.base)
            withExtendedLifetime(scratch) {}
        }
    }
}

/// softmax(scale q kᵀ) v for each head; q [B, T, D], k and v [B, S, D], heads side by side in D: [B, T, D]. `causal`:
/// query i sees the keys 0 ... i. `scale` is 1/sqrt(D / heads) when nil.
public func attention<E: Element>(
    _ q: Tensor<E>, _ k: Tensor<E>, _ v: Tensor<E>, heads: Int, causal: Bool, scale: Double? = nil
) -> Tensor<E> {
    precondition(
        q.rank == 3 && k.rank == 3 && k.shape == v.shape && q.shape[0] == k.shape[0] && q.shape[2] == k.shape[2],
        "attention of \(q.shape), \(k.shape) and \(v.shape)")
    let shape = AttentionShape(
        batch: q.shape[0], heads: heads, queries: q.shape[1], keys: k.shape[1], features: q.shape[2], causal: causal,
        scale: scale)
    let tracked = Tensor.isTracked(q, k, v)
    let run = AttentionRun(shape, SampleRows(q), SampleRows(k), SampleRows(v), tracked: tracked)
    guard tracked else { return run.out }
    let (x, y, z) = (q.detached(), k.detached(), v.detached())
    return run.out.recorded(from: [q, k, v]) { g, inputs in
        let d = [x, y, z].map { Tensor<E>(storage: Storage(count: $0.count), shape: $0.shape) }
        run.back(
            g, SampleRows(x), SampleRows(y), SampleRows(z), SampleRows(d[0]), SampleRows(d[1]), SampleRows(d[2]))
        for (input, part) in zip(inputs, d) { input?.accumulate(part) }
    }
}

/// Attention of a sequence with itself: qkv [B, T, 3 D] holds queries, keys and values side by side: [B, T, D].
public func selfAttention<E: Element>(
    _ qkv: Tensor<E>, heads: Int, causal: Bool, scale: Double? = nil
) -> Tensor<E> {
    precondition(qkv.rank == 3 && qkv.shape[2] % 3 == 0, "selfAttention of \(qkv.shape)")
    let d = qkv.shape[2] / 3
    let shape = AttentionShape(
        batch: qkv.shape[0], heads: heads, queries: qkv.shape[1], keys: qkv.shape[1], features: d, causal: causal,
        scale: scale)
    func part(_ tensor: Tensor<E>, _ index: Int) -> SampleRows<E> {
        SampleRows(tensor.storage.base, shape: tensor.shape, from: index * d)
    }
    let tracked = Tensor.isTracked(qkv)
    let run = AttentionRun(shape, part(qkv, 0), part(qkv, 1), part(qkv, 2), tracked: tracked)
    guard tracked else { return run.out }
    let x = qkv.detached()
    return run.out.recorded(from: [qkv]) { g, inputs in
        let dx = Tensor<E>(storage: Storage(count: x.count), shape: x.shape)
        run.back(g, part(x, 0), part(x, 1), part(x, 2), part(dx, 0), part(dx, 1), part(dx, 2))
        inputs[0]?.accumulate(dx)
    }
}
