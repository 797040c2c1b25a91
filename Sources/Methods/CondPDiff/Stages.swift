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

    init(_ model: CondPDiff, _ data: TrainingData, _ settings: Settings) throws(LoragenError) {
        self.model = model
        self.data = data
        batch = try settings.integer("autoencoderBatch", 1...65536)
        optimisation = Optimisation(
            steps: try settings.integer("autoencoderSteps", 1...100_000_000),
            learningRate: try settings.number("autoencoderRate", 0...10),
            weightDecay: try settings.number("autoencoderWeightDecay", 0...10), clip: nil,
            decayFraction: try settings.number("autoencoderDecay", 0...1),
            validationInterval: try settings.integer("validationInterval", 1...1_000_000))
    }

    func prepare() {}

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        let rows = batchRows(step: step, batch: batch, of: data.count, seed: data.seed)
        let random = Random(seed: data.seed, stream: Streams.noise, position: UInt64(step) << 32)
        return model.autoencoder.loss(try data.batch(rows), random: random)
    }

    func validationSkill() -> Double? { nil }
}

/// Trains the denoiser on the frozen autoencoder's latents.
final class DiffusionStage: TrainingStage {
    let name = "diffusion"
    let optimisation: Optimisation
    private let model: CondPDiff
    private let data: TrainingData
    private let batch: Int
    private let conditionDropout: Double
    private let latentDeviation: Double
    private var latents = Tensor<Float>([0])

    var module: any Module<Float> { model.denoiser }
    var cost: Double { 6 * Double(batch) * Double(model.denoiser.parameterCount) }

    init(_ model: CondPDiff, _ data: TrainingData, _ settings: Settings) throws(LoragenError) {
        self.model = model
        self.data = data
        batch = try settings.integer("batch", 1...65536)
        conditionDropout = try settings.number("conditionDropout", 0...1)
        latentDeviation = try settings.number("latentDeviation", 0...100)
        optimisation = try Optimisation(settings)
    }

    func prepare() throws(LoragenError) {
        model.autoencoder.setTraining(false)
        let vectors = try data.vectors
        let raw = withoutGradients { model.autoencoder.encode(vectors) }
        var scale = 1.0
        if latentDeviation > 0 {
            // Of the latents that move.
            let moving = model.autoencoder.rank
            let deviation = (raw.sumOfSquares / Double(raw.shape[0] * max(1, moving))).squareRoot()
            scale = deviation > 0 ? latentDeviation / deviation : 1
        }
        model.latentScale.value = Tensor([Float(scale)])
        latents = raw * Double(Float(scale))
    }

    func loss(step: Int) -> Tensor<Float> {
        var random = Random(seed: data.seed, stream: Streams.noise + 1, position: UInt64(step) << 32)
        let rows = batchRows(step: step, batch: batch, of: latents.shape[0], seed: data.seed)
        let clean = latents.gather(rows)
        let times = random.integers(batch, below: model.schedule.count)
        let epsilon: Tensor<Float> = random.normal(clean.shape)
        let signal = Tensor<Float>(times.map { Float(model.schedule.signal($0)) }, shape: [batch, 1])
        let noise = Tensor<Float>(times.map { Float(model.schedule.noise($0)) }, shape: [batch, 1])
        var condition: Tensor<Float>?
        if model.conditionCount > 0 {
            let kept: [Float] = (0..<batch).map { _ in random.uniform() < conditionDropout ? 0 : 1 }
            condition = data.conditions.gather(rows) * Tensor(kept, shape: [batch, 1])
        }
        let x = signal * clean + noise * epsilon
        let output =
            model.denoiser.run(x, times: times, condition: condition, random: random)
        return mseLoss(
            output, model.prediction.target(clean: clean, epsilon: epsilon, signal: signal, noise: noise))
    }

    func validationSkill() throws(LoragenError) -> Double? {
        guard let sampling = model.sampling?.quick, data.validation.conditions.shape[0] > 0 else { return nil }
        var random = Random(seed: data.seed, stream: Streams.sampling)
        let shape = [data.validation.conditions.shape[0], model.autoencoder.latentCount]
        let vectors = try model.vectors(
            conditions: data.validation.conditions, start: random.normal(shape), sampling: sampling,
            noise: { _ in .zeros(shape) })
        return try data.skill(vectors)
    }
}
