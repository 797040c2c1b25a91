import Learning
import NN
import Tensor

/// COND P-DIFF: an autoencoder of adapter vectors and a diffusion model of its latents, given a condition
/// (Jin et al. 2024, arXiv 2408.01415).
final class CondPDiff: VectorMethod, Module {
    static let entry = MethodEntry(name: "cond-pdiff", presets: presets) { settings, size throws(LoragenError) in
        Plan(try CondPDiffSettings(settings, size)) { CondPDiff($0, $1) }
    }

    let settings: CondPDiffSettings
    let autoencoder: any Autoencoder<Float>
    let denoiser: any Denoiser<Float>
    /// What latents are multiplied by before diffusion; 1 for autoencoders whose latents are bounded.
    let latentScale = ModuleBuffer<Float>(Tensor([1]))

    var module: any Module<Float> { self }
    var diffusion: Diffusion { settings.diffusion }
    var conditionCount: Int { settings.size.conditions }
    var sampling: Sampling? { diffusion.sampling }
    var sampleMemory: Int { settings.sampleMemory }

    init(_ settings: CondPDiffSettings, _ random: Random) {
        self.settings = settings
        var random = random
        autoencoder = settings.makeAutoencoder(&random)
        denoiser = settings.makeDenoiser(&random)
    }

    var stepLimit: Int { diffusion.schedule.count }
    func evaluations(_ sampling: Sampling) -> Int { sampling.sampler.evaluations(diffusion.schedule, sampling.steps) }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.part("autoencoder", autoencoder)
        visitor.part("denoiser", denoiser)
        visitor.buffer("latent_scale", latentScale)
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        var stages: [any TrainingStage] = []
        if try !autoencoder.solve(data.vectors), let training = settings.autoencoderTraining {
            stages.append(AutoencoderStage(self, data, training.batch, training.optimisation))
        }
        stages.append(DiffusionStage(self, data))
        return stages
    }

    // MARK: Sampling

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        try drawn(condition, streams: [random], sampling: sampling, progress: progress)
    }

    func vectors(
        conditions: Tensor<Float>, seed: UInt64, sampling: Sampling?
    ) throws(LoragenError) -> Tensor<Float> {
        var parts: [Tensor<Float>] = []
        let n = conditions.shape[0]
        // Many at once are quicker than one by one; more than this only take memory.
        for first in stride(from: 0, to: n, by: 64) {
            let rows = first..<min(n, first + 64)
            let streams = rows.map { Random(seed: seed, stream: RandomStreams.sampling + UInt64($0)) }
            parts.append(
                try drawn(
                    conditions.slice(axis: 0, rows), streams: streams, sampling: sampling,
                    progress: { _, _ throws(LoragenError) in }))
        }
        return .concatenate(parts, axis: 0)
    }

    /// Each row draws from a stream of its own: first its start, then the noise of each step.
    private func drawn(
        _ conditions: Tensor<Float>, streams: [Random], sampling: Sampling?,
        progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        let sampling = sampling ?? diffusion.sampling
        func normal(_ block: Int) -> Tensor<Float> {
            let rows = streams.map { stream in
                var fresh = Random(seed: stream.seed, stream: stream.stream, position: UInt64(block) << 32)
                return fresh.normal([1, self.autoencoder.latentCount]) as Tensor<Float>
            }
            return rows.count == 1 ? rows[0] : .concatenate(rows, axis: 0)
        }
        return try sampled(conditions, from: normal(0), sampling: sampling, progress: progress) {
            normal($0 + 1)
        }
    }

    /// Vectors `[n, D]` for conditions `[n, C]` from noise `[n, P]`.
    func sampled(
        _ conditions: Tensor<Float>, from start: Tensor<Float>, sampling: Sampling,
        progress: (Int, Int) throws(LoragenError) -> Void = { _, _ in }, noise: (Int) -> Tensor<Float>
    ) throws(LoragenError) -> Tensor<Float> {
        let condition = conditionCount > 0 ? conditions : nil
        let latents = try sampling.sample(
            from: start, schedule: diffusion.schedule, prediction: diffusion.prediction,
            isGuided: conditionCount > 0 && sampling.guidance != 1, evaluations: evaluations(sampling),
            clip: settings.clipsLatents ? -1...1 : nil, noise: noise, progress: progress
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
