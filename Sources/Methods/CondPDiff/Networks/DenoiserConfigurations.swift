import NN
import Tensor

/// The shape of the denoiser for language adapters.
struct ConcatConvDenoiserConfiguration: Equatable, Sendable {
    /// Channels after each block on the way up; the way back mirrors them.
    var channels = [64, 128, 256, 512]
    /// Rows of the learned time table: the steps of the noise schedule.
    var timesteps = 1000
    /// The published code's slip, for ablations: the whole batch gets the time of its first sample.
    var legacySharedTime = false

    /// Channels after each block. Every block but the last keeps them in its second convolution; the last one ends in
    /// one channel.
    var blockChannels: [Int] { channels + channels.dropLast().reversed() + channels.prefix(1) }

    func parameterCount(latentCount: Int, conditionCount: Int) -> Int {
        let length = latentCount + conditionCount
        var count = timesteps * length + ParameterCount.linear(length, latentCount)
        let widths = blockChannels
        for (index, (inputs, outputs)) in zip([1] + widths, widths).enumerated() {
            count += ParameterCount.convolution(inputs, outputs, kernel: 3)
            count += ParameterCount.convolution(outputs, index == widths.count - 1 ? 1 : outputs, kernel: 3)
        }
        return count
    }

    func check(latentCount: Int, conditionCount: Int) throws(LoragenError) {
        try NetworkLimits.check(channels: channels, name: "denoiser channels")
        try NetworkLimits.check(timesteps, in: 1...100_000, name: "number of timesteps")
        try NetworkLimits.check(latentCount, in: 1...(1 << 20), name: "latent size")
        try NetworkLimits.check(conditionCount, in: 0...(1 << 20), name: "condition size")
    }
}

/// The shape of the denoiser for vision adapters.
struct VisionDenoiserConfiguration: Equatable, Sendable {
    /// Odd; every convolution is padded by `kernel / 2`.
    var kernel = 3
    /// Channels after each stage on the way down; the last is even, for it carries the sinusoid of the time.
    var channels = [64, 128, 256, 512, 768, 1024, 1024, 32]

    /// The class adapters of a CIFAR-10 diffusion model.
    static let small = Self(kernel: 7, channels: [64, 128, 192, 256, 384, 512, 64])

    /// A condition of another length than the latent is projected first.
    func projects(_ conditionCount: Int, to latentCount: Int) -> Bool {
        conditionCount != 0 && conditionCount != latentCount
    }

    func parameterCount(latentCount: Int, conditionCount: Int) -> Int {
        let width = channels.last ?? 0
        var count = 2 * ParameterCount.linear(width, width)
        count += ParameterCount.linear(width * latentCount, width * latentCount)
        if projects(conditionCount, to: latentCount) {
            count += ParameterCount.linear(conditionCount, latentCount)
        }
        let down = Array(zip([1] + channels, channels))
        let up = zip(channels.reversed(), channels.dropLast().reversed() + [1])
        for (inputs, outputs) in down + Array(up) {
            count += ParameterCount.convolution(inputs, outputs, kernel: kernel)
            count += ParameterCount.convolution(outputs, outputs, kernel: kernel)
            count += 2 * ParameterCount.batchNorm(outputs)
        }
        return count - ParameterCount.batchNorm(1)
    }

    func check(latentCount: Int, conditionCount: Int) throws(LoragenError) {
        try NetworkLimits.check(oddKernel: kernel)
        try NetworkLimits.check(channels: channels, name: "denoiser channels")
        try NetworkLimits.check(latentCount, in: 1...NetworkLimits.channels.upperBound, name: "latent size")
        try NetworkLimits.check(conditionCount, in: 0...(1 << 20), name: "condition size")
        guard let width = channels.last, width % 2 == 0 else {
            throw LoragenError(.invalidArgument, "the last of the denoiser channels \(channels) is odd, expected even")
        }
    }
}

/// The shape of p-diff's denoiser.
struct ParentDenoiserConfiguration: Equatable, Sendable {
    /// Odd; every convolution is padded by `kernel / 2`.
    var kernel = 7
    /// Channels between the layers: up, then mirrored. One more layer leaves one channel.
    var channels = [64, 128, 256, 512, 256, 128, 64]
    /// The width of the sinusoid of the time; even.
    var timeWidth = 256

    /// - Parameter conditionCount: 0 for the published, unconditional network.
    func parameterCount(latentCount: Int, conditionCount: Int = 0) -> Int {
        var count = ParameterCount.linear(timeWidth, latentCount) + ParameterCount.linear(latentCount, latentCount)
        if conditionCount > 0 { count += ParameterCount.linear(conditionCount, latentCount) }
        for (inputs, outputs) in zip([1] + channels, channels) {
            count += ParameterCount.convolution(inputs, outputs, kernel: kernel) + ParameterCount.batchNorm(outputs)
        }
        return count + ParameterCount.convolution(channels.last ?? 0, 1, kernel: kernel)
    }

    /// The outputs of the first layers that the last layers get added to their inputs.
    var skips: Int { min(3, channels.count / 2) }

    func check(latentCount: Int, conditionCount: Int) throws(LoragenError) {
        try NetworkLimits.check(oddKernel: kernel)
        try NetworkLimits.check(channels: channels, name: "denoiser channels")
        try NetworkLimits.check(timeWidth, in: 2...16_384, name: "time width")
        try NetworkLimits.check(latentCount, in: NetworkLimits.channels, name: "latent size")
        try NetworkLimits.check(conditionCount, in: 0...(1 << 20), name: "condition size")
        guard timeWidth % 2 == 0 else {
            throw LoragenError(.invalidArgument, "time width is \(timeWidth), expected an even number")
        }
        guard channels == channels.reversed(), channels.count % 2 == 1 else {
            throw LoragenError(
                .invalidArgument, "denoiser channels \(channels) are not a mirrored list of odd length")
        }
    }
}
