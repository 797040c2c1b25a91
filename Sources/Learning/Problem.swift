import Adapters
import Conditions
import Tensor

/// A corpus made ready for a method: split, standardised, as vectors.
public struct Problem {
    public let corpus: Corpus
    public let representation: Representation
    public let schema: Schema
    public let size: ProblemSize
    /// Tasks of the training split in the order of the corpus, and each training example's place among them.
    public let tasks: [String]
    public let groups: [Int32]
    /// Adapters in the training split; each is an example for each way to ask for it.
    public let adapterCount: Int
    public let data: TrainingData
    public let validation: HeldOut
    public let test: HeldOut

    /// Bytes of vectors and adapters that are kept in memory rather than read again. The results do not depend on it.
    static func roomToKeep(memoryLimit: UInt64) -> Double {
        (memoryLimit > 0 ? Double(memoryLimit) : Double(Memory.available)) / 8
    }

    /// `conditions` is what the adapters are asked for by; nil for what the manifest gives without an encoder.
    public init(
        _ corpus: Corpus, _ settings: Settings, conditions: CorpusConditions? = nil, streams: Bool, seed: UInt64,
        memoryLimit: UInt64
    ) throws(LoragenError) {
        let train = corpus.indices(of: .train)
        guard !train.isEmpty else {
            throw LoragenError(.mismatch, "\(corpus.path): no adapter is in the split \"train\"")
        }
        let keeps = try Self.keeps(corpus, train.count, streams: streams, memoryLimit: memoryLimit)
        self.corpus = corpus
        adapterCount = train.count
        let given: CorpusConditions
        if let conditions { given = conditions } else { given = try CorpusConditions(corpus) }
        // An example is an adapter and one way to ask for it.
        let examples = train.indices.flatMap { row in given.ways[train[row]].map { (row: row, numbers: $0) } }
        let schema = try Schema(given.parts, fitting: examples.map(\.numbers))
        let (tasks, groups) = Self.numbered(train.map { corpus.entries[$0].task })
        let (runs, runOfEach) = Self.numbered(train.map { corpus.entries[$0].run })
        let (representation, rows) = try Representation.fitting(
            settings, CorpusModules(corpus, train, keeps: false), groups: groups, groupCount: tasks.count, seed: seed,
            keeps: keeps)
        func heldOut(_ split: Split) throws(LoragenError) -> HeldOut {
            let entries = corpus.indices(of: split)
            return try HeldOut(
                corpus, entries, conditions: schema.features(entries.map { given.ways[$0].first ?? [] }), rows,
                representation, keeps: keeps)
        }
        (self.schema, self.tasks, self.representation) = (schema, tasks, representation)
        self.groups = examples.map { groups[$0.row] }
        size = ProblemSize(
            values: representation.count, conditions: schema.width, examples: examples.count,
            tensors: representation.space.tensors.map(\.shape), runs: runs.count)
        validation = try heldOut(.validation)
        test = try heldOut(.test)
        data = TrainingData(
            rows: examples.count == train.count ? rows : ChosenRows(rows, examples.map(\.row)),
            conditions: schema.features(examples.map(\.numbers)), validation: validation, seed: seed,
            runs: examples.map { runOfEach[$0.row] }, tasks: self.groups)
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
