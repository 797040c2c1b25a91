import Learning
import NN
import Tensor

/// RPG: a recurrent model gives each weight token a prototype, and a diffusion model that all tokens share draws each
/// token given its prototype (Wang et al. 2025, arXiv 2501.11587).
final class RPG: VectorMethod, Module {
    static let entry = MethodEntry(name: "rpg", presets: presets, streams: true) {
        settings, size throws(LoragenError) in
        Plan(try RPGSettings(settings, size)) { RPG($0, $1) }
    }

    let settings: RPGSettings
    let network: RPGNetwork<Float>
    /// What the tokens are drawn around; nil for zero, the mean of all adapters.
    let start: KernelRidge?
    /// What is drawn counts 1, or 0 where the start alone did better on the validation tasks.
    let share = ModuleBuffer<Float>(Tensor([1]))

    var module: any Module<Float> { self }
    var configuration: RPGConfiguration { settings.configuration }
    var tokens: WeightTokens { settings.tokens }
    var schedule: NoiseSchedule { settings.diffusion.schedule }
    var prediction: Prediction { settings.diffusion.prediction }
    /// nil without a denoiser: then a condition has one answer.
    var sampling: Sampling? { configuration.denoiser == .none ? nil : settings.diffusion.sampling }

    init(_ settings: RPGSettings, _ random: Random) {
        self.settings = settings
        start = settings.hasStart ? KernelRidge(size: settings.size, values: settings.size.values) : nil
        var random = random
        network = RPGNetwork(settings.configuration, positions: settings.positions, random: &random)
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        network.visit(visitor)
        visitor.child("start", start)
        if start != nil { visitor.buffer("share", share) }
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        guard let start else { return [TokenStage(self, data)] }
        // What is left to learn is what the start misses of tasks that it was not fitted to.
        let vectors = try data.vectors
        let predicted = try start.fit(data.conditions, vectors, tasks: data.tasks)
        var rest = data
        rest.rows = TensorRows(vectors - predicted, blocks: data.rows.blocks)
        return [TokenStage(self, rest)]
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
