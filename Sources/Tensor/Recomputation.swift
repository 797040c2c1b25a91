import CKernels

/// Runs `body` on `inputs` and keeps nothing of what happens inside: `backward()` runs it again to get the activations
/// (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Gradients have the same bytes as without.
///
/// Every tensor that `body` depends on and that has a gradient of its own must be in `inputs`, or be a parameter; a
/// captured result of earlier operations is a programmer's error. `body` must do the same each time.
public func recomputed<E: Element>(
    _ inputs: [Tensor<E>], _ body: @escaping ([Tensor<E>]) -> Tensor<E>
) -> Tensor<E> {
    guard lk_gradients_enabled() else { return body(inputs) }
    let constants = inputs.map { $0.detached() }
    let result = withoutGradients { body(constants) }
    // Always a node: whether parameters inside ask for gradients is known in the second run only.
    return result.recorded(from: inputs) { g, nodes in
        let leaves = zip(constants, nodes).map { $1 == nil ? $0 : $0.requiringGradient() }
        let start = lk_next_order()
        let again = withGradients { Recomputation.run { body(leaves) } }
        again.backward(g, after: start)
        for (leaf, node) in zip(leaves, nodes) {
            if let node, let gradient = leaf.gradient { node.accumulate(gradient) }
        }
    }
}

/// `recomputed` of a function of one tensor.
public func recomputed<E: Element>(_ input: Tensor<E>, _ body: @escaping (Tensor<E>) -> Tensor<E>) -> Tensor<E> {
    recomputed([input]) { body($0[0]) }
}

/// Whether this thread runs a body for the second time: layers with running statistics then leave them alone.
public enum Recomputation {
    public static var isActive: Bool { lk_recomputing() }

    fileprivate static func run<R>(_ body: () -> R) -> R {
        lk_recomputation(1)
        defer { lk_recomputation(-1) }
        return body()
    }
}

/// Records again although `backward()` runs.
private func withGradients<R>(_ body: () -> R) -> R {
    var depth: Int32 = 0
    while !lk_gradients_enabled() {
        lk_gradients_off(-1)
        depth += 1
    }
    defer { lk_gradients_off(depth) }
    return body()
}
