import Tensor

/// [B, C, L] to [B, O, (L + 2 padding - kernel) / stride + 1]. Weight [O, C, kernel], uniform in ±1/sqrt(C kernel).
public final class Conv1d<E: Element>: Module, Sendable {
    public let weight: Parameter<E>
    public let bias: Parameter<E>?
    public let stride: Int
    public let padding: Int

    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true,
        random: inout Random
    ) {
        let fanIn = inputChannels * kernel
        weight = Parameter(random.fanInUniform([outputChannels, inputChannels, kernel], fanIn: fanIn))
        self.bias = bias ? Parameter(random.fanInUniform([outputChannels], fanIn: fanIn)) : nil
        self.stride = stride
        self.padding = padding
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", weight)
        visitor.parameter("bias", bias)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        conv1d(x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding)
    }
}

/// [B, C, L] to [B, O, (L - 1) stride - 2 padding + kernel + outputPadding]. Weight [C, O, kernel]; PyTorch takes
/// O * kernel for its fan-in, so both start uniform in ±1/sqrt(O kernel).
public final class ConvTranspose1d<E: Element>: Module, Sendable {
    public let weight: Parameter<E>
    public let bias: Parameter<E>?
    public let stride: Int
    public let padding: Int
    public let outputPadding: Int

    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0,
        outputPadding: Int = 0, bias: Bool = true, random: inout Random
    ) {
        let fanIn = outputChannels * kernel
        weight = Parameter(random.fanInUniform([inputChannels, outputChannels, kernel], fanIn: fanIn))
        self.bias = bias ? Parameter(random.fanInUniform([outputChannels], fanIn: fanIn)) : nil
        self.stride = stride
        self.padding = padding
        self.outputPadding = outputPadding
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", weight)
        visitor.parameter("bias", bias)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        convTranspose1d(
            x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding,
            outputPadding: outputPadding)
    }
}

/// [B, C, H, W] to [B, O, H', W'] with a square kernel. Weight [O, C, kernel, kernel], uniform in ±1/sqrt(C kernel²).
public final class Conv2d<E: Element>: Module, Sendable {
    public let weight: Parameter<E>
    public let bias: Parameter<E>?
    public let stride: Int
    public let padding: Int

    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true,
        random: inout Random
    ) {
        let fanIn = inputChannels * kernel * kernel
        weight = Parameter(random.fanInUniform([outputChannels, inputChannels, kernel, kernel], fanIn: fanIn))
        self.bias = bias ? Parameter(random.fanInUniform([outputChannels], fanIn: fanIn)) : nil
        self.stride = stride
        self.padding = padding
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", weight)
        visitor.parameter("bias", bias)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        conv2d(x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding)
    }
}
