import Learning
import Tensor

/// The settings of RPG: tokens, networks, diffusion, and how they are trained.
struct RPGSettings: MethodSettings {
    let size: ProblemSize
    let configuration: RPGConfiguration
    let tokens: WeightTokens
    let positions: TokenPositions
    let diffusion: Diffusion
    /// Whether tokens are drawn around kernel ridge regression.
    let hasStart: Bool
    let batch: Int
    /// Tokens of a batch that the denoiser sees; 0 for all.
    let diffusionBatch: Int
    let conditionDropout: Double
    let conditionNoise: Double
    let optimisation: Optimisation
    let halvesWeights: Bool

    init(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) {
        self.size = size
        (configuration, tokens, positions) = try Self.networks(settings, size)
        diffusion = try Diffusion(settings) { (name) throws(LoragenError) in
            name == DDIM.name
                ? DDIM(eta: try settings.number("eta", 0...1), isStrided: try settings.flag("stridedTimes")) : nil
        }
        hasStart =
            try settings.choice("start", ["none", "auto"]) == "auto" && size.conditions > 0 && Self.canStart(size)
        batch = try settings.integer("batch", 1...65536)
        diffusionBatch = try settings.integer("diffusionBatch", 0...(1 << 24))
        // Both are below 2^25; tokens of a batch are counted in 32 bits.
        guard batch * tokens.count <= Int(Int32.max) else {
            throw LoragenError(
                .invalidArgument,
                "a batch of \(batch) adapters has more than 2^31 tokens; a smaller batch or a larger tokenSize makes "
                    + "fewer")
        }
        conditionDropout = try settings.number("conditionDropout", 0...1)
        conditionNoise = try settings.number("conditionNoise", 0...10)
        optimisation = try Optimisation(settings, warmUp: settings.integer("warmUp", 0...1_000_000))
        halvesWeights = try settings.choice("weights", ["float32", "bfloat16"]) == "bfloat16"
    }

    private static func networks(
        _ settings: Settings, _ size: ProblemSize
    ) throws(LoragenError) -> (RPGConfiguration, WeightTokens, TokenPositions) {
        func chosen<T: RawRepresentable & CaseIterable>(
            _ name: String, _ type: T.Type
        ) throws(LoragenError) -> T where T.RawValue == String {
            let text = try settings.choice(name, T.allCases.map(\.rawValue))
            guard let value = T(rawValue: text) else { throw LoragenError(.internalError, name) }
            return value
        }
        let tokens = try WeightTokens(
            shapes: size.tensors.isEmpty ? [[size.values]] : size.tensors,
            size: try settings.integer("tokenSize", 1...(1 << 20)),
            granularity: try chosen("tokens", WeightTokens.Granularity.self))
        var c = RPGConfiguration()
        c.tokenSize = tokens.size
        c.width = try settings.integer("width", 4...(1 << 16))
        c.outputWidth = try settings.integer("outputWidth", 0...(1 << 16))
        if c.outputWidth == 0 { c.outputWidth = c.width }
        c.stateSize = try settings.integer("stateSize", 1...1024)
        c.recurrence = try chosen("recurrence", RPGConfiguration.Recurrence.self)
        switch try settings.choice("state", ["none", "run", "auto"]) {
        case "run": c.states = size.runs
        case "auto": c.states = size.conditions == 0 ? size.runs : 0
        default: c.states = 0
        }
        c.conditions = size.conditions
        c.conditionWidth = try settings.integer("conditionWidth", 1...(1 << 16))
        c.conditionTokens = try settings.integer("conditionTokens", 0...(1 << 24))
        let positions = TokenPositions(
            kind: try chosen("position", TokenPositions.Kind.self), features: c.width, tokens: tokens.tokens)
        c.learnedPositions = positions.kind == .learned ? tokens.count : 0
        c.denoiser = try chosen("denoiser", RPGConfiguration.Denoiser.self)
        c.channels = try settings.integers("channels")
        c.kernel = try settings.integer("kernel", 1...63)
        c.denoiserWidth = try settings.integer("denoiserWidth", 1...(1 << 16))
        c.blocks = try settings.integer("blocks", 1...64)
        c.dropout = try settings.number("dropout", 0...0.9)
        try c.check()
        return (c, tokens, positions)
    }

    /// The most numbers, examples times values, that a start may keep.
    private static let startLimit = 1 << 26

    private static func canStart(_ size: ProblemSize) -> Bool {
        let (count, overflow) = size.examples.multipliedReportingOverflow(by: size.values)
        return !overflow && count <= startLimit
    }

    // MARK: Sizes

    var hasAverage: Bool { optimisation.ema != nil }
    var weightCount: Int { configuration.parameterCount + (hasStart ? KernelRidge.weightCount(size) : 0) }

    /// Numbers that one training step holds, roughly: the recurrent model's for all tokens of the batch, the denoiser's
    /// for those that were picked.
    var workspace: Double {
        let c = configuration
        let sequence = Double(tokens.count * batch)
        let picked = Double(diffusionBatch)
        let recurrent = c.recurrence == .mamba || c.recurrence == .residualMamba ? 30 : 40
        let maps =
            switch c.denoiser {
            case .convolution: 6 * c.tokenSize * (2 + c.channels.reduce(0, +))
            case .perceptron: 4 * c.tokenSize + (4 + 12 * c.blocks) * c.denoiserWidth
            case .none: 4 * c.tokenSize
            }
        let start = hasStart ? KernelRidge.workspace(size) : 0
        let recurrence = sequence * Double(recurrent * c.width)
        return start + recurrence + (picked > 0 ? min(picked, sequence) : sequence) * Double(maps)
    }
}
