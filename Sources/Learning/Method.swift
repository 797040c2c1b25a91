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
}

/// A generator of normalised adapter vectors: a published method, or a baseline.
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
    /// One normalised vector `[1, values]` for a standardised condition `[1, conditions]`; `random` is the sample's own.
    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float>
    /// Bytes that `vector` holds beside the weights, some vectors and what `streamMemory` says.
    var sampleMemory: Int { get }
    /// The least bytes that `stream` holds beside the weights; nil for a method that makes a vector at once.
    func streamMemory(_ sampling: Sampling?) -> Int?
    /// What `vector` gives, in pieces, the same bytes. A method with a `streamMemory` holds no more than `memory` bytes
    /// beside its weights, which is at least that; 0 is no limit.
    func stream(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, memory: Int,
        progress: @escaping (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> any VectorStream
    /// Vectors `[n, values]` for many conditions, row i with stream i: those of `vector`, up to rounding.
    func vectors(conditions: Tensor<Float>, seed: UInt64, sampling: Sampling?) throws(LoragenError) -> Tensor<Float>
}

extension Method {
    public var sampleMemory: Int { 0 }
    public var stepLimit: Int { 1 }
    public func evaluations(_ sampling: Sampling) -> Int { 1 }
    public func streamMemory(_ sampling: Sampling?) -> Int? { nil }

    public func stream(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, memory: Int,
        progress: @escaping (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> any VectorStream {
        WholeVector(try vector(condition: condition, random: random, sampling: sampling, progress: progress))
    }

    public func vectors(
        conditions: Tensor<Float>, seed: UInt64, sampling: Sampling?
    ) throws(LoragenError) -> Tensor<Float> {
        var rows: [Tensor<Float>] = []
        for i in 0..<conditions.shape[0] {
            rows.append(
                try vector(
                    condition: conditions.slice(axis: 0, i..<(i + 1)),
                    random: Random(seed: seed, stream: Streams.sampling + UInt64(i)), sampling: sampling,
                    progress: { _, _ throws(LoragenError) in }))
        }
        return Tensor.concatenate(rows, axis: 0)
    }
}
