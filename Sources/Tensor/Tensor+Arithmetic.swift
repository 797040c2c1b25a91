import CKernels

extension Tensor {
    /// a op b with broadcasting; no graph.
    private static func combine(_ op: lk_binary_op, _ a: Tensor, _ b: Tensor) -> Tensor {
        let plan = Broadcast(a.shape, b.shape)
        let (x, y) = (a.storage, b.storage)
        return make(plan.shape) { out in
            let inner = plan.dims[plan.dims.count - 1]
            if plan.dims.count == 1 {
                Threads.over(inner) { start, n in
                    lk_binary(
                        E.kind, op, 1, [n], plan.strideA, plan.strideB, x.base + start * plan.strideA[0],
                        y.base + start * plan.strideB[0], out + start, 0, 1)
                }
                return
            }
            let rows = plan.dims.dropLast().reduce(1, *)
            Threads.over(rows, grain: max(1, 16384 / max(inner, 1))) { start, n in
                lk_binary(
                    E.kind, op, Int32(plan.dims.count), plan.dims, plan.strideA, plan.strideB, x.base, y.base, out,
                    start, start + n)
            }
        }
    }

    public static func + (a: Tensor, b: Tensor) -> Tensor {
        let result = combine(LK_ADD, a, b)
        guard isTracked(a, b) else { return result }
        let (shapeA, shapeB) = (a.shape, b.shape)
        return result.recorded(from: [a, b]) { g, inputs in
            inputs[0]?.accumulate(g.summed(to: shapeA))
            inputs[1]?.accumulate(g.summed(to: shapeB))
        }
    }

    public static func - (a: Tensor, b: Tensor) -> Tensor {
        let result = combine(LK_SUB, a, b)
        guard isTracked(a, b) else { return result }
        let (shapeA, shapeB) = (a.shape, b.shape)
        return result.recorded(from: [a, b]) { g, inputs in
            inputs[0]?.accumulate(g.summed(to: shapeA))
            inputs[1]?.accumulate((-g).summed(to: shapeB))
        }
    }

    public static func * (a: Tensor, b: Tensor) -> Tensor {
        let result = combine(LK_MUL, a, b)
        guard isTracked(a, b) else { return result }
        let (x, y) = (a.detached(), b.detached())
        return result.recorded(from: [a, b]) { g, inputs in
            inputs[0]?.accumulate((g * y).summed(to: x.shape))
            inputs[1]?.accumulate((g * x).summed(to: y.shape))
        }
    }

    public static func / (a: Tensor, b: Tensor) -> Tensor {
        let result = combine(LK_DIV, a, b)
        guard isTracked(a, b) else { return result }
        let (shapeA, y, quotient) = (a.shape, b.detached(), result)
        return result.recorded(from: [a, b]) { g, inputs in
            let part = g / y
            inputs[0]?.accumulate(part.summed(to: shapeA))
            inputs[1]?.accumulate((-(part * quotient)).summed(to: y.shape))
        }
    }

    public static prefix func - (a: Tensor) -> Tensor { a.affine(scale: -1, shift: 0) }
    public static func + (a: Tensor, b: Double) -> Tensor { a.affine(scale: 1, shift: b) }
    public static func + (a: Double, b: Tensor) -> Tensor { b.affine(scale: 1, shift: a) }
    public static func - (a: Tensor, b: Double) -> Tensor { a.affine(scale: 1, shift: -b) }
    public static func - (a: Double, b: Tensor) -> Tensor { b.affine(scale: -1, shift: a) }
    public static func * (a: Tensor, b: Double) -> Tensor { a.affine(scale: b, shift: 0) }
    public static func * (a: Double, b: Tensor) -> Tensor { b.affine(scale: a, shift: 0) }
    public static func / (a: Tensor, b: Double) -> Tensor { a.affine(scale: 1 / b, shift: 0) }
    public static func / (a: Double, b: Tensor) -> Tensor { b.reciprocal().affine(scale: a, shift: 0) }
}
