import Learning
import NN
import Tensor

struct MLPSettings: MethodSettings {
    /// From the condition's length to the vector's.
    let widths: [Int]
    let batch: Int
    let optimisation: Optimisation

    init(_ settings: Settings, _ size: ProblemSize) throws(LoragenError) {
        let width = try settings.integer("width", 1...65536)
        let depth = try settings.integer("layers", 1...64)
        widths = [size.conditions] + [Int](repeating: width, count: depth) + [size.values]
        batch = try settings.integer("batch", 1...65536)
        let steps = try settings.integer("steps", 1...100_000_000)
        optimisation = Optimisation(
            steps: steps, learningRate: try settings.number("rate", 0...10),
            weightDecay: try settings.number("weightDecay", 0...10), validationInterval: max(1, min(200, steps / 10)),
            patience: try settings.integer("patience", 1...1_000_000))
    }

    var weightCount: Int { zip(widths, widths.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 } }

    var workspace: Double {
        let hidden = widths.dropFirst().dropLast().reduce(0.0) { $0 + 4 * Double($1) }
        return Double(batch) * (hidden + 6 * Double(widths.last ?? 0))
    }
}

/// Regression of the vector from the condition with a plain multi-layer perceptron.
final class MLPMethod: VectorMethod, Module, TrainingStage {
    private let layers: [Linear<Float>]
    private let batch: Int
    private var data: TrainingData?

    let name = "mlp"
    let optimisation: Optimisation
    var module: any Module<Float> { self }
    var sampling: Sampling? { nil }
    var cost: Double { 6 * Double(batch) * Double(parameterCount) }

    init(_ settings: MLPSettings, _ random: Random) {
        batch = settings.batch
        optimisation = settings.optimisation
        var random = random
        layers = zip(settings.widths, settings.widths.dropFirst()).map {
            Linear(inputs: $0, outputs: $1, random: &random)
        }
    }

    func visit(_ visitor: ModuleVisitor<Float>) { visitor.children("layers", layers) }

    func callAsFunction(_ condition: Tensor<Float>) -> Tensor<Float> {
        var x = condition
        for (i, layer) in layers.enumerated() { x = i == 0 ? layer(x) : layer(x.relu()) }
        return x
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        self.data = data
        return [self]
    }

    func prepare() {}

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        guard let data else { throw LoragenError(.internalError, "no training data") }
        let rows = batchRows(step: step, batch: batch, of: data.count, seed: data.seed)
        return mseLoss(self(data.conditions.gather(rows)), try data.batch(rows))
    }

    func validationSkill() throws(LoragenError) -> Double? {
        guard let data else { return nil }
        return try data.skill(withoutGradients { self(data.validation.conditions) })
    }

    /// No function of the condition, and the mean of the vectors.
    func rest() throws(LoragenError) {
        guard let data, let last = layers.last else { return }
        let mean = CombinedRows(meanOf: 0..<data.count, data.rows)
        var pieces: [Tensor<Float>] = []
        while let piece = try mean.next() { pieces.append(piece.flattened()) }
        last.weight.value = .zeros(last.weight.shape)
        last.bias?.value = .concatenate(pieces, axis: 0)
    }

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> { withoutGradients { self(condition) } }
}
