/// The keys and values of the positions so far, for decoding token by token: each new token costs one pass over the
/// cache. Inference only, one decoder at a time.
public final class KeyValueCache<E: Element>: @unchecked Sendable {
    public let batch: Int
    public let heads: Int
    public let features: Int
    public let capacity: Int
    /// Positions held.
    public private(set) var count = 0
    private let packed: PackedKeys<E>

    public init(batch: Int, heads: Int, features: Int, capacity: Int) {
        (self.batch, self.heads, self.features, self.capacity) = (batch, heads, features, capacity)
        packed = PackedKeys(
            AttentionShape(
                batch: batch, heads: heads, queries: 0, keys: capacity, features: features, causal: true))
    }

    /// Forgets all positions from `count` on.
    public func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count, "truncating \(self.count) positions to \(count)")
        self.count = count
    }

    /// Appends the keys and values of qkv [B, n, 3 D] and returns causal attention of its queries over all positions:
    /// [B, n, D], what `selfAttention` of the whole sequence gives for these rows.
    public func attend(_ qkv: Tensor<E>) -> Tensor<E> {
        precondition(
            qkv.rank == 3 && qkv.shape[0] == batch && qkv.shape[2] == 3 * features,
            "attend of \(qkv.shape) with a cache of [\(batch), \(capacity), \(features)]")
        let n = qkv.shape[1]
        precondition(count + n <= capacity, "\(count) and \(n) positions in a cache of \(capacity)")
        let shape = AttentionShape(
            batch: batch, heads: heads, queries: n, keys: count + n, features: features, causal: true, offset: count)
        func part(_ index: Int) -> SampleRows<E> {
            SampleRows(qkv.storage.base, shape: qkv.shape, from: index * features)
        }
        packed.pack(shape, part(1), part(2), from: count)
        count += n
        return Tensor.make([batch, n, features]) { packed.attend(shape, part(0), $0, logsum: nil) }
    }
}
