import Tensor

extension Corpus {
    /// The smallest and the largest norm of an adapter's updates, `√Σ‖scale · B · A‖²` over its modules; `nil` when the
    /// corpus is empty.
    public func norms() throws(LoragenError) -> ClosedRange<Double>? {
        var range: ClosedRange<Double>?
        for i in entries.indices {
            let norm = try adapter(at: i).squaredNorms().reduce(0, +).squareRoot()
            range = min(norm, range?.lowerBound ?? norm)...max(norm, range?.upperBound ?? norm)
        }
        return range
    }
}
