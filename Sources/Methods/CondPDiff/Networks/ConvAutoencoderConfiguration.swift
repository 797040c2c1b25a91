import NN
import Tensor

/// The shape of the fully convolutional autoencoder; the defaults are those published for language adapters.
struct ConvAutoencoderConfiguration: Equatable, Sendable {
    var kernel = 5
    /// The factor by which each stage shortens its signal.
    var fold = 5
    /// Channels after each stage of the encoder. The latent is a map of `encoderChannels.last` rows.
    var encoderChannels = [4, 4, 4, 4]
    /// Channels before each stage of the decoder; the last stage leaves one.
    var decoderChannels = [4, 256, 256, 8]
    /// The share of noise mixed into the input while training, `x' = (1 - s) x + s ε`.
    var inputNoise = 0.001
    /// The same for the latent.
    var latentNoise = 0.1

    /// Kernel and fold 5.
    static let medium = Self()
    /// Kernel and fold 3, for adapters of fewer than some 20,000 values.
    static let small = Self(kernel: 3, fold: 3, encoderChannels: [2, 2, 2, 2], decoderChannels: [2, 64, 64, 8])

    /// What the length of a signal becomes, stage by stage.
    struct Lengths: Equatable {
        /// The values and the zeros appended to them: the next multiple of `fold^stages`, and never none.
        var padded: Int
        /// After each stage of the encoder.
        var encoder: [Int]
        /// After each stage of the decoder; the last is at least the number of values, and cut to it.
        var decoder: [Int]
    }

    var stages: Int { encoderChannels.count }

    func lengths(valueCount: Int) -> Lengths {
        let block = (0..<stages).reduce(1) { product, _ in product * fold }
        let padded = (valueCount / block + 1) * block
        var encoder: [Int] = []
        var length = padded
        for _ in 0..<stages {
            length = encoded(length)
            encoder.append(length)
        }
        var decoder: [Int] = []
        for stage in decoderChannels.indices {
            length = fold * (length - 1) + kernel + 2 * decoderPadding(stage) - kernel + 1
            decoder.append(length)
        }
        return Lengths(padded: padded, encoder: encoder, decoder: decoder)
    }

    /// The number of latent coordinates, `P`.
    func latentCount(valueCount: Int) -> Int {
        (encoderChannels.last ?? 0) * (lengths(valueCount: valueCount).encoder.last ?? 0)
    }

    /// Padding 1 of the stride-1 convolution, then a convolution with stride `fold`.
    private func encoded(_ length: Int) -> Int {
        let mixed = length + 2 - kernel + 1
        return mixed < kernel ? 0 : (mixed - kernel) / fold + 1
    }

    /// The padding of the stride-1 convolution that ends a stage of the decoder.
    func decoderPadding(_ stage: Int) -> Int { stage == decoderChannels.count - 1 ? fold : fold - 1 }

    /// Independent of the number of values.
    var parameterCount: Int {
        var count = 0
        for (inputs, outputs) in zip([1] + encoderChannels, encoderChannels) {
            count += ParameterCount.convolution(inputs, outputs, kernel: kernel)
            count += ParameterCount.convolution(outputs, outputs, kernel: kernel)
        }
        for (inputs, outputs) in zip(decoderChannels, decoderChannels.dropFirst() + [1]) {
            count += ParameterCount.convolution(inputs, inputs, kernel: kernel)
            count += ParameterCount.convolution(inputs, outputs, kernel: kernel)
        }
        return count
    }

    /// Throws `invalidArgument` if the numbers do not make a network for adapters of `valueCount` values. A latent map
    /// of length 1 is refused: instance normalisation would turn it to zero.
    func check(valueCount: Int) throws(LoragenError) {
        try NetworkLimits.check(valueCount, in: NetworkLimits.values, name: "number of values")
        try NetworkLimits.check(oddKernel: kernel)
        try NetworkLimits.check(fold, in: 1...16, name: "fold")
        try NetworkLimits.check(channels: encoderChannels, name: "encoder channels")
        try NetworkLimits.check(channels: decoderChannels, name: "decoder channels")
        try NetworkLimits.check(noise: inputNoise, name: "input noise")
        try NetworkLimits.check(noise: latentNoise, name: "latent noise")
        guard encoderChannels.count == decoderChannels.count, encoderChannels.last == decoderChannels.first,
            stages <= 8
        else {
            throw LoragenError(
                .invalidArgument,
                "encoder channels \(encoderChannels) and decoder channels \(decoderChannels) do not fit together: "
                    + "expected at most 8 stages, as many in both, and the decoder to start where the encoder ends")
        }
        let lengths = lengths(valueCount: valueCount)
        guard let latent = lengths.encoder.last, latent >= 2, let last = lengths.decoder.last, last >= valueCount else {
            throw LoragenError(
                .invalidArgument,
                "\(valueCount) values are too few, or not restored, by \(stages) stages of kernel \(kernel) and "
                    + "fold \(fold): lengths \(lengths.encoder), then \(lengths.decoder)")
        }
    }
}
