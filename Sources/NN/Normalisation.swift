import Tensor

/// Over the last axis; gamma [features] starts at 1, beta at 0. `affine: false` has neither.
public final class LayerNorm<E: Element>: Module, Sendable {
    public let gamma: Parameter<E>?
    public let beta: Parameter<E>?
    public let eps: Double

    public init(features: Int, eps: Double = 1e-5, affine: Bool = true, bias: Bool = true) {
        gamma = affine ? Parameter(.ones([features])) : nil
        beta = affine && bias ? Parameter(.zeros([features])) : nil
        self.eps = eps
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", gamma)
        visitor.parameter("bias", beta)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        layerNorm(x, gamma: gamma?.tensor, beta: beta?.tensor, eps: eps)
    }
}

/// x / rms(x) over the last axis; gamma [features] starts at 1.
public final class RMSNorm<E: Element>: Module, Sendable {
    public let gamma: Parameter<E>
    public let eps: Double

    public init(features: Int, eps: Double = 1e-6) {
        gamma = Parameter(.ones([features]))
        self.eps = eps
    }

    public func visit(_ visitor: ModuleVisitor<E>) { visitor.parameter("weight", gamma) }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> { rmsNorm(x, gamma: gamma.tensor, eps: eps) }
}

/// [B, C, L] normalised over L for each sample and channel; no parameters, no running statistics.
public final class InstanceNorm1d<E: Element>: Module, Sendable {
    public let eps: Double

    public init(eps: Double = 1e-5) { self.eps = eps }

    public func visit(_ visitor: ModuleVisitor<E>) {}

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> { instanceNorm(x, eps: eps) }
}

/// [B, C] or [B, C, L] per channel. Training uses the batch's statistics and moves the running ones towards them
/// (momentum 0.1, unbiased variance); evaluation uses the running ones.
public final class BatchNorm1d<E: Element>: Module, ModeDependent, @unchecked Sendable {
    public let gamma: Parameter<E>
    public let beta: Parameter<E>
    public let runningMean: ModuleBuffer<E>
    public let runningVariance: ModuleBuffer<E>
    public let eps: Double
    public let momentum: Double
    public var isTraining = true

    public init(channels: Int, eps: Double = 1e-5, momentum: Double = 0.1) {
        gamma = Parameter(.ones([channels]))
        beta = Parameter(.zeros([channels]))
        runningMean = ModuleBuffer(.zeros([channels]))
        runningVariance = ModuleBuffer(.ones([channels]))
        self.eps = eps
        self.momentum = momentum
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", gamma)
        visitor.parameter("bias", beta)
        visitor.buffer("running_mean", runningMean)
        visitor.buffer("running_var", runningVariance)
        visitor.mode(self)
    }

    /// The convolution whose result is that of `convolution` followed by this layer in evaluation: weight and bias.
    public func folded(into convolution: Conv1d<E>) -> (weight: Tensor<E>, bias: Tensor<E>) {
        let scale = gamma.value / (runningVariance.value + eps).squareRoot()
        let offset = convolution.bias.map { $0.value - runningMean.value } ?? -runningMean.value
        return (convolution.weight.value * scale.reshaped([scale.count, 1, 1]), offset * scale + beta.value)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        guard isTraining else {
            return batchNorm(
                x, mean: runningMean.value, variance: runningVariance.value, gamma: gamma.tensor, beta: beta.tensor,
                eps: eps)
        }
        let (output, batch) = batchNorm(x, gamma: gamma.tensor, beta: beta.tensor, eps: eps)
        if Recomputation.isActive { return output }
        let unbiased = Double(batch.count) / Double(max(1, batch.count - 1))
        runningMean.value = runningMean.value * (1 - momentum) + batch.mean * momentum
        runningVariance.value = runningVariance.value * (1 - momentum) + batch.variance * (momentum * unbiased)
        return output
    }
}
