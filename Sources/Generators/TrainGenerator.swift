import Conditions
import Files
import Glibc
import Learning
import Methods
import Reports
import Tensor

/// What a caller may choose about a training.
public struct TrainingOptions: Sendable {
    public var method = "cond-pdiff"
    /// nil: "default".
    public var preset: String?
    /// A JSON object that overrides single settings of the preset.
    public var settings: String?
    public var seed: UInt64 = 0
    /// Bytes that training may hold; 0 for no limit.
    public var memoryLimit: UInt64 = 0
    /// A file for the state of an unfinished training.
    public var checkpoint: String?
    public var checkpointSeconds = 30.0
    /// For conditions that are texts or pictures.
    public var encoders = ConditionEncoders()
    /// Which field of the manifest is the condition: one of `CorpusConditions.fields`; nil: what there is.
    public var condition: String?

    public init() {}
}

/// Trains a generator on the training tasks of a corpus, chooses by its validation tasks, measures the report on its test
/// tasks, and writes the generator to `path`, whole or not at all.
public func trainGenerator(
    corpus: Corpus, path: String, options: TrainingOptions, progress: ProgressHandler? = nil
) throws(LoragenError) {
    let preset = options.preset ?? "default"
    let entry = try methods(options.method)
    var settings = try entry.settings(preset: preset)
    let (reading, overrides) = try ReaderSettings.split(options.settings)
    if let text = overrides { settings = try settings.overridden(by: text) }
    settings = try suited(settings, to: corpus)
    let sources = corpus.sources
    try sources.check(writing: [path])
    try checkWritable(path)
    if let checkpoint = options.checkpoint {
        try sources.check(writing: [checkpoint])
        try checkWritable(checkpoint)
        if isSameFile(checkpoint, path) {
            throw LoragenError(
                .invalidArgument, "\(checkpoint): the checkpoint needs a file of its own, beside corpus and generator")
        }
    }
    guard options.checkpointSeconds.isFinite, options.checkpointSeconds >= 0 else {
        throw LoragenError(.invalidArgument, "checkpoint_seconds is \(options.checkpointSeconds); expected 0 or more")
    }
    let conditions = try CorpusConditions(
        corpus, field: reading.readsTokens ? "none" : options.condition, encoders: options.encoders, progress: progress)
    var problem = try Problem(
        corpus, settings, conditions: conditions, streams: entry.streams, seed: options.seed,
        memoryLimit: options.memoryLimit)
    var read: [TrainedStage] = []
    if reading.readsTokens {
        read = try problem.learnToRead(
            reading, field: options.condition, encoders: options.encoders, progress: progress)
    }
    let plan = try entry.plan(settings, problem.size)
    try checkMemory(plan, problem, options)
    let model = try plan.make(problem.representation, Random(seed: options.seed, stream: RandomStreams.weights))
    let checkpoint = try options.checkpoint.map { (path) throws(LoragenError) in
        Checkpoint(path: path, fingerprint: try fingerprint(problem, settings, options))
    }
    let stages = try model.stages(problem.data)
    let trained = try TrainingLoop(
        stages: stages, checkpoint: checkpoint,
        checkpointSeconds: options.checkpointSeconds > 0 ? options.checkpointSeconds : 30, progress: progress
    ).run()
    model.module.setTraining(false)
    // The report is then measured with the weights that the file will have.
    if plan.halvesWeights { model.module.halve() }
    let index = try trainingIndex(problem)
    let report = try Measurement(problem, model, method: options.method, medianDistance: index.medianDistance)
        .report(training: read + trained)
    try GeneratorFile(
        method: options.method, preset: preset, settings: settings, size: problem.size,
        schema: problem.schema, reading: reading.readsTokens ? reading : nil,
        representation: problem.representation, index: index, report: report.json, seed: options.seed
    ).write(to: path, model: model)
    checkpoint?.remove()
    for warning in report.warnings { Log.warning("\(path): \(warning)") }
}

/// Compact adapters are learnt as the numbers that they are, whatever space a preset has for others.
private func suited(_ settings: Settings, to corpus: Corpus) throws(LoragenError) -> Settings {
    guard settings.values["space"]?.string != SpectrumSpace.name, try corpus.template() != nil else { return settings }
    var changes: JSONObject = ["space": .string(SpectrumSpace.name)]
    if settings.values["normaliser"]?.string == "constant" { changes["normaliser"] = "per-element" }
    return try settings.overridden(by: JSON.object(changes).text())
}

/// Finds out before a long training that its result could not be written.
private func checkWritable(_ path: String) throws(LoragenError) {
    try AtomicFile(path: path).abandon()
}

/// Refuses what passes the caller's limit, or what the process can have: an allocation that fails, or the kernel's answer
/// to one that succeeds, would end the host.
private func checkMemory(
    _ plan: Plan, _ problem: Problem, _ options: TrainingOptions
) throws(LoragenError) {
    // Weights, gradient, two moments; average and best where there will be any. Statistics and, if they are kept, adapters
    // and vectors in single precision. What one step holds. In floating point, so that no size can overflow.
    let copies = 4 + (plan.hasAverage ? 1 : 0) + (problem.validation.count > 0 ? 1 : 0)
    let numbers = Double(problem.corpus.entries.count) * Double(problem.size.values + problem.corpus.layout.valueCount)
    let kept = problem.data.rows.held != nil ? 16 * numbers : 0
    let statistics = 4 * Double(problem.representation.normaliser.count)
    let step = 4 * plan.workspace
    let needed = 4 * Double(copies) * Double(plan.weightCount) + kept + statistics + step
    let what = "\(options.method), preset \"\(options.preset ?? "default")\""
    let advice = "; a smaller preset or smaller settings may fit"
    if options.memoryLimit > 0, needed > Double(options.memoryLimit) {
        throw LoragenError(
            .memory,
            "\(what), needs about \(Memory.mebibytes(needed)) MiB for this corpus; the limit is "
                + "\(options.memoryLimit >> 20) MiB\(advice)")
    }
    // What is kept has been taken by now.
    try Memory.require(needed - kept, for: "training \(what), on this corpus", advice: advice)
}

private func fingerprint(
    _ problem: Problem, _ settings: Settings, _ options: TrainingOptions
) throws(LoragenError) -> String {
    var digest = SHA256()
    digest.update("\(options.method) \(options.seed) \(problem.size)")
    digest.update(try JSON.object(settings.values).text())
    for row in 0..<problem.data.count {
        for block in problem.data.rows.blocks {
            try problem.data.rows.tensor([row], block).withUnsafeBytes { digest.update($0) }
        }
    }
    for tensor in [problem.data.conditions, problem.validation.conditions] {
        tensor.withUnsafeBytes { digest.update($0) }
    }
    problem.validation.meanErrors.withUnsafeBytes { digest.update($0) }
    return digest.finish()
}

private func trainingIndex(_ problem: Problem) throws(LoragenError) -> TrainingIndex {
    var conditions: [Float] = []
    var sketches: [[Float]] = []
    for task in problem.tasks.indices {
        let row = problem.groups.firstIndex(of: Int32(task)) ?? 0
        conditions += problem.data.conditions.slice(axis: 0, row..<(row + 1)).values
        var sketch = Sketch()
        for block in problem.data.rows.blocks {
            try problem.data.rows.tensor([row], block).withUnsafeBufferPointer { sketch.add($0) }
        }
        sketches.append(sketch.buckets)
    }
    var nearest: [Double] = []
    for (i, sketch) in sketches.enumerated() {
        var least = Double.infinity
        for (j, other) in sketches.enumerated() where j != i {
            least = min(least, other.withUnsafeBufferPointer { Sketch.distance($0, sketch) })
        }
        if least.isFinite { nearest.append(least) }
    }
    let count = problem.tasks.count
    return TrainingIndex(
        tasks: problem.tasks, conditions: Tensor(conditions, shape: [count, problem.size.conditions]),
        sketches: Tensor(sketches.flatMap { $0 }, shape: [count, Sketch.width]),
        medianDistance: median(nearest) ?? 0, norms: try norms(problem))
}

/// Of the training adapters, a module in memory at a time.
private func norms(_ problem: Problem) throws(LoragenError) -> ClosedRange<Double>? {
    let adapters = CorpusModules(problem.corpus, problem.corpus.indices(of: .train), keeps: false)
    var range: ClosedRange<Double>?
    for row in 0..<adapters.count {
        var squares = 0.0
        for module in adapters.layout.modules.indices {
            squares += try adapters.module(module, of: row).squaredNorms().reduce(0, +)
        }
        let norm = squares.squareRoot()
        guard norm.isFinite else { return nil }
        range = min(norm, range?.lowerBound ?? norm)...max(norm, range?.upperBound ?? norm)
    }
    return range
}
