import Adapters
import NN
import Tensor

/// What a method knows of the corpus before it sees a weight; with the settings it fixes the shapes of all its tensors.
public struct ProblemSize: Equatable, Sendable {
    /// Numbers in one normalised adapter vector.
    public var values: Int
    /// Numbers in one condition; 0 without.
    public var conditions: Int
    /// Adapters in the training split.
    public var examples: Int
    /// The shapes of the tensors that lie back to back in a vector.
    public var tensors: [[Int]] = []
    /// Training runs that the examples come from.
    public var runs = 1

    public init(values: Int, conditions: Int, examples: Int, tensors: [[Int]] = [], runs: Int = 1) {
        self.values = values
        self.conditions = conditions
        self.examples = examples
        self.tensors = tensors
        self.runs = runs
    }
}

/// How a sample is drawn.
public struct Sampling {
    public var sampler: any Sampler
    public var steps: Int
    public var guidance: Double

    public init(sampler: any Sampler, steps: Int, guidance: Double) {
        self.sampler = sampler
        self.steps = steps
        self.guidance = guidance
    }

    /// A few deterministic steps, which rank weights as the full sampler does at a fraction of its cost.
    public var quick: Sampling {
        sampler.takesAllSteps ? Sampling(sampler: DDIM(), steps: 20, guidance: guidance) : self
    }
}

/// One sample to be made.
public struct Draw {
    /// The sample's own.
    public var random: Random
    /// nil: the method's own.
    public var sampling: Sampling?
    /// The training task whose statistics the inverse needs; 0 unless they are per task.
    public var group: Int32 = 0
    /// Bytes that the stream of modules may hold beside the weights, at least `streamMemory`; 0 for no limit.
    public var memory = 0
    /// Told of evaluations that are done and of all.
    public var progress: (Int, Int) throws(LoragenError) -> Void = { _, _ in }

    public init(random: Random, sampling: Sampling? = nil) {
        self.random = random
        self.sampling = sampling
    }
}

/// The modules of an adapter in the order of its layout, each made when it is asked for.
public protocol ModuleStream: AnyObject {
    /// The next module as an adapter of its own. Throws `.nonFinite` when its numbers are not finite.
    func next() throws(LoragenError) -> Adapter
    /// The digest of what has come so far, in the coordinates that the training adapters were digested in.
    var sketch: Sketch { get }
}

/// A trained generator of adapters: a published method, or a baseline.
public protocol Method: AnyObject {
    /// Every tensor that a trained generator keeps.
    var module: any Module<Float> { get }
    /// How it samples unless told otherwise; nil for methods that do not sample.
    var sampling: Sampling? { get }
    /// The most steps of a sampler; 1 for methods that do not sample.
    var stepLimit: Int { get }
    /// How often the network is evaluated for a sample, which may be less than the steps that were asked for.
    func evaluations(_ sampling: Sampling) -> Int
    /// Fits what has a closed form, and returns what has to be trained, in order.
    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage]
    /// Throws `.unsupported` for layouts that it cannot make, and says which ones it can.
    func check(target: Layout) throws(LoragenError)
    /// An adapter of the layout `target`, which was checked, for standardised features `[1, C]`.
    func modules(
        _ features: Tensor<Float>, target: Layout, _ draw: Draw
    ) throws(LoragenError) -> any ModuleStream
    /// Adapters for many features `[n, C]`, row i with stream i: those of `modules`, up to rounding, and quicker where a
    /// method can. Asked for in order.
    func batch(
        _ features: Tensor<Float>, target: Layout, seed: UInt64
    ) throws(LoragenError) -> (Int) throws(LoragenError) -> any ModuleStream
    /// Bytes that making an adapter holds beside the weights, without a limit.
    func memory(_ sampling: Sampling?) -> Int
    /// The least bytes that `modules` holds.
    func streamMemory(_ sampling: Sampling?) -> Int
}

extension Method {
    public var stepLimit: Int { 1 }
    public func evaluations(_ sampling: Sampling) -> Int { 1 }

    public func batch(
        _ features: Tensor<Float>, target: Layout, seed: UInt64
    ) throws(LoragenError) -> (Int) throws(LoragenError) -> any ModuleStream {
        { (i) throws(LoragenError) in
            try self.modules(
                features.slice(axis: 0, i..<(i + 1)), target: target,
                Draw(random: Random(seed: seed, stream: RandomStreams.sampling + UInt64(i))))
        }
    }
}

/// A method's settings with the size of a problem, parsed once, into what they mean.
public protocol MethodSettings {
    /// Throws `.invalidArgument` for settings that make no method.
    init(_ settings: Settings, _ size: ProblemSize) throws(LoragenError)
    /// Numbers that the trained method keeps.
    var weightCount: Int { get }
    /// About how many numbers a training holds besides its weights: activations of one batch, matrices of a fit.
    var workspace: Double { get }
    /// Whether a moving average of the weights is kept while they are trained.
    var hasAverage: Bool { get }
    /// Whether the file keeps linear layers in bf16.
    var halvesWeights: Bool { get }
}

extension MethodSettings {
    public var hasAverage: Bool { false }
    public var halvesWeights: Bool { false }
}

/// What is known of a method before anything is allocated.
public struct Plan {
    public var weightCount: Int
    public var workspace: Double
    public var hasAverage = false
    public var halvesWeights = false
    /// The method with fresh weights; `Random.none` when they are about to be loaded.
    public var make: (Representation, Random) throws(LoragenError) -> any Method

    /// Of a method that makes vectors.
    public init<S: MethodSettings>(
        _ settings: S, vectors make: @escaping (S, Random) throws(LoragenError) -> any VectorMethod
    ) {
        self.init(weightCount: settings.weightCount, workspace: settings.workspace) { (random) throws(LoragenError) in
            try make(settings, random)
        }
        (hasAverage, halvesWeights) = (settings.hasAverage, settings.halvesWeights)
    }

    public init(
        weightCount: Int, workspace: Double, vectors make: @escaping (Random) throws(LoragenError) -> any VectorMethod
    ) {
        self.init(weightCount: weightCount, workspace: workspace) { (representation, random) throws(LoragenError) in
            VectorGenerator(try make(random), representation)
        }
    }

    public init(
        weightCount: Int, workspace: Double,
        make: @escaping (Representation, Random) throws(LoragenError) -> any Method
    ) {
        (self.weightCount, self.workspace, self.make) = (weightCount, workspace, make)
    }
}
