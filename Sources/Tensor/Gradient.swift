import CKernels

/// Reverse-mode differentiation. Each tracked operation makes a node that knows its inputs' nodes and how to send a
/// gradient back to them; nodes are numbered in the order of creation, so descending numbers are a topological order.
public final class Node<E: Element>: @unchecked Sendable {
    typealias Pull = (_ gradient: Tensor<E>, _ inputs: [Node<E>?]) -> Void

    let order = lk_next_order()
    let shape: [Int]
    let isLeaf: Bool
    private(set) var inputs: [Node<E>?]
    private var pull: Pull?
    private var consumed = false
    /// What has arrived so far; leaves keep it.
    var gradient: Tensor<E>?

    /// A leaf, where gradients end.
    init(leaf shape: [Int]) {
        self.shape = shape
        isLeaf = true
        inputs = []
    }

    init(shape: [Int], inputs: [Node<E>?], pull: @escaping Pull) {
        self.shape = shape
        self.inputs = inputs
        self.pull = pull
        isLeaf = false
    }

    /// A long chain that is dropped without `backward` is taken apart in a loop; recursion would exhaust the stack.
    deinit {
        var pending = takeInputs()
        while !pending.isEmpty {
            var node = pending.removeLast()
            if isKnownUniquelyReferenced(&node) { pending.append(contentsOf: node.takeInputs()) }
        }
    }

    private func takeInputs() -> [Node<E>] {
        let taken = inputs.compactMap { $0 }
        inputs = []
        return taken
    }

    func accumulate(_ incoming: Tensor<E>) {
        precondition(incoming.shape == shape, "gradient of shape \(incoming.shape) for a value of shape \(shape)")
        guard gradient != nil else {
            gradient = incoming.detached()
            return
        }
        gradient!.add(incoming)
    }

    /// Adds to the part [start, start + extent) of dimension `axis`, so that slices of one tensor share a buffer.
    func accumulate(_ incoming: Tensor<E>, axis: Int, start: Int) {
        if gradient == nil { gradient = .zeros(shape) }
        let inner = shape[(axis + 1)...].reduce(1, *)
        let outer = shape[..<axis].reduce(1, *)
        let block = incoming.shape[axis] * inner
        gradient!.withUnsafeMutableBufferPointer { to in
            guard let base = to.baseAddress else { return }
            for o in 0..<outer {
                lk_axpby(
                    E.kind, block, 1, incoming.storage.base + o * block, 1,
                    base + (o * shape[axis] + start) * inner)
            }
        }
    }

    /// Sends the gradient to the inputs, then drops it together with all that was saved for it.
    fileprivate func propagate() {
        if isLeaf { return }
        precondition(!consumed, "backward() ran through this part of the graph before")
        consumed = true
        if let gradient, let pull { pull(gradient, inputs) }
        gradient = nil
        pull = nil
        inputs = []
    }

    /// All nodes that can be reached, latest first; inner ones must be younger than `start`.
    fileprivate func reachable(after start: UInt64) -> [Node<E>] {
        var seen: Set<ObjectIdentifier> = [ObjectIdentifier(self)]
        var found = [self]
        var next = 0
        while next < found.count {
            for case let input? in found[next].inputs where seen.insert(ObjectIdentifier(input)).inserted {
                precondition(input.isLeaf || input.order >= start, "recomputed: a value from outside is not an input")
                found.append(input)
            }
            next += 1
        }
        return found.sorted { $0.order > $1.order }
    }
}

/// Runs `body` without recording anything for differentiation on this thread.
public func withoutGradients<R>(_ body: () throws -> R) rethrows -> R {
    lk_gradients_off(1)
    defer { lk_gradients_off(-1) }
    return try body()
}

extension Tensor {
    /// Whether operations on this tensor are recorded.
    public var requiresGradient: Bool { node != nil }

    /// The same elements as a constant.
    public func detached() -> Tensor { Tensor(storage: storage, shape: shape) }

    /// The same elements as a leaf, whose `gradient` is set by `backward()`.
    public func requiringGradient() -> Tensor { Tensor(storage: storage, shape: shape, node: Node(leaf: shape)) }

    /// What `backward()` has left in this leaf so far.
    public var gradient: Tensor? { node?.gradient }

    /// Adds the derivatives of this scalar to the gradients of all leaves that it depends on, and frees what was
    /// saved for them on the way: a second call through the same graph is a programmer's error.
    public func backward() {
        precondition(count == 1, "backward() of shape \(shape)")
        backward(.ones(shape), after: 0)
    }

    /// The same for a result of any shape, from its gradient; the graph must have begun with node `start`.
    func backward(_ gradient: Tensor, after start: UInt64) {
        guard let node else { return }
        withoutGradients {
            node.accumulate(gradient)
            var order = Array(node.reachable(after: start).reversed())
            while let last = order.popLast() { last.propagate() }
        }
    }

    /// Whether a result of these operands must be recorded.
    static func isTracked(_ operands: Tensor?...) -> Bool {
        operands.contains { $0?.node != nil } && lk_gradients_enabled()
    }

    /// This result as a node of the graph. `pull` gets the gradient of the result and the operands' nodes (nil for
    /// constants); it must capture detached tensors only.
    func recorded(from operands: [Tensor?], _ pull: @escaping Node<E>.Pull) -> Tensor {
        Tensor(storage: storage, shape: shape, node: Node(shape: shape, inputs: operands.map { $0?.node }, pull: pull))
    }

    /// A result with a derivative of the caller's own: `pull` maps the gradient of the result to gradients of
    /// `operands`, nil for none. `pull` must capture detached tensors only; it runs on the thread of `backward()`.
    public func withGradient(of operands: [Tensor], _ pull: @escaping (Tensor) -> [Tensor?]) -> Tensor {
        guard lk_gradients_enabled(), operands.contains(where: { $0.node != nil }) else { return detached() }
        return recorded(from: operands) { gradient, inputs in
            for (input, part) in zip(inputs, pull(gradient)) {
                if let input, let part { input.accumulate(part) }
            }
        }
    }

    /// self += other, in place; shapes must be equal.
    mutating func add(_ other: Tensor) {
        withUnsafeMutableBufferPointer { to in
            guard let base = to.baseAddress else { return }
            Threads.over(to.count) { start, n in
                lk_axpby(E.kind, n, 1, other.storage.base + start, 1, base + start)
            }
        }
    }

    /// self = (1 - weight) self + weight other, in place; shapes must be equal.
    public mutating func blend(with other: Tensor, weight: Double) {
        precondition(shape == other.shape, "blend of \(shape) and \(other.shape)")
        withUnsafeMutableBufferPointer { to in
            guard let base = to.baseAddress else { return }
            Threads.over(to.count) { start, n in
                lk_axpby(E.kind, n, weight, other.storage.base + start, 1 - weight, base + start)
            }
        }
    }
}
