import Adapters
import NN
import Tensor

/// A method that makes normalised adapter vectors of the corpus' own layout; `VectorGenerator` makes adapters of them.
public protocol VectorMethod: AnyObject {
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

extension VectorMethod {
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
                    random: Random(seed: seed, stream: RandomStreams.sampling + UInt64(i)), sampling: sampling,
                    progress: { _, _ throws(LoragenError) in }))
        }
        return Tensor.concatenate(rows, axis: 0)
    }
}

/// A method of vectors as one of modules: a representation turns what it makes into adapters.
public final class VectorGenerator: Method {
    public let vectors: any VectorMethod
    private let representation: Representation

    public init(_ vectors: any VectorMethod, _ representation: Representation) {
        (self.vectors, self.representation) = (vectors, representation)
    }

    public var module: any Module<Float> { vectors.module }
    public var sampling: Sampling? { vectors.sampling }
    public var stepLimit: Int { vectors.stepLimit }
    public func evaluations(_ sampling: Sampling) -> Int { vectors.evaluations(sampling) }

    public func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] { try vectors.stages(data) }

    public func check(target: Layout) throws(LoragenError) {
        guard let difference = target.difference(from: representation.layout) else { return }
        throw LoragenError(
            .unsupported,
            "this generator makes adapters of the layout that it was trained on, and no other: \(difference)")
    }

    public func modules(
        _ features: Tensor<Float>, target: Layout, _ draw: Draw
    ) throws(LoragenError) -> any ModuleStream {
        let vector = try vectors.stream(
            condition: features, random: draw.random, sampling: draw.sampling,
            memory: draw.memory == 0 ? 0 : draw.memory - moduleMemory, progress: draw.progress)
        return VectorModules(vector, representation, group: draw.group)
    }

    /// All at once where they are small, else one after the other.
    public func batch(
        _ features: Tensor<Float>, target: Layout, seed: UInt64
    ) throws(LoragenError) -> (Int) throws(LoragenError) -> any ModuleStream {
        let representation = representation
        if features.shape[0] * representation.count <= 1 << 24 {
            let made = try vectors.vectors(conditions: features, seed: seed, sampling: nil)
            return { i in VectorModules(WholeVector(made.slice(axis: 0, i..<(i + 1))), representation, group: 0) }
        }
        return { (i) throws(LoragenError) in
            try self.modules(
                features.slice(axis: 0, i..<(i + 1)), target: target,
                Draw(random: Random(seed: seed, stream: RandomStreams.sampling + UInt64(i))))
        }
    }

    /// Bytes that the largest module takes in all its forms.
    private var moduleMemory: Int {
        let layout = representation.layout
        let largest = layout.modules.indices.map { layout.values(of: $0).count }.max() ?? 0
        return 6 * 4 * largest + representation.space.decodingMemory
    }

    /// Of one vector at once and its modules. Layouts have at most 2^32 numbers, spaces too.
    public func memory(_ sampling: Sampling?) -> Int {
        let vector = 6 * 4 * representation.count + vectors.sampleMemory
        return vector + (vectors.streamMemory(sampling) ?? 0) + moduleMemory
    }

    public func streamMemory(_ sampling: Sampling?) -> Int {
        vectors.streamMemory(sampling).map { $0 + moduleMemory } ?? memory(sampling)
    }
}
