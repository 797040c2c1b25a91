import NN
import Tensor

/// A stage while it is trained: weights, optimiser, weight average, the best weights so far. A step is `loss`, `gradients`,
/// `apply`: between the last two whoever drives it may clip, sum over machines, or put gradients of its own. All of it goes
/// into a checkpoint, so that a resumed training repeats itself to the byte.
public final class Session {
    public let stage: any TrainingStage
    private let parameters: [(name: String, parameter: Parameter<Float>)]
    private let optimiser: AdamW<Float>
    private let average: WeightAverage<Float>?
    private let schedule: Schedule
    private let buffers: [(name: String, buffer: ModuleBuffer<Float>)]
    /// Parameters, then buffers: running statistics belong to the weights that they were measured with.
    private var best: [Tensor<Float>]?

    public private(set) var step = 0
    private(set) var isStopped = false
    /// Exponential average of the loss over about 50 steps.
    private(set) var averageLoss = Double.nan
    private(set) var skill = Double.nan
    private(set) var bestSkill = Double.nan
    private var bestStep: Int?
    private var looksWithoutGain = 0
    /// The skill at the last gain.
    private var lastGain = -Double.infinity
    /// A rise of the skill by less than this is none: the weights are kept, but it does not make a training longer.
    static let leastGain = 0.001

    public init(_ stage: any TrainingStage) {
        self.stage = stage
        let settings = stage.optimisation
        parameters = stage.module.namedParameters
        buffers = stage.module.namedBuffers
        optimiser = AdamW(parameters, decay: settings.weightDecay)
        average = settings.ema.map { WeightAverage(stage.module.namedParameters, decay: $0, warmsUp: true) }
        schedule =
            settings.decayFraction >= 1
            ? .warmupCosine(warmup: settings.warmUp, steps: settings.steps, floor: 0)
            : .constantThenCosine(steps: settings.steps, fraction: settings.decayFraction, floor: 0)
    }

    /// The loss of this step, from which gradients can be taken. Throws `.nonFinite`.
    public func loss() throws(LoragenError) -> Tensor<Float> {
        stage.module.setTraining(true)
        let loss = try stage.loss(step: step)
        let value = Double(loss.item)
        guard value.isFinite else {
            throw LoragenError(
                .nonFinite,
                "the loss of \(stage.name) is \(value) at step \(step + 1); a smaller learning rate may help")
        }
        averageLoss = averageLoss.isNaN ? value : averageLoss + (value - averageLoss) / Double(min(step + 1, 50))
        return loss
    }

    /// Puts the gradients of a loss into the weights.
    public func gradients(of loss: Tensor<Float>) {
        optimiser.clearGradients()
        loss.backward()
    }

    /// One optimiser step with the gradients that the weights have.
    public func apply() {
        let settings = stage.optimisation
        var scale = 1.0
        if let clip = settings.clip {
            scale = clipFactor(norm: gradientNorm(optimiser.parameters), maximum: clip)
        }
        optimiser.step(rate: settings.learningRate * schedule.factor(at: step), gradientScale: scale)
        average?.update()
        step += 1
    }

    /// Whether the validation tasks are to be looked at after this many steps.
    var isLookDue: Bool { step % stage.optimisation.validationInterval == 0 || step == stage.optimisation.steps }

    var outcome: TrainedStage {
        TrainedStage(name: stage.name, steps: step, limit: stage.optimisation.steps, bestStep: bestStep)
    }

    /// Leaves the weights that are to be kept: the best, or what the stage is at rest if that is better; else the average, else the last.
    func finish() throws(LoragenError) {
        if let best {
            for (entry, value) in zip(parameters, best) { entry.parameter.value = value }
            for (entry, value) in zip(buffers, best.dropFirst(parameters.count)) { entry.buffer.value = value }
        } else {
            average?.exchange()
        }
        if bestSkill < stage.skillAtRest { try stage.rest() }
        optimiser.clearGradients()
        stage.module.setTraining(false)
    }

    /// Measures the validation tasks, keeps the best weights, and finds out whether more steps are of no use.
    func look() throws(LoragenError) {
        stage.module.setTraining(false)
        average?.exchange()
        let measured = Result { () throws(LoragenError) in try stage.validationSkill() }
        let weights = parameters.map { $0.parameter.value } + buffers.map { $0.buffer.value }
        average?.exchange()
        guard let skill = try measured.get() else { return }
        self.skill = skill
        if bestSkill.isNaN || skill > bestSkill {
            bestSkill = skill
            bestStep = step
            best = weights
        }
        if skill > lastGain + Self.leastGain {
            lastGain = skill
            looksWithoutGain = 0
        } else {
            looksWithoutGain += 1
            if let patience = stage.optimisation.patience, looksWithoutGain >= patience { isStopped = true }
        }
    }

    // MARK: Checkpoints

    /// Everything that changes while the stage is trained.
    func state() -> [(name: String, tensor: Tensor<Float>)] {
        var state = stage.module.namedTensors().map { ("weights." + $0.name, $0.tensor) }
        state += optimiser.state()
        state += average?.state() ?? []
        if let best { state += zip(keptNames, best).map { ("best." + $0, $1) } }
        return state
    }

    private var keptNames: [String] { parameters.map(\.name) + buffers.map(\.name) }

    /// Numbers that have to come back exactly.
    var counters: [Double] {
        [
            Double(step), isStopped ? 1 : 0, averageLoss, skill, bestSkill, Double(looksWithoutGain),
            Double(bestStep ?? 0), lastGain,
        ]
    }

    /// Takes over what `state` and `counters` gave. Throws `.format` when it is of another training.
    func restore(
        counters: [Double], _ find: (_ name: String) throws(LoragenError) -> Tensor<Float>?
    ) throws(LoragenError) {
        guard counters.count == 8, let step = Int(exactly: counters[0]), (0...stage.optimisation.steps).contains(step),
            let looks = Int(exactly: counters[5]), looks >= 0, let bestStep = Int(exactly: counters[6])
        else {
            throw LoragenError(.format, "the checkpoint's counters do not belong to \(stage.name)")
        }
        try stage.module.load { (name) throws(LoragenError) in try find("weights." + name) }
        try optimiser.load(find)
        try average?.load(find)
        if let first = parameters.first, try find("best." + first.name) != nil {
            let shapes = parameters.map(\.parameter.shape) + buffers.map(\.buffer.value.shape)
            var kept: [Tensor<Float>] = []
            for (name, shape) in zip(keptNames, shapes) {
                guard let tensor = try find("best." + name), tensor.shape == shape else {
                    throw LoragenError(.format, "best.\(name) is missing or has another shape")
                }
                kept.append(tensor)
            }
            best = kept
        }
        self.step = step
        isStopped = counters[1] != 0
        (averageLoss, skill, bestSkill) = (counters[2], counters[3], counters[4])
        looksWithoutGain = looks
        self.bestStep = bestStep > 0 ? bestStep : nil
        lastGain = counters[7]
    }
}
