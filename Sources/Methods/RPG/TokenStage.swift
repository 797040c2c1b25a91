import Files
import Learning
import NN
import Tensor

/// Trains both networks together: the recurrent model runs over all tokens of a few adapters, the denoiser over a random
/// choice of them, and the gradient reaches the recurrent model through those alone.
final class TokenStage: TrainingStage {
    let name: String
    let optimisation: Optimisation
    private let model: RPG
    private let data: TrainingData
    private let batch: Int
    private let diffusionBatch: Int
    private let conditionDropout: Double
    private let conditionNoise: Double
    private(set) var skillAtRest = 0.0

    var module: any Module<Float> { model.network }
    var cost: Double {
        6 * Double(batch) * Double(model.tokens.count) * Double(model.configuration.recurrentCount)
    }

    init(_ model: RPG, _ data: TrainingData, _ settings: Settings) throws(LoragenError) {
        self.model = model
        self.data = data
        name = model.configuration.denoiser == .none ? "prototypes" : "diffusion"
        batch = try settings.integer("batch", 1...65536)
        diffusionBatch = try settings.integer("diffusionBatch", 0...(1 << 24))
        // Both are below 2^25; tokens of a batch are counted in 32 bits.
        guard batch * model.tokens.count <= Int(Int32.max) else {
            throw LoragenError(
                .invalidArgument,
                "a batch of \(batch) adapters has more than 2^31 tokens; a smaller batch or a larger tokenSize makes "
                    + "fewer")
        }
        conditionDropout = try settings.number("conditionDropout", 0...1)
        conditionNoise = try settings.number("conditionNoise", 0...10)
        optimisation = try Optimisation(settings, warmUp: settings.integer("warmUp", 0...1_000_000))
    }

    func prepare() throws(LoragenError) {
        let sampling = model.sampling(nil)
        guard let start = model.around(data.validation.conditions, sampling), start.shape[0] > 0 else { return }
        skillAtRest = try data.skill(start) ?? 0
    }

    /// Leaves the start alone.
    func rest() { if model.start != nil { model.share.value = Tensor([0]) } }

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        var random = Random(seed: data.seed, stream: Streams.noise, position: UInt64(step) << 32)
        let rows = batchRows(step: step, batch: batch, of: data.count, seed: data.seed)
        let picks = picks(&random)
        let kept: [Float] = rows.map { _ in random.uniform() < conditionDropout ? 0 : 1 }
        let blur: Tensor<Float> = random.normal([batch, data.conditions.shape[1]], deviation: conditionNoise)
        let prototypes = model.network.prototypes(
            conditions: (data.conditions.gather(rows) + blur) * Tensor(kept, shape: [batch, 1]),
            states: rows.map { data.runs[Int($0)] },
            random: Random(seed: data.seed, stream: Streams.noise + 1, position: UInt64(step) << 32))
        let picked = prototypes.reshaped([batch * model.tokens.count, -1]).gather(
            picks.map { Int32($0.row * model.tokens.count + $0.token) })
        let clean = try model.tokens.gather(
            data.rows, picks.map { WeightTokens.Pick(row: Int(rows[$0.row]), token: $0.token) })
        return loss(clean: clean, mask: model.tokens.mask(picks), prototypes: picked, random: &random)
    }

    /// Tokens of the batch that the denoiser sees; `row` is a place in the batch.
    private func picks(_ random: inout Random) -> [WeightTokens.Pick] {
        let all = batch * model.tokens.count
        let chosen =
            diffusionBatch == 0 || diffusionBatch >= all
            ? Array(0..<all) : Array(random.permutation(all).prefix(diffusionBatch))
        return chosen.map { WeightTokens.Pick(row: $0 / model.tokens.count, token: $0 % model.tokens.count) }
    }

    private func loss(
        clean: Tensor<Float>, mask: Tensor<Float>, prototypes: Tensor<Float>, random: inout Random
    ) -> Tensor<Float> {
        guard let denoiser = model.network.denoiser else {
            let readout = model.network.readout.map { $0(prototypes) } ?? prototypes
            return mseLoss(readout, clean, weight: mask)
        }
        let count = clean.shape[0]
        let times = random.integers(count, below: model.schedule.count)
        let epsilon: Tensor<Float> = random.normal(clean.shape)
        let signal = Tensor<Float>(times.map { Float(model.schedule.signal($0)) }, shape: [count, 1])
        let noise = Tensor<Float>(times.map { Float(model.schedule.noise($0)) }, shape: [count, 1])
        let output = denoiser(
            signal * clean + noise * epsilon, time: denoiser.time(times), context: denoiser.context(prototypes),
            random: random)
        return mseLoss(
            output, model.prediction.target(clean: clean, epsilon: epsilon, signal: signal, noise: noise),
            weight: mask)
    }

    func validationSkill() throws(LoragenError) -> Double? {
        // Draws without a condition are not to hit held-out adapters.
        guard data.count > 0, model.configuration.conditions > 0, data.validation.conditions.shape[0] > 0
        else { return nil }
        return try data.skill(
            model.vectors(conditions: data.validation.conditions, seed: data.seed, sampling: model.sampling?.quick))
    }
}
