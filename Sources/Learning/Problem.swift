import Adapters
import Conditions
import Tensor

/// A corpus made ready for a method: split, standardised, as vectors.
public struct Problem {
    public let corpus: Corpus
    public let representation: Representation
    public private(set) var schema: Schema
    public private(set) var size: ProblemSize
    /// Tasks of the training split in the order of the corpus, and each training example's place among them.
    public let tasks: [String]
    public private(set) var groups: [Int32]
    /// Adapters in the training split; each is an example for each way to ask for it.
    public var adapterCount: Int { train.count }
    public private(set) var data: TrainingData
    public private(set) var validation: HeldOut
    public private(set) var test: HeldOut
    private let train: [Int]
    /// The vectors of the training adapters.
    private let rows: any VectorRows

    /// Bytes of vectors and adapters that are kept in memory rather than read again. The results do not depend on it.
    static func roomToKeep(memoryLimit: UInt64) -> Double {
        (memoryLimit > 0 ? Double(memoryLimit) : Double(Memory.available)) / 8
    }

    /// `conditions` is what the adapters are asked for by; nil for what the manifest gives without an encoder.
    public init(
        _ corpus: Corpus, _ settings: Settings, conditions: CorpusConditions? = nil, streams: Bool, seed: UInt64,
        memoryLimit: UInt64
    ) throws(LoragenError) {
        train = corpus.indices(of: .train)
        guard !train.isEmpty else {
            throw LoragenError(.mismatch, "\(corpus.path): no adapter is in the split \"train\"")
        }
        let keeps = try Self.keeps(corpus, train.count, streams: streams, memoryLimit: memoryLimit)
        self.corpus = corpus
        let (tasks, groups) = Self.numbered(train.map { corpus.entries[$0].task })
        let (representation, rows) = try Representation.fitting(
            settings, CorpusModules(corpus, train, keeps: false), groups: groups, groupCount: tasks.count, seed: seed,
            keeps: keeps)
        func heldOut(_ split: Split) throws(LoragenError) -> HeldOut {
            try HeldOut(
                corpus, corpus.indices(of: split), conditions: .zeros([0, 0]), rows, representation, keeps: keeps)
        }
        (self.tasks, self.groups, self.representation, self.rows) = (tasks, groups, representation, rows)
        schema = try Schema([], fitting: [])
        size = ProblemSize(
            values: representation.count, conditions: 0, examples: train.count,
            tensors: representation.space.tensors.map(\.shape), runs: Set(train.map { corpus.entries[$0].run }).count)
        validation = try heldOut(.validation)
        test = try heldOut(.test)
        data = TrainingData(rows: rows, conditions: .zeros([0, 0]), validation: validation, seed: seed)
        if let conditions { try ask(by: conditions) } else { try ask(by: CorpusConditions(corpus)) }
    }

    /// Asks for the same adapters in another way. Until a reader is given, the features are the standardised numbers.
    public mutating func ask(
        by conditions: CorpusConditions, reader: (any FeatureReader)? = nil
    ) throws(LoragenError) {
        let given = conditions.ways
        // An example is an adapter and one way to ask for it.
        let examples = train.indices.flatMap { row in given[train[row]].map { (row: row, numbers: $0) } }
        schema = try Schema(conditions.parts, fitting: examples.map(\.numbers))
        schema.reader = reader
        func heldOut(_ split: Split) -> Tensor<Float> {
            schema.features(corpus.indices(of: split).map { given[$0].first ?? [] })
        }
        validation.conditions = heldOut(.validation)
        test.conditions = heldOut(.test)
        (size.conditions, size.examples) = (schema.featureWidth, examples.count)
        let (_, tasks) = Self.numbered(train.map { corpus.entries[$0].task })
        let (_, runs) = Self.numbered(train.map { corpus.entries[$0].run })
        groups = examples.map { tasks[$0.row] }
        data = TrainingData(
            rows: examples.count == train.count ? rows : ChosenRows(rows, examples.map(\.row)),
            conditions: schema.features(examples.map(\.numbers)), validation: validation, seed: data.seed,
            runs: examples.map { runs[$0.row] }, tasks: groups)
    }

    /// Whether adapters and vectors stay in memory. Throws `.memory` where they would have to and cannot.
    private static func keeps(
        _ corpus: Corpus, _ trainingCount: Int, streams: Bool, memoryLimit: UInt64
    ) throws(LoragenError) -> Bool {
        // Adapters, their vectors, and one copy.
        let bytes = 16 * Double(corpus.layout.valueCount) * Double(corpus.entries.count)
        let keeps = !streams || bytes <= roomToKeep(memoryLimit: memoryLimit)
        if keeps, memoryLimit > 0, bytes > Double(memoryLimit) {
            throw LoragenError(
                .memory,
                "\(corpus.path): training on \(corpus.entries.count) adapters of \(corpus.layout.valueCount) numbers takes "
                    + "about \(Memory.mebibytes(bytes)) MiB; the limit is \(memoryLimit >> 20) MiB")
        }
        // The widest module's factors of all adapters side by side, in double, for its frames.
        let widest = corpus.layout.modules.reduce(0.0) { widest, module in
            max(widest, Double(module.rank) * Double(max(module.outputs, module.columns)))
        }
        try Memory.require(
            (keeps ? bytes : 0) + 64 * widest * Double(trainingCount),
            for: "\(corpus.path): fitting \(corpus.entries.count) adapters of \(corpus.layout.valueCount) numbers")
        return keeps
    }

    /// The different names in their order, and the place of each among them.
    private static func numbered(_ names: [String]) -> (names: [String], places: [Int32]) {
        var different: [String] = []
        var places: [String: Int32] = [:]
        let all = names.map { name in
            if let place = places[name] { return place }
            let place = Int32(clamping: different.count)
            places[name] = place
            different.append(name)
            return place
        }
        return (different, all)
    }
}
