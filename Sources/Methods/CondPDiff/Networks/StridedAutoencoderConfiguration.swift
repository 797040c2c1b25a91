import NN
import Tensor

/// The shape of an autoencoder that halves its signal at every stage and ends in a linear bottleneck. The vision and
/// the parent network are of this family.
struct StridedAutoencoderConfiguration: Equatable, Sendable {
    /// Odd; every convolution is padded by `kernel / 2`.
    var kernel: Int
    /// Channels after each stage of the encoder; the decoder runs through them backwards.
    var channels: [Int]
    var latentCount: Int
    /// The deviation of the noise added to the input while training.
    var inputNoise = 0.0
    /// The same for the latent.
    var latentNoise = 0.0
    /// With the vision network's activations beside the latent and its second linear layer in the decoder.
    var isWide = false

    /// PixArt's style adapters: 516,096 values to 256.
    static let vision = Self(
        kernel: 9, channels: [16, 32, 64, 128, 256, 384, 512, 768, 1024, 64], latentCount: 256, isWide: true)
    /// The class adapters of a CIFAR-10 diffusion model: 55,296 values to 64.
    static let visionSmall = Self(
        kernel: 7, channels: [32, 64, 96, 128, 192, 256, 384, 512, 64], latentCount: 64, isWide: true)
    /// p-diff's final version: 2,048 values to 128.
    static let parent = Self(
        kernel: 7, channels: [64, 128, 256, 256, 32], latentCount: 128, inputNoise: 0.001, latentNoise: 0.1)

    var stages: Int { channels.count }

    /// Channels after each transposed convolution of the decoder; the last stage keeps its number.
    var decoderChannels: [Int] { channels.dropLast().reversed() + channels.prefix(1) }

    /// The values and the zeros appended to them: the next multiple of `2^stages`.
    func paddedCount(valueCount: Int) -> Int {
        let block = 1 << stages
        return (valueCount + block - 1) / block * block
    }

    /// The length of the encoder's last map.
    func bottleneckLength(valueCount: Int) -> Int { paddedCount(valueCount: valueCount) >> stages }

    /// The encoder's last map as one vector.
    func flatCount(valueCount: Int) -> Int { (channels.last ?? 0) * bottleneckLength(valueCount: valueCount) }

    func bottleneckShape(_ samples: Int, valueCount: Int) -> [Int] {
        [samples, channels[channels.count - 1], bottleneckLength(valueCount: valueCount)]
    }

    /// What the published networks count besides: a variance head, `Linear(P -> P)`, that nothing uses.
    var varianceHeadCount: Int { ParameterCount.linear(latentCount, latentCount) }

    func parameterCount(valueCount: Int) -> Int {
        let flat = flatCount(valueCount: valueCount)
        var count = ParameterCount.linear(flat, latentCount) + ParameterCount.linear(latentCount, latentCount)
        count += ParameterCount.linear(latentCount, flat)
        if isWide { count += ParameterCount.linear(latentCount, latentCount) }
        let encoder = zip([1] + channels, channels)
        let decoder = zip(channels.suffix(1) + decoderChannels, decoderChannels)
        for (inputs, outputs) in Array(encoder) + Array(decoder) {
            count += ParameterCount.convolution(inputs, outputs, kernel: kernel) + ParameterCount.batchNorm(outputs)
        }
        return count + ParameterCount.convolution(channels.first ?? 0, 1, kernel: kernel)
    }

    /// Throws `invalidArgument` if the numbers do not make a network for adapters of `valueCount` values.
    func check(valueCount: Int) throws(LoragenError) {
        try NetworkLimits.check(valueCount, in: NetworkLimits.values, name: "number of values")
        try NetworkLimits.check(oddKernel: kernel)
        try NetworkLimits.check(channels: channels, name: "autoencoder channels")
        try NetworkLimits.check(latentCount, in: NetworkLimits.channels, name: "latent size")
        try NetworkLimits.check(noise: inputNoise, name: "input noise")
        try NetworkLimits.check(noise: latentNoise, name: "latent noise")
    }
}
