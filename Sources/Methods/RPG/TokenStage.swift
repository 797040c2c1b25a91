import Files
import Learning
import NN
import Tensor

/// Trains both networks together: the recurrent model runs over all tokens of a few adapters, the denoiser over a random
/// choice of them, and the gradient reaches the recurrent model through those alone.
final class TokenStage: TrainingStage {
    private let model: RPG
    private let data: TrainingData
    private(set) var skillAtRest = 0.0

    var module: any Module<Float> { model.network }
    var cost: Double {
        6 * Double(batch) * Double(model.tokens.count) * Double(model.configuration.recurrentCount)
    }

    init(_ model: RPG, _ data: TrainingData) { (self.model, self.data) = (model, data) }

    var name: String { model.configuration.denoiser == .none ? "prototypes" : "diffusion" }
    var optimisation: Optimisation { model.settings.optimisation }
    private var batch: Int { model.settings.batch }
    private var diffusionBatch: Int { model.settings.diffusionBatch }

    func prepare() throws(LoragenError) {
        let sampling = model.sampling(nil)
        guard let start = model.around(data.validation.conditions, sampling), start.shape[0] > 0 else { return }
        skillAtRest = try data.skill(start) ?? 0
    }

    /// Leaves the start alone.
    func rest() { if model.start != nil { model.share.value = Tensor([0]) } }

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        var random = Random(seed: data.seed, stream: RandomStreams.noise, position: UInt64(step) << 32)
        let rows = batchRows(step: step, batch: batch, of: data.count, seed: data.seed)
        let picks = picks(&random)
        let kept: [Float] = rows.map { _ in random.uniform() < model.settings.conditionDropout ? 0 : 1 }
        let blur: Tensor<Float> = random.normal(
            [batch, data.conditions.shape[1]], deviation: model.settings.conditionNoise)
        let prototypes = model.network.prototypes(
            conditions: (data.conditions.gather(rows) + blur) * Tensor(kept, shape: [batch, 1]),
            states: rows.map { data.runs[Int($0)] },
            random: Random(seed: data.seed, stream: RandomStreams.noise + 1, position: UInt64(step) << 32))
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
        let (signal, noise) = model.settings.diffusion.levels(times)
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
