import Learning
import NN
import Tensor

/// The settings of COND P-DIFF: networks, diffusion, and how both stages are trained.
struct CondPDiffSettings: MethodSettings {
    /// An autoencoder by the name that the settings have for it.
    enum AutoencoderShape {
        case principal(latents: Int)
        case convolutional(ConvAutoencoderConfiguration)
        case strided(StridedAutoencoderConfiguration)
    }

    enum DenoiserShape {
        case residual(width: Int, blocks: Int, dropout: Double)
        case concatenating(ConcatConvDenoiserConfiguration)
        case vision(VisionDenoiserConfiguration)
        case parent(ParentDenoiserConfiguration)
    }

    let size: ProblemSize
    let autoencoder: AutoencoderShape
    let denoiser: DenoiserShape
    let diffusion: Diffusion
    let clipsLatents: Bool
    /// Of the autoencoder; nil for one that is solved.
    let autoencoderTraining: (batch: Int, optimisation: Optimisation)?
    let batch: Int
    let conditionDropout: Double
    /// What latents are scaled to; 0 leaves them as they are.
    let latentDeviation: Double
    let optimisation: Optimisation

    init(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) {
        self.size = size
        autoencoder = try Self.autoencoder(settings, size)
        denoiser = try Self.denoiser(settings)
        diffusion = try Diffusion(settings) { (name) throws(LoragenError) in
            name == DDPM.name ? DDPM(largeVariance: try settings.flag("largeVariance")) : nil
        }
        clipsLatents = try settings.flag("clipLatents")
        if case .principal = autoencoder {
            autoencoderTraining = nil
        } else {
            autoencoderTraining = (
                try settings.integer("autoencoderBatch", 1...65536),
                Optimisation(
                    steps: try settings.integer("autoencoderSteps", 1...100_000_000),
                    learningRate: try settings.number("autoencoderRate", 0...10),
                    weightDecay: try settings.number("autoencoderWeightDecay", 0...10), clip: nil,
                    decayFraction: try settings.number("autoencoderDecay", 0...1),
                    validationInterval: try settings.integer("validationInterval", 1...1_000_000))
            )
        }
        batch = try settings.integer("batch", 1...65536)
        conditionDropout = try settings.number("conditionDropout", 0...1)
        latentDeviation = try settings.number("latentDeviation", 0...100)
        optimisation = try Optimisation(settings)
        try check()
    }

    private static func autoencoder(
        _ settings: Settings, _ size: ProblemSize
    ) throws(LoragenError) -> AutoencoderShape {
        switch try settings.choice("autoencoder", ["principal", "nlp", "nlp-small", "vision", "pdiff"]) {
        case "principal":
            return .principal(
                latents: min(try settings.integer("latents", 1...65536), size.values, max(1, size.examples - 1)))
        case "vision": return .strided(.vision)
        case "pdiff": return .strided(.parent)
        case "nlp-small":
            // A size that two cores can train.
            var shape = ConvAutoencoderConfiguration.medium
            shape.decoderChannels = [4, 32, 32, 8]
            return .convolutional(shape)
        default: return .convolutional(.medium)
        }
    }

    private static func denoiser(_ settings: Settings) throws(LoragenError) -> DenoiserShape {
        let name = try settings.choice("denoiser", ["residual", "nlp", "nlp-small", "vision", "pdiff"])
        switch name {
        case "residual":
            return .residual(
                width: try settings.integer("width", 1...65536), blocks: try settings.integer("blocks", 1...256),
                dropout: try settings.number("dropout", 0...0.9))
        case "vision": return .vision(VisionDenoiserConfiguration())
        case "pdiff": return .parent(ParentDenoiserConfiguration())
        default:
            var shape = ConcatConvDenoiserConfiguration()
            shape.timesteps = try settings.integer("timesteps", 2...100_000)
            if name == "nlp-small" { shape.channels = [16, 32, 64, 128] }
            return .concatenating(shape)
        }
    }

    /// Throws `.invalidArgument` for shapes that make no network.
    private func check() throws(LoragenError) {
        switch autoencoder {
        case .principal: break
        case .convolutional(let shape): try shape.check(valueCount: size.values)
        case .strided(let shape): try shape.check(valueCount: size.values)
        }
        switch denoiser {
        case .residual: break
        case .concatenating(let shape): try shape.check(latentCount: latents, conditionCount: size.conditions)
        case .vision(let shape): try shape.check(latentCount: latents, conditionCount: size.conditions)
        case .parent(let shape): try shape.check(latentCount: latents, conditionCount: size.conditions)
        }
    }

    // MARK: Networks

    func makeAutoencoder(_ random: inout Random) -> any Autoencoder<Float> {
        switch autoencoder {
        case .principal(let latents): PrincipalAutoencoder(valueCount: size.values, latentCount: latents)
        case .convolutional(let shape): ConvAutoencoder<Float>(shape, valueCount: size.values, random: &random)
        case .strided(let shape): StridedAutoencoder<Float>(shape, valueCount: size.values, random: &random)
        }
    }

    func makeDenoiser(_ random: inout Random) -> any Denoiser<Float> {
        let conditions = size.conditions
        return switch denoiser {
        case .residual(let width, let blocks, let dropout):
            ResidualDenoiser<Float>(
                latentCount: latents, conditionCount: conditions, width: width, blocks: blocks, dropout: dropout,
                random: &random)
        case .concatenating(let shape):
            ConcatConvDenoiser<Float>(shape, latentCount: latents, conditionCount: conditions, random: &random)
        case .vision(let shape):
            VisionDenoiser<Float>(shape, latentCount: latents, conditionCount: conditions, random: &random)
        case .parent(let shape):
            ParentDenoiser<Float>(shape, latentCount: latents, conditionCount: conditions, random: &random)
        }
    }

    // MARK: Sizes

    var hasAverage: Bool { optimisation.ema != nil }

    /// Coordinates of a latent.
    var latents: Int {
        switch autoencoder {
        case .principal(let latents): latents
        case .convolutional(let shape): shape.latentCount(valueCount: size.values)
        case .strided(let shape): shape.latentCount
        }
    }

    var weightCount: Int {
        let conditions = size.conditions
        let encoding =
            switch autoencoder {
            case .principal(let latents): latents * size.values
            case .convolutional(let shape): shape.parameterCount
            case .strided(let shape): shape.parameterCount(valueCount: size.values)
            }
        let denoising =
            switch denoiser {
            case .residual(let width, let blocks, _):
                ResidualDenoiser<Float>.parameterCount(
                    latentCount: latents, conditionCount: conditions, width: width, blocks: blocks)
            case .concatenating(let shape): shape.parameterCount(latentCount: latents, conditionCount: conditions)
            case .vision(let shape): shape.parameterCount(latentCount: latents, conditionCount: conditions)
            case .parent(let shape): shape.parameterCount(latentCount: latents, conditionCount: conditions)
            }
        return encoding + denoising
    }

    /// Numbers that one training step of the larger network holds, roughly: the maps of every layer for a whole batch,
    /// three to four times (before and after the non-linearity, their gradients).
    var workspace: Double {
        let values = Double(size.values)
        var encoded = values
        switch autoencoder {
        case .principal: encoded = 0
        case .convolutional(let shape):
            let lengths = shape.lengths(valueCount: size.values)
            for (length, channels) in zip(lengths.encoder, shape.encoderChannels) {
                encoded += Double((shape.fold + 1) * length * channels)
            }
            for (length, channels) in zip(lengths.decoder, shape.decoderChannels) {
                encoded += Double(2 * length * channels)
            }
        case .strided(let shape):
            for (i, channels) in shape.channels.enumerated() {
                encoded += 2 * values * Double(channels) / Double(1 << i)
            }
        }
        let denoised =
            switch denoiser {
            case .residual(let width, let blocks, _): Double(4 * latents) + Double(4 + 12 * blocks) * Double(width)
            case .vision(let shape): Double(latents) * Double(4 * shape.channels.reduce(0, +))
            case .parent(let shape): Double(latents) * Double(2 * shape.channels.reduce(0, +))
            case .concatenating(let shape):
                Double(latents + size.conditions) * Double(2 * shape.blockChannels.reduce(0, +))
            }
        return 4 * max(encoded * Double(autoencoderTraining?.batch ?? 0), denoised * Double(batch))
    }

    /// Bytes that one sample holds in the convolutions: the widest maps before and behind them, and those that wait.
    var sampleMemory: Int {
        let decoded =
            switch autoencoder {
            case .principal: 0
            case .convolutional(let shape):
                zip(shape.lengths(valueCount: size.values).decoder, shape.decoderChannels).reduce(0) {
                    max($0, $1.0 * $1.1)
                }
            case .strided(let shape):
                shape.paddedCount(valueCount: size.values) * (shape.channels.max() ?? 1)
            }
        // Denoisers are at most 1024 channels wide, over the latents and the condition.
        return 4 * (4 * decoded + 4 * 1024 * (latents + size.conditions))
    }
}
