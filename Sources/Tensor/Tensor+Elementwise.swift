import CKernels

/// What an operation's derivative needs.
private enum Saved { case input, output, nothing }

extension Tensor {
    private func unary(_ op: lk_unary_op, _ p: Double = 0, _ q: Double = 0, saves: Saved = .input) -> Tensor {
        let x = storage
        let result = Tensor.make(shape) { y in
            Threads.over(count) { start, n in lk_unary(E.kind, op, n, x.base + start, y + start, p, q) }
        }
        guard Tensor.isTracked(self) else { return result }
        let saved: Storage<E>? =
            switch saves {
            case .input: x
            case .output: result.storage
            case .nothing: nil
            }
        return result.recorded(from: [self]) { g, inputs in
            let from = saved ?? g.storage
            inputs[0]?.accumulate(
                Tensor.make(g.shape) { dx in
                    Threads.over(g.count) { start, n in
                        lk_unary_backward(
                            E.kind, op, n, from.base + start, g.storage.base + start, dx + start, p, q)
                    }
                })
        }
    }

    /// scale * x + shift
    public func affine(scale: Double, shift: Double) -> Tensor { unary(LK_AFFINE, scale, shift, saves: .nothing) }
    public func square() -> Tensor { unary(LK_SQUARE) }
    public func squareRoot() -> Tensor { unary(LK_SQRT, saves: .output) }
    public func reciprocal() -> Tensor { unary(LK_RECIPROCAL, saves: .output) }
    public func exp() -> Tensor { unary(LK_EXP, saves: .output) }
    public func log() -> Tensor { unary(LK_LOG) }
    public func abs() -> Tensor { unary(LK_ABS) }
    /// min(max(x, low), high); the gradient is 0 outside.
    public func clamp(_ low: Double, _ high: Double) -> Tensor { unary(LK_CLAMP, low, high) }
    public func tanh() -> Tensor { unary(LK_TANH, saves: .output) }
    public func sigmoid() -> Tensor { unary(LK_SIGMOID, saves: .output) }
    /// x sigmoid(x)
    public func silu() -> Tensor { unary(LK_SILU) }
    /// x Phi(x), Phi the normal distribution function (PyTorch's default form).
    public func gelu() -> Tensor { unary(LK_GELU_ERF) }
    /// The tanh form of GELU (`approximate="tanh"`).
    public func geluTanh() -> Tensor { unary(LK_GELU_TANH) }
    public func relu() -> Tensor { unary(LK_RELU) }
    public func leakyReLU(slope: Double = 0.01) -> Tensor { unary(LK_LEAKY_RELU, slope) }
    public func elu(alpha: Double = 1) -> Tensor { unary(LK_ELU, alpha) }
    /// log(1 + exp(x))
    public func softplus() -> Tensor { unary(LK_SOFTPLUS) }
}
