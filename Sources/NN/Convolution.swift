import Tensor

/// What convolution layers have: weight and bias, uniform in ±1/sqrt(fan-in), stride and padding.
public class ConvolutionLayer<E: Element>: Module, @unchecked Sendable {
    public let weight: Parameter<E>
    public let bias: Parameter<E>?
    public let stride: Int
    public let padding: Int

    fileprivate init(
        _ shape: [Int], outputs: Int, fanIn: Int, stride: Int, padding: Int, bias: Bool, random: inout Random
    ) {
        weight = Parameter(random.fanInUniform(shape, fanIn: fanIn))
        self.bias = bias ? Parameter(random.fanInUniform([outputs], fanIn: fanIn)) : nil
        self.stride = stride
        self.padding = padding
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("weight", weight)
        visitor.parameter("bias", bias)
    }
}

/// [B, C, L] to [B, O, (L + 2 padding - kernel) / stride + 1]. Weight [O, C, kernel].
public final class Conv1d<E: Element>: ConvolutionLayer<E>, @unchecked Sendable {
    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true,
        random: inout Random
    ) {
        super.init(
            [outputChannels, inputChannels, kernel], outputs: outputChannels, fanIn: inputChannels * kernel,
            stride: stride, padding: padding, bias: bias, random: &random)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        conv1d(x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding)
    }
}

/// [B, C, L] to [B, O, (L - 1) stride - 2 padding + kernel + outputPadding]. Weight [C, O, kernel]; PyTorch takes
/// O * kernel for its fan-in.
public final class ConvTranspose1d<E: Element>: ConvolutionLayer<E>, @unchecked Sendable {
    public let outputPadding: Int

    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0,
        outputPadding: Int = 0, bias: Bool = true, random: inout Random
    ) {
        self.outputPadding = outputPadding
        super.init(
            [inputChannels, outputChannels, kernel], outputs: outputChannels, fanIn: outputChannels * kernel,
            stride: stride, padding: padding, bias: bias, random: &random)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        convTranspose1d(
            x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding,
            outputPadding: outputPadding)
    }
}

/// [B, C, H, W] to [B, O, H', W'] with a square kernel. Weight [O, C, kernel, kernel].
public final class Conv2d<E: Element>: ConvolutionLayer<E>, @unchecked Sendable {
    public init(
        inputChannels: Int, outputChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true,
        random: inout Random
    ) {
        super.init(
            [outputChannels, inputChannels, kernel, kernel], outputs: outputChannels,
            fanIn: inputChannels * kernel * kernel, stride: stride, padding: padding, bias: bias, random: &random)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        conv2d(x, weight: weight.tensor, bias: bias?.tensor, stride: stride, padding: padding)
    }
}
