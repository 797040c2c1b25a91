import CKernels

/// The constants of one AdamW step: correction1 = 1 - beta1^t, correction2 = 1 - beta2^t; `scale` multiplies the
/// gradient first.
public struct AdamWConstants: Sendable {
    public var rate, beta1, beta2, eps, decay, correction1, correction2, scale: Double

    public init(
        rate: Double, beta1: Double, beta2: Double, eps: Double, decay: Double, correction1: Double,
        correction2: Double, scale: Double
    ) {
        (self.rate, self.beta1, self.beta2, self.eps) = (rate, beta1, beta2, eps)
        (self.decay, self.correction1, self.correction2, self.scale) = (decay, correction1, correction2, scale)
    }
}

extension Parameter {
    /// One AdamW step in place over value and both moments, which have the parameter's shape.
    public func step(_ constants: AdamWConstants, _ first: inout Tensor<E>, _ second: inout Tensor<E>) {
        guard let gradient else { return }
        precondition(first.shape == shape && second.shape == shape, "moments \(first.shape) for \(shape)")
        var settings = lk_adamw(
            rate: constants.rate, beta1: constants.beta1, beta2: constants.beta2, eps: constants.eps,
            decay: constants.decay, correction1: constants.correction1, correction2: constants.correction2,
            scale: constants.scale)
        mutate { value in
            first.withUnsafeMutableBufferPointer { m in
                second.withUnsafeMutableBufferPointer { v in
                    guard let x = value.baseAddress, let m = m.baseAddress, let v = v.baseAddress else { return }
                    withUnsafePointer(to: &settings) { settings in
                        Threads.over(value.count) { start, n in
                            lk_adamw_step(
                                E.kind, settings, n, x + start, gradient.storage.base + start, m + start, v + start)
                        }
                    }
                }
            }
        }
    }
}
