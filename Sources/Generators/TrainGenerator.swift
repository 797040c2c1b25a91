import Adapters
import NN
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

    public init() {}
}

/// Trains a generator on the training tasks of a corpus, chooses by its validation tasks, measures the report on its test
/// tasks, and writes the generator to `path`, whole or not at all.
public func trainGenerator(
    corpus: Corpus, path: String, options: TrainingOptions, progress: ProgressHandler? = nil
) throws(LoragenError) {
    let preset = options.preset ?? "default"
    var settings = try MethodRegistry.settings(method: options.method, preset: preset)
    if let text = options.settings { settings = try settings.overridden(by: text) }
    let entry = try MethodRegistry.entry(options.method)
    try checkWritable(path)
    if let checkpoint = options.checkpoint { try checkWritable(checkpoint) }
    guard options.checkpointSeconds.isFinite, options.checkpointSeconds >= 0 else {
        throw LoragenError(.invalidArgument, "checkpoint_seconds is \(options.checkpointSeconds); expected 0 or more")
    }
    let problem = try Problem(corpus, settings, seed: options.seed, memoryLimit: options.memoryLimit)
    let weights = try entry.weightCount(settings, problem.size)
    try checkMemory(weights, problem, options)
    let model = try entry.make(settings, problem.size, Random(seed: options.seed, stream: Streams.weights))
    let checkpoint = try options.checkpoint.map { (path) throws(LoragenError) in
        Checkpoint(path: path, fingerprint: try fingerprint(problem, settings, options))
    }
    let stages = try model.stages(problem.data)
    try TrainingLoop(
        stages: stages, checkpoint: checkpoint,
        checkpointSeconds: options.checkpointSeconds > 0 ? options.checkpointSeconds : 30, progress: progress
    ).run()
    model.module.setTraining(false)
    let index = try trainingIndex(problem)
    let report = try Report(problem, model, seed: options.seed, medianDistance: index.medianDistance).json
    try GeneratorFile(
        method: options.method, preset: preset, settings: settings, size: problem.size,
        conditionKind: problem.conditionKind, conditionScale: problem.conditionScale,
        representation: problem.representation, index: index, report: report, seed: options.seed
    ).write(to: path, model: model)
    checkpoint?.remove()
}

/// Finds out before a long training that its result could not be written.
private func checkWritable(_ path: String) throws(LoragenError) {
    try AtomicFile(path: path).abandon()
}

private func checkMemory(
    _ weights: Int, _ problem: Problem, _ options: TrainingOptions
) throws(LoragenError) {
    guard options.memoryLimit > 0 else { return }
    let vectors = problem.data.vectors.count
    // Weights, gradient, two moments, average and best; vectors in single and, for the fits, double precision.
    let needed = 24 * weights + 16 * vectors + 16 * problem.corpus.entries.count * problem.corpus.layout.valueCount
    guard UInt64(needed) <= options.memoryLimit else {
        throw LoragenError(
            .memory,
            "\(options.method), preset \"\(options.preset ?? "default")\", needs about \(needed >> 20) MiB for this corpus; the limit is "
                + "\(options.memoryLimit >> 20) MiB; a smaller preset or smaller settings may fit")
    }
}

private func fingerprint(
    _ problem: Problem, _ settings: Settings, _ options: TrainingOptions
) throws(LoragenError) -> String {
    var digest = SHA256()
    digest.update("\(options.method) \(options.seed) \(problem.size)")
    digest.update(try JSON.object(settings.values).text())
    for tensor in [problem.data.vectors, problem.data.conditions, problem.validation.conditions] {
        tensor.withUnsafeBytes { digest.update($0) }
    }
    return digest.finish()
}

private func trainingIndex(_ problem: Problem) throws(LoragenError) -> TrainingIndex {
    var conditions: [Float] = []
    var sketches: [[Float]] = []
    for task in problem.tasks.indices {
        let row = problem.groups.firstIndex(of: Int32(task)) ?? 0
        conditions += problem.data.conditions.slice(axis: 0, row..<(row + 1)).values
        sketches.append(
            problem.data.vectors.slice(axis: 0, row..<(row + 1)).withUnsafeBufferPointer { Sketch.make($0) })
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
        medianDistance: median(nearest) ?? 0)
}

/// The middle value, nil for none.
func median(_ values: [Double]) -> Double? {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return nil }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}
