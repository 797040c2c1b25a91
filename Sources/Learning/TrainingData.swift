import Tensor

/// Tasks that were held out, for choices among what training gives.
public protocol ValidationTasks {
    /// Standardised, `[V, C]`.
    var conditions: Tensor<Float> { get }
    /// Skill of one predicted vector for each task, which are asked for in order; nil where it cannot be measured.
    func skill(_ predicted: (Int) throws(LoragenError) -> any VectorStream) throws(LoragenError) -> Double?
}

/// Normalised training vectors with the standardised conditions, and the tasks that progress is measured on.
public struct TrainingData {
    /// In memory, or read from the corpus whenever they are asked for.
    public var rows: any VectorRows
    /// `[N, conditions]`.
    public var conditions: Tensor<Float>
    public var validation: any ValidationTasks
    public var seed: UInt64
    /// The training run of each vector, in `0 ..< runs`.
    public var runs: [Int32] = []
    /// The task of each vector; empty where all are of different ones.
    public var tasks: [Int32] = []

    public var count: Int { rows.count }
    /// Numbers in one vector.
    public var width: Int { rows.width }

    /// All vectors, `[N, values]`.
    public var vectors: Tensor<Float> {
        get throws(LoragenError) {
            if let held = rows.held { return held }
            return try rows.tensor()
        }
    }

    /// Some vectors, `[n, values]`.
    public func batch(_ indices: [Int32]) throws(LoragenError) -> Tensor<Float> {
        if let held = rows.held { return held.gather(indices) }
        return try rows.tensor(indices.map { Int($0) }, 0..<width)
    }

    /// Skill of vectors `[V, values]` that were predicted for the validation tasks; nil without any.
    public func skill(_ vectors: Tensor<Float>) throws(LoragenError) -> Double? {
        try validation.skill { i in WholeVector(vectors.slice(axis: 0, i..<(i + 1))) }
    }
}
