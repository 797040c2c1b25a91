import CKernels

extension Tensor {
    /// exp(x) / sum(exp(x)) over the last axis.
    public func softmax() -> Tensor {
        precondition(rank >= 1, "softmax of a scalar")
        let (d, x) = (shape[rank - 1], storage)
        let rows = d == 0 ? 0 : count / d
        let grain = max(1, 8192 / max(1, d))
        let result = Tensor.make(shape) { y in
            Threads.over(rows, grain: grain) { r, n in lk_softmax(E.kind, n, d, x.base + r * d, y + r * d) }
        }
        guard Tensor.isTracked(self) else { return result }
        let y = result.storage
        return result.recorded(from: [self]) { g, inputs in
            inputs[0]?.accumulate(
                Tensor.make(g.shape) { dx in
                    Threads.over(rows, grain: grain) { r, n in
                        lk_softmax_backward(E.kind, n, d, y.base + r * d, g.storage.base + r * d, dx + r * d)
                    }
                })
        }
    }
}

/// The sum of weight (x - target)^2 over all elements, times `factor`. Only x is differentiated.
private func squaredError<E: Element>(
    _ x: Tensor<E>, _ target: Tensor<E>, _ weight: Tensor<E>?, factor: Double
) -> Tensor<E> {
    precondition(x.shape == target.shape, "loss of \(x.shape) against \(target.shape)")
    let block = 1 << 16
    let parts = (x.count + block - 1) / block
    var partial = [Double](repeating: 0, count: parts)
    partial.withUnsafeMutableBufferPointer { partial in
        let sums = UncheckedPointer(partial.baseAddress)
        Threads.over(x.count, grain: block) { start, n in
            sums.base?[start / block] = lk_squared_distance(
                E.kind, n, x.storage.base + start, target.storage.base + start, weight.map { $0.storage.base + start })
        }
    }
    let result = Tensor(E(partial.reduce(0, +) * factor))
    guard Tensor.isTracked(x) else { return result }
    let (a, b, w) = (x.detached(), target.detached(), weight?.detached())
    return result.recorded(from: [x]) { g, inputs in
        let slope = (a - b) * (2 * factor * Double(g.item))
        inputs[0]?.accumulate(w.map { slope * $0 } ?? slope)
    }
}

/// A pointer that several threads may hold because each writes its own elements.
struct UncheckedPointer<T>: @unchecked Sendable {
    let base: UnsafeMutablePointer<T>?
    init(_ base: UnsafeMutablePointer<T>?) { self.base = base }
}

/// The mean of (x - target)^2 over all elements; `target` is a constant.
public func mseLoss<E: Element>(_ x: Tensor<E>, _ target: Tensor<E>) -> Tensor<E> {
    squaredError(x, target, nil, factor: 1 / Double(max(1, x.count)))
}

/// sum(weight (x - target)^2) / sum(weight): a mean over the elements that count (padding has weight 0). `target` and
/// `weight` are constants; `weight` broadcasts to x.
public func mseLoss<E: Element>(_ x: Tensor<E>, _ target: Tensor<E>, weight: Tensor<E>) -> Tensor<E> {
    let full = weight.detached().broadcast(to: x.shape)
    precondition(full.shape == x.shape, "weight \(weight.shape) for a loss of \(x.shape)")
    let total = Double(full.sum().item)
    return squaredError(x, target, full, factor: total > 0 ? 1 / total : 0)
}

/// The mean over rows of -log softmax(logits)[target]; logits [rows, classes], one class index a row.
public func crossEntropy<E: Element>(_ logits: Tensor<E>, _ target: [Int32]) -> Tensor<E> {
    precondition(
        logits.rank == 2 && logits.shape[0] == target.count,
        "crossEntropy of \(logits.shape) with \(target.count) targets")
    let (rows, d) = (logits.shape[0], logits.shape[1])
    precondition(target.allSatisfy { $0 >= 0 && $0 < d }, "class outside 0..<\(d)")
    let probabilities = Tensor<E>.zeros(logits.shape)
    let losses = Tensor<E>.make([rows]) { losses in
        let classes = target
        classes.withUnsafeBufferPointer { classes in
            let targets = UncheckedPointer(UnsafeMutablePointer(mutating: classes.baseAddress))
            Threads.over(rows, grain: max(1, 8192 / max(1, d))) { r, n in
                lk_cross_entropy(
                    E.kind, n, d, logits.storage.base + r * d, targets.base.map { $0 + r },
                    probabilities.storage.base + r * d, losses + r)
            }
        }
    }
    let result = losses.mean()
    guard Tensor.isTracked(logits) else { return result }
    return result.recorded(from: [logits]) { g, inputs in
        var dx = probabilities
        dx.withUnsafeMutableBufferPointer { for (r, c) in target.enumerated() { $0[r * d + Int(c)] -= 1 } }
        inputs[0]?.accumulate(dx * (Double(g.item) / Double(rows)))
    }
}
