import NN
import Tensor

/// The defaults are the published ones.
struct ImageConditionWidths: Equatable, Sendable {
    var first = 64
    var second = 256
    var output = 256

    var parameterCount: Int {
        ParameterCount.convolution(3, first, kernel: 7 * 7) + ParameterCount.convolution(first, second, kernel: 5 * 5)
            + ParameterCount.linear(second, output)
    }
}

/// A condition from an image, trained together with the denoiser (COND P-DIFF's "simple extractor"): two convolutions
/// with large strides, the mean over the image, and a linear layer.
final class ImageConditionEncoder<E: Element>: Module {
    let first: Conv2d<E>
    let second: Conv2d<E>
    let output: Linear<E>

    init(_ widths: ImageConditionWidths = .init(), random: inout Random) {
        first = Conv2d(
            inputChannels: 3, outputChannels: widths.first, kernel: 7, stride: 4, padding: 3, random: &random)
        second = Conv2d(
            inputChannels: widths.first, outputChannels: widths.second, kernel: 5, stride: 2, padding: 2,
            random: &random)
        output = Linear(inputs: widths.second, outputs: widths.output, random: &random)
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("first", first)
        visitor.child("second", second)
        visitor.child("output", output)
    }

    /// Images `[n, 3, height, width]` in 0 ... 1, of any size, to `[n, output]`.
    func callAsFunction(_ images: Tensor<E>) -> Tensor<E> {
        let map = second(first(images).leakyReLU())
        return output(map.mean(axes: [2, 3]).leakyReLU())
    }
}
