import Adapters
import Conditions
import Tensor

/// A corpus made ready for a method: split, standardised, as vectors.
public struct Problem {
    public let corpus: Corpus
    public let representation: Representation
    public let conditionScale: ConditionScale
    public let conditionKind: ConditionKind
    public let size: ProblemSize
    /// Tasks of the training split in the order of the corpus, and each training adapter's place among them.
    public let tasks: [String]
    public let groups: [Int32]
    public let data: TrainingData
    public let validation: HeldOut
    public let test: HeldOut

    /// Adapters that were held out, with what a method is asked for.
    public struct HeldOut {
        var adapters: CorpusModules
        /// Standardised, `[n, C]`.
        public var conditions: Tensor<Float>
        public var tasks: [String]
        /// Squared distance of the mean training adapter to each, `Σ‖ΔW‖²`.
        public var meanErrors: [Double] = []
        /// `Σ‖ΔW‖²` of all.
        var squaredNorm = 0.0

        public var count: Int { tasks.count }

        /// The mean adapter's error; nil where it is rounding, so that nothing can be measured by it.
        public var meanError: Double? {
            let total = meanErrors.reduce(0, +)
            return total > 1e-10 * squaredNorm ? total : nil
        }
    }

    /// Bytes of vectors and adapters that are kept in memory rather than read again. The results do not depend on it.
    static func roomToKeep(memoryLimit: UInt64) -> Double {
        (memoryLimit > 0 ? Double(memoryLimit) : Double(Memory.available)) / 8
    }

    public init(
        _ corpus: Corpus, _ settings: Settings, streams: Bool, seed: UInt64, memoryLimit: UInt64
    ) throws(LoragenError) {
        let train = corpus.indices(of: .train)
        guard !train.isEmpty else {
            throw LoragenError(.mismatch, "\(corpus.path): no adapter is in the split \"train\"")
        }
        // Adapters, their vectors, and one copy.
        let numbers = Double(corpus.layout.valueCount) * Double(corpus.entries.count)
        let keeps = !streams || 16 * numbers <= Self.roomToKeep(memoryLimit: memoryLimit)
        if keeps, memoryLimit > 0, 16 * numbers > Double(memoryLimit) {
            throw LoragenError(
                .memory,
                "\(corpus.path): training on \(corpus.entries.count) adapters of \(corpus.layout.valueCount) numbers takes "
                    + "about \(Memory.mebibytes(16 * numbers)) MiB; the limit is \(memoryLimit >> 20) MiB")
        }
        // The widest module's factors of all adapters side by side, in double, for its frames.
        let widest = corpus.layout.modules.reduce(0.0) { widest, module in
            max(widest, Double(module.rank) * Double(max(module.outputs, module.columns)))
        }
        try Memory.require(
            (keeps ? 16 * numbers : 0) + 64 * widest * Double(train.count),
            for: "\(corpus.path): fitting \(corpus.entries.count) adapters of \(corpus.layout.valueCount) numbers")
        self.corpus = corpus
        conditionKind = corpus.entries[train[0]].conditionKind
        let conditions = train.map { corpus.entries[$0].condition ?? [] }
        let conditionScale = ConditionScale(fitting: conditions)
        self.conditionScale = conditionScale
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
        let (representation, rows) = try Representation.fitting(
            settings, CorpusModules(corpus, train, keeps: false), groups: groups,
            groupCount: tasks.count, seed: seed, keeps: keeps)
        self.representation = representation
        var runPlaces: [String: Int32] = [:]
        let runs = train.map { i in
            let place = runPlaces[corpus.entries[i].run] ?? Int32(runPlaces.count)
            runPlaces[corpus.entries[i].run] = place
            return place
        }
        size = ProblemSize(
            values: representation.count, conditions: conditionScale.shift.count, examples: train.count,
            tensors: representation.space.tensors.map(\.shape), runs: runPlaces.count)
        func heldOut(_ split: Split) throws(LoragenError) -> HeldOut {
            let indices = corpus.indices(of: split)
            var heldOut = HeldOut(
                adapters: CorpusModules(corpus, indices, keeps: keeps),
                conditions: conditionScale(indices.map { corpus.entries[$0].condition ?? [] }),
                tasks: indices.map { corpus.entries[$0].task })
            try heldOut.measureMean(rows, representation)
            return heldOut
        }
        let validation = try heldOut(.validation)
        self.validation = validation
        test = try heldOut(.test)
        let isPerTask = representation.normaliser.kind == .perTask
        data = TrainingData(
            rows: rows, conditions: conditionScale(conditions), validationConditions: validation.conditions,
            skillOfStreams: { (predicted) throws(LoragenError) in
                // Per-task statistics exist for training tasks only, so nothing held out can be generated.
                guard !isPerTask, let meanError = validation.meanError else { return nil }
                let errors = try productErrors(validation, representation) { (i) throws(LoragenError) in
                    VectorModules(try predicted(i), representation, group: 0)
                }
                return 1 - errors.reduce(0, +) / meanError
            }, seed: seed, runs: runs, tasks: groups)
    }
}

/// Squared distances `Σ‖ΔŴ − ΔW‖²` of one predicted vector for each held-out adapter; `visit` sees every pair of modules.
public func productErrors(
    _ heldOut: Problem.HeldOut, _ representation: Representation,
    _ predicted: (Int) throws(LoragenError) -> any ModuleStream,
    visit: (_ module: Int, _ made: Adapter, _ real: Adapter) -> Void = { _, _, _ in }
) throws(LoragenError) -> [Double] {
    var errors: [Double] = []
    for i in 0..<heldOut.count {
        let made = try predicted(i)
        var error = 0.0
        for module in representation.layout.modules.indices {
            let (made, real) = (try made.next(), try heldOut.adapters.module(module, of: i))
            error += productDistance(made, real)
            visit(module, made, real)
        }
        errors.append(error)
    }
    return errors
}

extension Problem.HeldOut {
    /// The mean training adapter against each held-out one, module by module: it is decoded once.
    fileprivate mutating func measureMean(
        _ rows: any VectorRows, _ representation: Representation
    ) throws(LoragenError) {
        meanErrors = [Double](repeating: 0, count: count)
        if count == 0 { return }
        let mean = VectorModules(CombinedRows(meanOf: 0..<rows.count, rows), representation, group: 0)
        for module in representation.layout.modules.indices {
            let made = try mean.next()
            for i in 0..<count {
                let real = try adapters.module(module, of: i)
                meanErrors[i] += productDistance(made, real)
                squaredNorm += real.squaredNorms()[0]
            }
        }
    }
}
