import Learning
import Tensor

// Which networks the settings name.
extension CondPDiff {
    private static let autoencoders = ["principal", "nlp", "nlp-small", "vision", "pdiff"]
    private static let denoisers = ["residual", "nlp", "nlp-small", "vision", "pdiff"]

    /// The shape of a fully convolutional autoencoder; "small" is a size that two cores can train.
    private static func convolutional(_ name: String) -> ConvAutoencoderConfiguration {
        var shape = ConvAutoencoderConfiguration.medium
        if name == "nlp-small" { shape.decoderChannels = [4, 32, 32, 8] }
        return shape
    }

    private static func concatenating(
        _ name: String, _ settings: Settings
    ) throws(LoragenError) -> ConcatConvDenoiserConfiguration {
        var shape = ConcatConvDenoiserConfiguration()
        shape.timesteps = try settings.integer("timesteps", 2...100_000)
        if name == "nlp-small" { shape.channels = [16, 32, 64, 128] }
        return shape
    }

    static func autoencoder(
        _ settings: Settings, _ size: ProblemSize, _ random: inout Random
    ) throws(LoragenError) -> any Autoencoder<Float> {
        let name = try settings.choice("autoencoder", autoencoders)
        let (latents, _) = try autoencoderShape(name, settings, size)
        switch name {
        case "principal": return PrincipalAutoencoder(valueCount: size.values, latentCount: latents)
        case "vision": return VisionAutoencoder<Float>(.vision, valueCount: size.values, random: &random)
        case "pdiff": return ParentAutoencoder<Float>(.parent, valueCount: size.values, random: &random)
        default: return ConvAutoencoder<Float>(convolutional(name), valueCount: size.values, random: &random)
        }
    }

    static func denoiser(
        _ settings: Settings, _ size: ProblemSize, _ latents: Int, _ random: inout Random
    ) throws(LoragenError) -> any Denoiser<Float> {
        let name = try settings.choice("denoiser", denoisers)
        _ = try denoiserCount(name, settings, size, latents)
        let conditions = size.conditions
        switch name {
        case "residual":
            return ResidualDenoiser<Float>(
                latentCount: latents, conditionCount: conditions, width: try settings.integer("width", 1...65536),
                blocks: try settings.integer("blocks", 1...256), dropout: try settings.number("dropout", 0...0.9),
                random: &random)
        case "vision":
            return VisionDenoiser<Float>(latentCount: latents, conditionCount: conditions, random: &random)
        case "pdiff":
            return ParentDenoiser<Float>(latentCount: latents, conditionCount: conditions, random: &random)
        default:
            return ConcatConvDenoiser<Float>(
                try concatenating(name, settings), latentCount: latents, conditionCount: conditions, random: &random)
        }
    }

    /// Parameters of both networks. Throws `.invalidArgument` for shapes that make no network.
    static func weightCount(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Int {
        let (latents, count) = try autoencoderShape(
            try settings.choice("autoencoder", autoencoders), settings, size)
        return count + (try denoiserCount(try settings.choice("denoiser", denoisers), settings, size, latents))
    }

    /// Numbers that one training step of the larger network holds, roughly: the maps of every layer for a whole batch,
    /// three to four times (before and after the non-linearity, their gradients).
    static func workspace(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Double {
        let autoencoder = try settings.choice("autoencoder", autoencoders)
        let (latents, _) = try autoencoderShape(autoencoder, settings, size)
        let values = Double(size.values)
        var encoded: Double
        switch autoencoder {
        case "principal": encoded = 0
        case "nlp", "nlp-small":
            let shape = convolutional(autoencoder)
            let lengths = shape.lengths(valueCount: size.values)
            encoded = values
            for (length, channels) in zip(lengths.encoder, shape.encoderChannels) {
                encoded += Double((shape.fold + 1) * length * channels)
            }
            for (length, channels) in zip(lengths.decoder, shape.decoderChannels) {
                encoded += Double(2 * length * channels)
            }
        default:
            let shape = autoencoder == "vision" ? StridedAutoencoderConfiguration.vision : .parent
            encoded = values
            for (i, channels) in shape.channels.enumerated() {
                encoded += 2 * values * Double(channels) / Double(1 << i)
            }
        }
        if autoencoder != "principal" { encoded *= Double(try settings.integer("autoencoderBatch", 1...65536)) }
        var denoised: Double
        let name = try settings.choice("denoiser", denoisers)
        switch name {
        case "residual":
            let blocks = Double(try settings.integer("blocks", 1...256))
            denoised = Double(4 * latents) + (4 + 12 * blocks) * Double(try settings.integer("width", 1...65536))
        case "vision": denoised = Double(latents) * Double(4 * VisionDenoiserConfiguration().channels.reduce(0, +))
        case "pdiff": denoised = Double(latents) * Double(2 * ParentDenoiserConfiguration().channels.reduce(0, +))
        default:
            let channels = try concatenating(name, settings).blockChannels
            denoised = Double(latents + size.conditions) * Double(2 * channels.reduce(0, +))
        }
        denoised *= Double(try settings.integer("batch", 1...65536))
        return 4 * max(encoded, denoised)
    }

    /// Bytes that one sample holds in the convolutions: the widest maps before and behind them, and those that wait.
    static func sampleMemory(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Int {
        let name = try settings.choice("autoencoder", autoencoders)
        let (latents, _) = try autoencoderShape(name, settings, size)
        var decoded: Int
        switch name {
        case "principal": decoded = 0
        case "nlp", "nlp-small":
            let shape = convolutional(name)
            decoded = zip(shape.lengths(valueCount: size.values).decoder, shape.decoderChannels).reduce(0) {
                max($0, $1.0 * $1.1)
            }
        default:
            let shape = name == "vision" ? StridedAutoencoderConfiguration.vision : .parent
            decoded = shape.paddedCount(valueCount: size.values) * (shape.channels.max() ?? 1)
        }
        // Denoisers are at most 1024 channels wide, over the latents and the condition.
        return 4 * (4 * decoded + 4 * 1024 * (latents + size.conditions))
    }

    private static func autoencoderShape(
        _ name: String, _ settings: Settings, _ size: ProblemSize
    ) throws(LoragenError) -> (latents: Int, parameters: Int) {
        switch name {
        case "principal":
            let latents = min(try settings.integer("latents", 1...65536), size.values, max(1, size.examples - 1))
            return (latents, latents * size.values)
        case "nlp", "nlp-small":
            let shape = convolutional(name)
            try shape.check(valueCount: size.values)
            return (shape.latentCount(valueCount: size.values), shape.parameterCount)
        default:
            let isVision = name == "vision"
            let shape = isVision ? StridedAutoencoderConfiguration.vision : .parent
            try shape.check(valueCount: size.values)
            let count =
                isVision
                ? VisionAutoencoder<Float>.parameterCount(valueCount: size.values)
                : ParentAutoencoder<Float>.parameterCount(valueCount: size.values)
            return (shape.latentCount, count)
        }
    }

    private static func denoiserCount(
        _ name: String, _ settings: Settings, _ size: ProblemSize, _ latents: Int
    ) throws(LoragenError) -> Int {
        let conditions = size.conditions
        switch name {
        case "residual":
            return ResidualDenoiser<Float>.parameterCount(
                latentCount: latents, conditionCount: conditions, width: try settings.integer("width", 1...65536),
                blocks: try settings.integer("blocks", 1...256))
        case "vision":
            try VisionDenoiserConfiguration().check(latentCount: latents, conditionCount: conditions)
            return VisionDenoiserConfiguration().parameterCount(latentCount: latents, conditionCount: conditions)
        case "pdiff":
            try ParentDenoiserConfiguration().check(latentCount: latents, conditionCount: conditions)
            return ParentDenoiserConfiguration().parameterCount(latentCount: latents, conditionCount: conditions)
        default:
            let shape = try concatenating(name, settings)
            try shape.check(latentCount: latents, conditionCount: conditions)
            return shape.parameterCount(latentCount: latents, conditionCount: conditions)
        }
    }
}
