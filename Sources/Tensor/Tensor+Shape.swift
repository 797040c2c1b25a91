import CKernels

extension Tensor {
    /// The same elements in another shape; one extent may be -1. No copy.
    public func reshaped(_ shape: [Int]) -> Tensor {
        var target = shape
        if let free = shape.firstIndex(of: -1) {
            let known = shape.reduce(1) { $1 == -1 ? $0 : $0 * $1 }
            target[free] = known == 0 ? 0 : count / known
        }
        precondition(elementCount(target) == count, "shape \(self.shape) cannot be reshaped to \(shape)")
        let result = Tensor(storage: storage, shape: target)
        guard Tensor.isTracked(self) else { return result }
        let from = self.shape
        return result.recorded(from: [self]) { g, inputs in
            inputs[0]?.accumulate(Tensor(storage: g.storage, shape: from))
        }
    }

    public func flattened() -> Tensor { reshaped([count]) }

    /// Dimension i of the result is dimension `order[i]`.
    public func permuted(_ order: [Int]) -> Tensor {
        precondition(order.sorted() == Array(0..<rank), "order \(order) for shape \(shape)")
        let result = copied(permuting: order)
        guard Tensor.isTracked(self) else { return result }
        var inverse = order
        for (i, axis) in order.enumerated() { inverse[axis] = i }
        return result.recorded(from: [self]) { g, inputs in
            inputs[0]?.accumulate(g.copied(permuting: inverse))
        }
    }

    /// The last two dimensions exchanged.
    public func transposed() -> Tensor {
        precondition(rank >= 2, "transpose of shape \(shape)")
        var order = Array(0..<rank)
        order.swapAt(rank - 1, rank - 2)
        return permuted(order)
    }

    private func copied(permuting order: [Int]) -> Tensor {
        var strides = [Int](repeating: 1, count: rank)
        for axis in (0..<rank).dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
        let source = storage
        let target = order.map { shape[$0] }
        // Merge neighbours that stay neighbours, drop extents of 1.
        var dims: [Int] = []
        var steps: [Int] = []
        for axis in order where shape[axis] != 1 {
            if let last = steps.last, last == strides[axis] * shape[axis] {
                dims[dims.count - 1] *= shape[axis]
                steps[steps.count - 1] = strides[axis]
            } else {
                dims.append(shape[axis])
                steps.append(strides[axis])
            }
        }
        if dims.count <= 1 || count == 0 { return Tensor(storage: storage, shape: target) }
        return Tensor.make(target) { to in
            let last = dims.count - 1
            if steps[last - 1] == 1, dims.count == 2 || (dims.count == 3 && steps[0] == dims[1] * dims[2]) {
                let each = dims[last] * dims[last - 1]
                let matrices = dims.count == 3 ? dims[0] : 1
                Threads.over(matrices, grain: max(1, 16384 / each)) { start, n in
                    for m in start..<start + n {
                        lk_transpose(E.kind, dims[last], dims[last - 1], source.base + m * each, to + m * each)
                    }
                }
                return
            }
            let rows = dims.dropLast().reduce(1, *)
            Threads.over(rows, grain: max(1, 16384 / dims[last])) { start, n in
                lk_copy_strided(E.kind, Int32(dims.count), dims, steps, source.base, to, start, start + n)
            }
        }
    }

    /// Joins tensors whose shapes agree but for `axis`.
    public static func concatenate(_ parts: [Tensor], axis: Int) -> Tensor {
        precondition(!parts.isEmpty, "concatenation of nothing")
        let axis = parts[0].resolved(axis)
        var shape = parts[0].shape
        shape[axis] = 0
        for part in parts {
            var other = part.shape
            precondition(other.count == shape.count, "concatenation of \(parts[0].shape) and \(part.shape)")
            shape[axis] += other[axis]
            other[axis] = shape[axis]
            precondition(other == shape, "concatenation of \(parts[0].shape) and \(part.shape) along \(axis)")
        }
        let inner = shape[(axis + 1)...].reduce(1, *)
        let outer = shape[..<axis].reduce(1, *)
        let pitch = shape[axis] * inner
        let result = make(shape) { to in
            var start = 0
            for part in parts {
                let block = part.shape[axis] * inner
                copyBlocks(outer, block, from: part.storage.base, pitch: block, to: to + start, pitch: pitch)
                start += block
            }
        }
        guard lk_gradients_enabled(), parts.contains(where: { $0.node != nil }) else { return result }
        let extents = parts.map { $0.shape[axis] }
        return result.recorded(from: parts) { g, inputs in
            var start = 0
            for (input, extent) in zip(inputs, extents) {
                input?.accumulate(g.slice(axis: axis, start..<start + extent))
                start += extent
            }
        }
    }

    /// Equal shapes stacked along a new first dimension.
    public static func stack(_ parts: [Tensor]) -> Tensor {
        concatenate(parts.map { $0.reshaped([1] + $0.shape) }, axis: 0)
    }

    /// The part [range) of one dimension.
    public func slice(axis: Int, _ range: Range<Int>) -> Tensor {
        let axis = resolved(axis)
        precondition(
            range.lowerBound >= 0 && range.upperBound <= shape[axis], "slice \(range) of axis \(axis) of shape \(shape)"
        )
        var target = shape
        target[axis] = range.count
        let inner = shape[(axis + 1)...].reduce(1, *)
        let outer = shape[..<axis].reduce(1, *)
        let result = Tensor.make(target) { to in
            copyBlocks(
                outer, range.count * inner, from: storage.base + range.lowerBound * inner, pitch: shape[axis] * inner,
                to: to, pitch: range.count * inner)
        }
        guard Tensor.isTracked(self) else { return result }
        return result.recorded(from: [self]) { g, inputs in
            inputs[0]?.accumulate(g, axis: axis, start: range.lowerBound)
        }
    }

    /// Cut along one dimension into pieces of these extents.
    public func split(axis: Int, _ extents: [Int]) -> [Tensor] {
        precondition(extents.reduce(0, +) == shape[resolved(axis)], "split \(extents) of axis \(axis) of \(shape)")
        var start = 0
        return extents.map { extent in
            defer { start += extent }
            return slice(axis: axis, start..<start + extent)
        }
    }

    /// Row i of the result is row `index[i]` of this [n, ...]: an embedding. The gradient adds rows up.
    public func gather(_ index: [Int32]) -> Tensor {
        precondition(rank >= 1, "rows of a scalar")
        let (rows, d) = (shape[0], shape.dropFirst().reduce(1, *))
        precondition(index.allSatisfy { $0 >= 0 && $0 < rows }, "row index outside shape \(shape)")
        let result = Tensor.make([index.count] + shape.dropFirst()) {
            lk_gather_rows(E.kind, index.count, d, storage.base, index, $0)
        }
        guard Tensor.isTracked(self) else { return result }
        let from = shape
        return result.recorded(from: [self]) { g, inputs in
            var dx = Tensor.zeros(from)
            dx.withUnsafeMutableBufferPointer {
                lk_scatter_add_rows(E.kind, index.count, d, g.storage.base, index, $0.baseAddress)
            }
            inputs[0]?.accumulate(dx)
        }
    }
}

/// `count` blocks of `block` elements, `pitch` apart.
private func copyBlocks<E: Element>(
    _ count: Int, _ block: Int, from: UnsafePointer<E>, pitch fromPitch: Int, to: UnsafeMutablePointer<E>,
    pitch toPitch: Int
) {
    Threads.over(count, grain: max(1, 16384 / max(1, block))) { start, n in
        for i in start..<start + n {
            UnsafeMutableRawPointer(to + i * toPitch).copyMemory(
                from: from + i * fromPitch, byteCount: block * MemoryLayout<E>.stride)
        }
    }
}
