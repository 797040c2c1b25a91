import Adapters
import Conditions
import Tensor

/// A corpus made ready for a method: split, standardised, as vectors.
struct Problem {
    let corpus: Corpus
    let representation: Representation
    let conditionScale: ConditionScale
    let conditionKind: ConditionKind
    let size: ProblemSize
    /// Tasks of the training split in the order of the corpus, and each training adapter's place among them.
    let tasks: [String]
    let groups: [Int32]
    let data: TrainingData
    let validation: HeldOut
    let test: HeldOut

    /// Adapters that were held out, with what a method is asked for.
    struct HeldOut {
        var adapters: [Adapter]
        /// Standardised, `[n, C]`.
        var conditions: Tensor<Float>
        var tasks: [String]
        /// Squared distance of the mean training adapter to each, `Σ‖ΔW‖²`.
        var meanErrors: [Double]
    }

    init(_ corpus: Corpus, _ settings: Settings, seed: UInt64, memoryLimit: UInt64) throws(LoragenError) {
        let train = corpus.indices(of: .train)
        guard !train.isEmpty else {
            throw LoragenError(.mismatch, "\(corpus.path): no adapter is in the split \"train\"")
        }
        // Adapters, their vectors in double for the fits, and one copy.
        let (bytes, overflow) = corpus.layout.valueCount.multipliedReportingOverflow(by: 16 * corpus.entries.count)
        if memoryLimit > 0, overflow || UInt64(max(0, bytes)) > memoryLimit {
            throw LoragenError(
                .memory,
                "\(corpus.path): training on \(corpus.entries.count) adapters of \(corpus.layout.valueCount) numbers takes "
                    + "about \(max(0, bytes) >> 20) MiB; the limit is \(memoryLimit >> 20) MiB")
        }
        self.corpus = corpus
        conditionKind = corpus.entries[train[0]].conditionKind
        let conditions = train.map { corpus.entries[$0].condition ?? [] }
        let conditionScale = ConditionScale(fitting: conditions)
        self.conditionScale = conditionScale
        var adapters: [Adapter] = []
        for i in train { adapters.append(try corpus.adapter(at: i)) }
        var tasks: [String] = []
        var places: [String: Int32] = [:]
        var groups: [Int32] = []
        for i in train {
            let task = corpus.entries[i].task
            if places[task] == nil {
                places[task] = Int32(tasks.count)
                tasks.append(task)
            }
            groups.append(places[task] ?? 0)
        }
        (self.tasks, self.groups) = (tasks, groups)
        let representation = try Representation(
            try representationSettings(settings), fitting: adapters, groups: groups, groupCount: tasks.count, seed: seed
        )
        self.representation = representation
        let vectors = try representation.encode(adapters, groups: groups)
        var runPlaces: [String: Int32] = [:]
        let runs = train.map { i in
            let place = runPlaces[corpus.entries[i].run] ?? Int32(runPlaces.count)
            runPlaces[corpus.entries[i].run] = place
            return place
        }
        size = ProblemSize(
            values: representation.count, conditions: conditionScale.shift.count, examples: train.count,
            tensors: representation.tensors.map(\.shape), runs: runPlaces.count)
        let mean = try representation.decode(vectors.mean(axes: [0], keepDims: true), group: 0)
        func heldOut(_ split: Split) throws(LoragenError) -> HeldOut {
            let indices = corpus.indices(of: split)
            var adapters: [Adapter] = []
            var errors: [Double] = []
            for i in indices {
                let adapter = try corpus.adapter(at: i)
                adapters.append(adapter)
                errors.append(productDistance(mean, adapter))
            }
            return HeldOut(
                adapters: adapters, conditions: conditionScale(indices.map { corpus.entries[$0].condition ?? [] }),
                tasks: indices.map { corpus.entries[$0].task }, meanErrors: errors)
        }
        let validation = try heldOut(.validation)
        self.validation = validation
        test = try heldOut(.test)
        let isPerTask = representation.normaliser.kind == .perTask
        data = TrainingData(
            vectors: vectors, conditions: conditionScale(conditions), validationConditions: validation.conditions,
            skill: { (predicted) throws(LoragenError) in
                // Per-task statistics exist for training tasks only, so nothing held out can be generated.
                if isPerTask || validation.adapters.isEmpty { return nil }
                return try skill(predicted, validation, representation)
            }, seed: seed, runs: runs)
    }
}

/// `1 − error / error of the mean adapter` of normalised vectors `[n, values]`; both errors are sums of `‖ΔŴ − ΔW‖²`.
func skill(
    _ predicted: Tensor<Float>, _ heldOut: Problem.HeldOut, _ representation: Representation
) throws(LoragenError) -> Double {
    let errors = try productErrors(predicted, heldOut, representation)
    return 1 - errors.reduce(0, +) / max(heldOut.meanErrors.reduce(0, +), .leastNormalMagnitude)
}

func productErrors(
    _ predicted: Tensor<Float>, _ heldOut: Problem.HeldOut, _ representation: Representation
) throws(LoragenError) -> [Double] {
    var errors: [Double] = []
    for (i, adapter) in heldOut.adapters.enumerated() {
        let made = try representation.decode(predicted.slice(axis: 0, i..<(i + 1)), group: 0)
        errors.append(productDistance(made, adapter))
    }
    return errors
}
