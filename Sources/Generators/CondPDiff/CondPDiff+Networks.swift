import NN
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
            return ResidualDenoiser(
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
            return ResidualDenoiser.parameterCount(
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
