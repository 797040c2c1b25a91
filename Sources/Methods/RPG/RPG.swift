import Learning
import NN
import Tensor

/// RPG: a recurrent model gives each weight token a prototype, and a diffusion model that all tokens share draws each
/// token given its prototype (Wang et al. 2025, arXiv 2501.11587).
final class RPG: VectorMethod, Module {
    static let entry = MethodEntry(name: "rpg", presets: presets, streams: true) {
        settings, size throws(LoragenError) in
        try Plan(
            weightCount: shape(settings, size).configuration.parameterCount + startCount(settings, size),
            workspace: workspace(settings, size), settings: settings
        ) { (random) throws(LoragenError) in try RPG(settings, size, random) }
    }

    let network: RPGNetwork<Float>
    let tokens: WeightTokens
    let schedule: NoiseSchedule
    let prediction: Prediction
    /// nil without a denoiser: then a condition has one answer.
    let sampling: Sampling?
    /// What the tokens are drawn around; nil for zero, the mean of all adapters.
    let start: KernelRidge?
    /// What is drawn counts 1, or 0 where the start alone did better on the validation tasks.
    let share = ModuleBuffer<Float>(Tensor([1]))
    private let settings: Settings

    var module: any Module<Float> { self }
    var configuration: RPGConfiguration { network.configuration }

    init(_ settings: Settings, _ size: ProblemSize, _ random: Random) throws(LoragenError) {
        self.settings = settings
        let shape = try Self.shape(settings, size)
        tokens = shape.tokens
        start = try Self.hasStart(settings, size) ? KernelRidge(size: size, values: size.values) : nil
        var random = random
        network = RPGNetwork(shape.configuration, positions: shape.positions, random: &random)
        let timesteps = try settings.integer("timesteps", 2...100_000)
        schedule = NoiseSchedule(
            NoiseSchedule.Kind(rawValue: try settings.choice("schedule", ["linear", "cosine"])) ?? .linear,
            count: timesteps)
        prediction =
            Prediction(rawValue: try settings.choice("prediction", ["noise", "sample", "velocity"])) ?? .sample
        let name = try settings.choice("sampler", samplerNames)
        let ddim = DDIM(eta: try settings.number("eta", 0...1), isStrided: try settings.flag("stridedTimes"))
        let chosen: any Sampler = name == DDIM.name ? ddim : Learning.sampler(named: name) ?? DDPM()
        let sampling = Sampling(
            sampler: chosen, steps: try settings.integer("samplingSteps", 1...timesteps),
            guidance: try settings.number("guidance", 0...100))
        self.sampling = shape.configuration.denoiser == .none ? nil : sampling
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        network.visit(visitor)
        visitor.child("start", start)
        if start != nil { visitor.buffer("share", share) }
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        guard let start else { return [try TokenStage(self, data, settings)] }
        // What is left to learn is what the start misses of tasks that it was not fitted to.
        let vectors = try data.vectors
        let predicted = try start.fit(data.conditions, vectors, tasks: data.tasks)
        var rest = data
        rest.rows = TensorRows(vectors - predicted, blocks: data.rows.blocks)
        return [try TokenStage(self, rest, settings)]
    }

    /// What tokens are drawn around for conditions `[n, C]`, `[n, values]`; nil without a start.
    func around(_ conditions: Tensor<Float>, _ sampling: Sampling) -> Tensor<Float>? {
        // Without a condition it is the mean, zero; guidance goes on from there.
        withoutGradients { start.map { $0(conditions) * (isGuided(sampling) ? sampling.guidance : 1) } }
    }

    /// The sum of both; `around` is the part of the whole that belongs to what was drawn.
    func sum(_ drawn: Tensor<Float>, around: Tensor<Float>?) -> Tensor<Float> {
        around.map { drawn * Double(share.value.item) + $0 } ?? drawn
    }
}

// MARK: Sizes

extension RPG {
    struct Shape {
        var configuration: RPGConfiguration
        var tokens: WeightTokens
        var positions: TokenPositions
    }

    /// Everything that settings and problem fix, checked. Throws `.invalidArgument` for what makes no network.
    static func shape(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Shape {
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
        return Shape(configuration: c, tokens: tokens, positions: positions)
    }

    /// The most numbers, examples times values, that a start may keep.
    private static let startLimit = 1 << 26

    private static func hasStart(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Bool {
        // Generators were written without the setting before there was one.
        guard settings.values["start"] != nil, try settings.choice("start", ["none", "auto"]) == "auto",
            size.conditions > 0
        else { return false }
        let (count, overflow) = size.examples.multipliedReportingOverflow(by: size.values)
        return !overflow && count <= startLimit
    }

    private static func startCount(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Int {
        try hasStart(settings, size) ? KernelRidge.weightCount(size) : 0
    }

    /// Numbers that one training step holds, roughly: the recurrent model's for all tokens of the batch, the denoiser's
    /// for those that were picked.
    static func workspace(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) -> Double {
        let shape = try shape(settings, size)
        let c = shape.configuration
        let sequence = Double(shape.tokens.count * (try settings.integer("batch", 1...65536)))
        let picked = Double(try settings.integer("diffusionBatch", 0...(1 << 24)))
        let recurrent = c.recurrence == .mamba || c.recurrence == .residualMamba ? 30 : 40
        let maps =
            switch c.denoiser {
            case .convolution: 6 * c.tokenSize * (2 + c.channels.reduce(0, +))
            case .perceptron: 4 * c.tokenSize + (4 + 12 * c.blocks) * c.denoiserWidth
            case .none: 4 * c.tokenSize
            }
        let start = try hasStart(settings, size) ? KernelRidge.workspace(size) : 0
        let recurrence = sequence * Double(recurrent * c.width)
        return start + recurrence + (picked > 0 ? min(picked, sequence) : sequence) * Double(maps)
    }
}
