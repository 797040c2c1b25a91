import Learning
import NN
import Tensor

/// COND P-DIFF: an autoencoder of adapter vectors and a diffusion model of its latents, given a condition
/// (Jin et al. 2024, arXiv 2408.01415).
final class CondPDiff: VectorMethod, Module {
    static let entry = MethodEntry(name: "cond-pdiff", presets: presets) {
        settings, size throws(LoragenError) in
        try Plan(
            weightCount: weightCount(settings, size), workspace: workspace(settings, size), settings: settings
        ) { (random) throws(LoragenError) in try CondPDiff(settings, size, random) }
    }

    let autoencoder: any Autoencoder<Float>
    let denoiser: any Denoiser<Float>
    let schedule: NoiseSchedule
    let prediction: Prediction
    let conditionCount: Int
    private let settings: Settings
    /// What latents are multiplied by before diffusion; 1 for autoencoders whose latents are bounded.
    let latentScale = ModuleBuffer<Float>(Tensor([1]))
    private let clipsLatents: Bool
    let sampleMemory: Int
    let sampling: Sampling?

    var module: any Module<Float> { self }

    init(_ settings: Settings, _ size: ProblemSize, _ random: Random) throws(LoragenError) {
        self.settings = settings
        conditionCount = size.conditions
        let timesteps = try settings.integer("timesteps", 2...100_000)
        schedule = NoiseSchedule(
            NoiseSchedule.Kind(rawValue: try settings.choice("schedule", ["linear", "cosine"])) ?? .linear,
            count: timesteps)
        prediction =
            Prediction(rawValue: try settings.choice("prediction", ["noise", "sample", "velocity"])) ?? .sample
        clipsLatents = try settings.flag("clipLatents")
        sampleMemory = try Self.sampleMemory(settings, size)
        var random = random
        autoencoder = try Self.autoencoder(settings, size, &random)
        denoiser = try Self.denoiser(settings, size, autoencoder.latentCount, &random)
        var chosen: any Sampler = DPMSolver()
        let name = try settings.choice("sampler", samplerNames)
        if name == DDPM.name {
            chosen = DDPM(largeVariance: try settings.flag("largeVariance"))
        } else if let found = sampler(named: name) {
            chosen = found
        }
        sampling = Sampling(
            sampler: chosen, steps: try settings.integer("samplingSteps", 1...timesteps),
            guidance: try settings.number("guidance", 0...100))
    }

    var stepLimit: Int { schedule.count }
    func evaluations(_ sampling: Sampling) -> Int { sampling.sampler.evaluations(schedule, sampling.steps) }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.part("autoencoder", autoencoder)
        visitor.part("denoiser", denoiser)
        visitor.buffer("latent_scale", latentScale)
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        var stages: [any TrainingStage] = []
        if try !autoencoder.solve(data.vectors) { stages.append(try AutoencoderStage(self, data, settings)) }
        stages.append(try DiffusionStage(self, data, settings))
        return stages
    }

    // MARK: Sampling

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        try vectors(conditions: condition, streams: [random], sampling: sampling, progress: progress)
    }

    func vectors(
        conditions: Tensor<Float>, seed: UInt64, sampling: Sampling?
    ) throws(LoragenError) -> Tensor<Float> {
        var parts: [Tensor<Float>] = []
        let n = conditions.shape[0]
        // Many at once are quicker than one by one; more than this only take memory.
        for first in stride(from: 0, to: n, by: 64) {
            let rows = first..<min(n, first + 64)
            let streams = rows.map { Random(seed: seed, stream: Streams.sampling + UInt64($0)) }
            parts.append(
                try vectors(
                    conditions: conditions.slice(axis: 0, rows), streams: streams, sampling: sampling,
                    progress: { _, _ throws(LoragenError) in }))
        }
        return .concatenate(parts, axis: 0)
    }

    /// Each row draws from a stream of its own: first its start, then the noise of each step.
    private func vectors(
        conditions: Tensor<Float>, streams: [Random], sampling: Sampling?,
        progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        guard let sampling = sampling ?? self.sampling else {
            throw LoragenError(.internalError, "no sampler was chosen")
        }
        func normal(_ block: Int) -> Tensor<Float> {
            let rows = streams.map { stream in
                var fresh = Random(seed: stream.seed, stream: stream.stream, position: UInt64(block) << 32)
                return fresh.normal([1, self.autoencoder.latentCount]) as Tensor<Float>
            }
            return rows.count == 1 ? rows[0] : .concatenate(rows, axis: 0)
        }
        return try vectors(conditions: conditions, start: normal(0), sampling: sampling, progress: progress) {
            normal($0 + 1)
        }
    }

    /// Vectors `[n, D]` for conditions `[n, C]` from noise `[n, P]`.
    func vectors(
        conditions: Tensor<Float>, start: Tensor<Float>, sampling: Sampling,
        progress: (Int, Int) throws(LoragenError) -> Void = { _, _ in }, noise: (Int) -> Tensor<Float>
    ) throws(LoragenError) -> Tensor<Float> {
        let condition = conditionCount > 0 ? conditions : nil
        let latents = try sampling.sample(
            from: start, schedule: schedule, prediction: prediction,
            isGuided: conditionCount > 0 && sampling.guidance != 1, evaluations: evaluations(sampling),
            clip: clipsLatents ? -1...1 : nil, noise: noise, progress: progress
        ) { x, t, isFree in
            let times = [Int](repeating: t, count: conditions.shape[0])
            return withoutGradients { denoiser(x, times: times, condition: isFree ? nil : condition) }
        }
        return withoutGradients { autoencoder.decode(latents / Double(latentScale.value.item)) }
    }
}

extension ModuleVisitor {
    /// `child` for a module whose type is not known.
    func part(_ name: String, _ module: any Module<E>) {
        func open<M: Module>(_ module: M) where M.Scalar == E { child(name, module) }
        open(module)
    }
}
