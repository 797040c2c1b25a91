import NN
import Tensor

/// How a stage's weights are optimised.
public struct Optimisation: Sendable {
    public var steps: Int
    public var learningRate: Double
    public var weightDecay = 0.0
    /// Largest norm of the whole gradient; nil for no clipping.
    public var clip: Double? = 1
    /// Share of the steps, at the end, over which a cosine takes the learning rate to zero.
    public var decayFraction = 1.0
    public var warmUp = 0
    /// Decay of the weight average; nil for none.
    public var ema: Double?
    /// Steps between two looks at the validation tasks.
    public var validationInterval = 100
    /// Looks without a skill that is better by 0.001 after which the stage stops; nil for never.
    public var patience: Int?

    public init(
        steps: Int, learningRate: Double, weightDecay: Double = 0, clip: Double? = 1, decayFraction: Double = 1,
        warmUp: Int = 0, ema: Double? = nil, validationInterval: Int = 100, patience: Int? = nil
    ) {
        self.steps = steps
        self.learningRate = learningRate
        self.weightDecay = weightDecay
        self.clip = clip
        self.decayFraction = decayFraction
        self.warmUp = warmUp
        self.ema = ema
        self.validationInterval = validationInterval
        self.patience = patience
    }
}

extension Optimisation {
    /// The settings of a method's main stage.
    public init(_ settings: Settings, warmUp: Int = 0) throws(LoragenError) {
        let clip = try settings.number("clip", 0...1e9)
        let ema = try settings.number("ema", 0...0.999999)
        self.init(
            steps: try settings.integer("steps", 1...100_000_000),
            learningRate: try settings.number("rate", 0...10),
            weightDecay: try settings.number("weightDecay", 0...10), clip: clip > 0 ? clip : nil,
            decayFraction: try settings.number("decay", 0...1), warmUp: warmUp, ema: ema > 0 ? ema : nil,
            validationInterval: try settings.integer("validationInterval", 1...1_000_000),
            patience: try settings.integer("patience", 1...1_000_000))
    }
}

/// One optimisation problem of a method. The training loop runs a method's stages in order; a stage knows its loss and
/// nothing about optimisers, checkpoints, progress or cancelling.
public protocol TrainingStage: AnyObject {
    var name: String { get }
    var optimisation: Optimisation { get }
    /// What is trained and saved, with names that are unique in the method.
    var module: any Module<Float> { get }
    /// Rough floating-point operations of one step, to estimate the time left over all stages.
    var cost: Double { get }
    /// Called before the first step, also when a training is resumed: everything that depends on earlier stages.
    func prepare() throws(LoragenError)
    /// A scalar that depends on the weights and on `step` alone, so that a resumed training repeats itself exactly.
    func loss(step: Int) throws(LoragenError) -> Tensor<Float>
    /// Skill on the validation tasks with the current weights; nil if the stage cannot be judged.
    func validationSkill() throws(LoragenError) -> Double?
    /// The skill of what the stage gives without having learned anything: that of the mean of the vectors, 0, unless it starts
    /// from something better. Known after `prepare`.
    var skillAtRest: Double { get }
    /// Makes the weights give that, whatever is asked for; called where no weights were better on the validation tasks. A
    /// stage that cannot keeps its best.
    func rest() throws(LoragenError)
}

extension TrainingStage {
    public var skillAtRest: Double { 0 }
    public func rest() {}
}
