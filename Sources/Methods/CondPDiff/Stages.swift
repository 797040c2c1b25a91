import Learning
import NN
import Tensor

/// Trains the autoencoder on all adapters of all tasks: `‖D(E(x + noise) + noise) − x‖²`.
final class AutoencoderStage: TrainingStage {
    let name = "autoencoder"
    let optimisation: Optimisation
    private let model: CondPDiff
    private let data: TrainingData
    private let batch: Int

    var module: any Module<Float> { model.autoencoder }
    var cost: Double { 6 * Double(batch) * Double(model.autoencoder.parameterCount + 40 * data.width) }

    init(_ model: CondPDiff, _ data: TrainingData, _ batch: Int, _ optimisation: Optimisation) {
        (self.model, self.data, self.batch, self.optimisation) = (model, data, batch, optimisation)
    }

    func prepare() {}

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        let rows = batchRows(step: step, batch: batch, of: data.count, seed: data.seed)
        let random = Random(seed: data.seed, stream: RandomStreams.noise, position: UInt64(step) << 32)
        return model.autoencoder.loss(try data.batch(rows), random: random)
    }

    func validationSkill() -> Double? { nil }
}

/// Trains the denoiser on the frozen autoencoder's latents.
final class DiffusionStage: TrainingStage {
    let name = "diffusion"
    private let model: CondPDiff
    private let data: TrainingData
    private var latents = Tensor<Float>([0])

    var module: any Module<Float> { model.denoiser }
    var cost: Double { 6 * Double(batch) * Double(model.denoiser.parameterCount) }

    init(_ model: CondPDiff, _ data: TrainingData) { (self.model, self.data) = (model, data) }

    var optimisation: Optimisation { model.settings.optimisation }
    private var batch: Int { model.settings.batch }

    func prepare() throws(LoragenError) {
        model.autoencoder.setTraining(false)
        let vectors = try data.vectors
        let raw = withoutGradients { model.autoencoder.encode(vectors) }
        var scale = 1.0
        if model.settings.latentDeviation > 0 {
            // Of the latents that move.
            let moving = model.autoencoder.rank
            let deviation = (raw.sumOfSquares / Double(raw.shape[0] * max(1, moving))).squareRoot()
            scale = deviation > 0 ? model.settings.latentDeviation / deviation : 1
        }
        model.latentScale.value = Tensor([Float(scale)])
        latents = raw * Double(Float(scale))
    }

    func loss(step: Int) -> Tensor<Float> {
        var random = Random(seed: data.seed, stream: RandomStreams.noise + 1, position: UInt64(step) << 32)
        let rows = batchRows(step: step, batch: batch, of: latents.shape[0], seed: data.seed)
        let clean = latents.gather(rows)
        let times = random.integers(batch, below: model.diffusion.schedule.count)
        let epsilon: Tensor<Float> = random.normal(clean.shape)
        let (signal, noise) = model.diffusion.levels(times)
        var condition: Tensor<Float>?
        if model.conditionCount > 0 {
            let kept: [Float] = (0..<batch).map { _ in random.uniform() < model.settings.conditionDropout ? 0 : 1 }
            condition = data.conditions.gather(rows) * Tensor(kept, shape: [batch, 1])
        }
        let x = signal * clean + noise * epsilon
        let output =
            model.denoiser.run(x, times: times, condition: condition, random: random)
        return mseLoss(
            output, model.diffusion.prediction.target(clean: clean, epsilon: epsilon, signal: signal, noise: noise))
    }

    func validationSkill() throws(LoragenError) -> Double? {
        guard let sampling = model.sampling?.quick, data.validation.conditions.shape[0] > 0 else { return nil }
        var random = Random(seed: data.seed, stream: RandomStreams.sampling)
        let shape = [data.validation.conditions.shape[0], model.autoencoder.latentCount]
        let vectors = try model.sampled(
            data.validation.conditions, from: random.normal(shape), sampling: sampling,
            noise: { _ in .zeros(shape) })
        return try data.skill(vectors)
    }
}
