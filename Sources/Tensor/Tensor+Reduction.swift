import CKernels

/// y[i, k] = sum over j of x[i, j, k]. Few long sums are cut into blocks whose number depends on the shape alone.
func sumMiddle<E: Element>(
    outer: Int, reduced: Int, inner: Int, _ x: UnsafePointer<E>, _ y: UnsafeMutablePointer<E>
) {
    let block = 1 << 16
    if outer < 16, reduced * inner > 2 * block {
        let parts = min(64, max(1, reduced * inner / block), reduced)
        let rows = (reduced + parts - 1) / parts
        let used = (reduced + rows - 1) / rows
        let partial = Storage<E>(count: outer * used * inner)
        defer { withExtendedLifetime(partial) {} }
        Threads.parallelFor(outer * used) { chunk in
            let (o, part) = (chunk / used, chunk % used)
            let n = min(rows, reduced - part * rows)
            lk_sum_middle(E.kind, 1, n, inner, x + (o * reduced + part * rows) * inner, partial.base + chunk * inner)
        }
        lk_sum_middle(E.kind, outer, used, inner, partial.base, y)
        return
    }
    Threads.over(outer, grain: max(1, block / max(1, reduced * inner))) { start, n in
        lk_sum_middle(E.kind, n, reduced, inner, x + start * reduced * inner, y + start * inner)
    }
}

extension Tensor {
    /// The sum over the axes marked true; no graph. Their extents become 1.
    private func summed(over mask: [Bool]) -> Tensor {
        var current = self.detached()
        var axis = rank - 1
        while axis >= 0 {
            guard mask[axis] else {
                axis -= 1
                continue
            }
            var first = axis  // a run of reduced axes is one sum
            while first > 0, mask[first - 1] { first -= 1 }
            var shape = current.shape
            let outer = shape[..<first].reduce(1, *)
            let reduced = shape[first...axis].reduce(1, *)
            let inner = shape[(axis + 1)...].reduce(1, *)
            for a in first...axis { shape[a] = 1 }
            if reduced == 1 {
                current = Tensor(storage: current.storage, shape: shape)
            } else {
                let source = current
                current = Tensor.make(shape) {
                    sumMiddle(outer: outer, reduced: reduced, inner: inner, source.storage.base, $0)
                }
            }
            axis = first - 1
        }
        return current
    }

    /// The adjoint of broadcasting from `target`: sums over the axes that were repeated.
    func summed(to target: [Int]) -> Tensor {
        if shape == target { return self }
        let missing = rank - target.count
        let mask = shape.indices.map { $0 < missing || (target[$0 - missing] == 1 && shape[$0] != 1) }
        return Tensor(storage: summed(over: mask).storage, shape: target)
    }

    /// Repeats along axes of extent 1 up to `target`; no graph.
    func broadcast(to target: [Int]) -> Tensor { shape == target ? self : self + Tensor.zeros(target) }

    /// The sum over `axes` (all of them by default; negative ones count from the end).
    public func sum(axes: [Int]? = nil, keepDims: Bool = false) -> Tensor {
        var mask = [Bool](repeating: axes == nil, count: rank)
        for axis in axes ?? [] { mask[resolved(axis)] = true }
        let kept = summed(over: mask)
        let shape = keepDims ? kept.shape : self.shape.indices.filter { !mask[$0] }.map { self.shape[$0] }
        let result = Tensor(storage: kept.storage, shape: shape)
        guard Tensor.isTracked(self) else { return result }
        let (from, keptShape) = (self.shape, kept.shape)
        return result.recorded(from: [self]) { g, inputs in
            inputs[0]?.accumulate(Tensor(storage: g.storage, shape: keptShape).broadcast(to: from))
        }
    }

    /// The mean over `axes` (all of them by default).
    public func mean(axes: [Int]? = nil, keepDims: Bool = false) -> Tensor {
        let n = axes.map { $0.reduce(1) { $0 * shape[resolved($1)] } } ?? count
        return sum(axes: axes, keepDims: keepDims) * (1 / Double(n))
    }

    /// The axis counted from the front.
    func resolved(_ axis: Int) -> Int {
        let index = axis < 0 ? axis + rank : axis
        precondition(index >= 0 && index < rank, "axis \(axis) of shape \(shape)")
        return index
    }

    /// The sum of x[i]^2, in double: for norms.
    public var sumOfSquares: Double { lk_dot(E.kind, count, storage.base, storage.base) }
}
