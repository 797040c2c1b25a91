import CKernels

/// Attention of sequences of unequal length, each with itself: qkv [N, 3 D] holds the tokens of all sequences one after the
/// other, `lengths` of them, which add up to N. There is no padding that could be seen. [N, D]; a constant.
public func selfAttention<E: Element>(
    _ qkv: Tensor<E>, lengths: [Int], heads: Int, causal: Bool, scale: Double? = nil
) -> Tensor<E> {
    precondition(qkv.rank == 2 && qkv.shape[1] % 3 == 0, "selfAttention of \(qkv.shape)")
    precondition(lengths.reduce(0, +) == qkv.shape[0], "selfAttention of \(qkv.shape) in \(lengths)")
    let d = qkv.shape[1] / 3
    var starts: [Int] = []
    var total = 0
    for length in lengths {
        starts.append(total)
        total += length
    }
    return Tensor.make([qkv.shape[0], d]) { to in
        Threads.parallelFor(lengths.count) { index in
            let (start, length) = (starts[index], lengths[index])
            if length == 0 { return }
            let shape = AttentionShape(
                batch: 1, heads: heads, queries: length, keys: length, features: d, causal: causal, scale: scale)
            let base = qkv.storage.base + start * 3 * d
            func part(_ index: Int) -> SampleRows<E> { SampleRows(base, shape: [1, length, 3 * d], from: index * d) }
            let packed = PackedKeys<E>(shape)
            packed.pack(shape, part(1), part(2))
            packed.attend(shape, part(0), to + start * d, logsum: nil)
        }
    }
}
