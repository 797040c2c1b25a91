import Tensor

/// The examples of one training step: epochs without replacement, a function of seed and step alone.
public func batchRows(step: Int, batch: Int, of count: Int, seed: UInt64) -> [Int32] {
    var rows: [Int32] = []
    rows.reserveCapacity(batch)
    var (epoch, position) = (step * batch).quotientAndRemainder(dividingBy: max(1, count))
    while rows.count < batch {
        var random = Random(seed: seed, stream: RandomStreams.batches &+ UInt64(epoch) << 8)
        let order = random.permutation(count)
        while position < count, rows.count < batch {
            rows.append(Int32(clamping: order[position]))
            position += 1
        }
        (epoch, position) = (epoch + 1, 0)
    }
    return rows
}
