import Adapters
import Conditions
import Files
import Formats
import Hosts
import Learning
import Reports
import Tensor

/// What a host asks for.
public struct GenerationRequest: Sendable {
    public var condition: Condition?
    public var seed: UInt64 = 0
    public var samples = 1
    /// nil: the generator's own, like the two below.
    public var steps: Int?
    public var guidance: Float?
    public var sampler: String?
    /// The layout of the adapter; nil: the corpus's own.
    public var target: Layout?

    public init() {}
}

/// A trained generator. Safe to use from many threads at once: nothing in it changes after it was opened.
public final class Generator: @unchecked Sendable {
    private let path: String
    let file: GeneratorFile
    let model: any Method
    let usual = UsualDistance()

    public var method: String { file.method }
    public var preset: String { file.preset }
    public var layout: Layout { file.representation.layout }
    /// Which conditions it takes.
    public var schema: Schema { file.schema }
    public var sampler: String? { model.sampling.map { type(of: $0.sampler).name } }
    /// How often the network is evaluated for a sample; 0 for methods that do not sample.
    public var steps: Int { model.sampling.map { model.evaluations($0) } ?? 0 }
    public var guidance: Float { model.sampling.map { Float($0.guidance) } ?? 0 }
    public var hash: String { file.hash }
    /// What was measured on held-out tasks, as JSON.
    public let report: String
    /// The same for people.
    public func reportText(isBrief: Bool) -> String { Report(json: file.report).text(isBrief: isBrief) }
    /// The file that it was opened from.
    public let sources: Sources

    /// Maps a generator file. `encoders` are for conditions that are texts or pictures; without them it takes their vectors.
    /// Throws `.io`, `.format`, `.version`, `.mismatch` for other encoders than it was trained with.
    public init(path: String, encoders: ConditionEncoders = ConditionEncoders()) throws(LoragenError) {
        sources = Sources(path)
        self.path = path
        var file: GeneratorFile
        (file, model) = try GeneratorFile.read(path: path)
        do throws(LoragenError) { try file.schema.take(encoders) } catch {
            throw LoragenError(error.code, "\(path): \(error.message)")
        }
        self.file = file
        report = try file.report.text()
    }

    /// Reads all of the file and compares it with its hash, which opening does not. Throws `.format`.
    public func checkHash() throws(LoragenError) {
        do throws(LoragenError) { try file.checkHash(model) } catch {
            throw LoragenError(error.code, "\(path): \(error.message)")
        }
    }

    /// Draws adapters. Sample `i` depends on the request's seed and on `i` alone.
    public func generate(
        _ request: GenerationRequest, progress: ProgressHandler? = nil
    ) throws(LoragenError) -> [Adapter] {
        guard (1...1_000_000).contains(request.samples) else {
            throw LoragenError(.invalidArgument, "samples is \(request.samples); expected 1 to 1000000")
        }
        let draw = try Request(request, self)
        try requireMemory(samples: request.samples, draw)
        let watch = Watch(progress, samples: request.samples)
        var adapters: [Adapter] = []
        for sample in 0..<request.samples { adapters.append(try draws(sample, sample, request, draw, watch)) }
        return adapters
    }

    /// Which directions its adapters are numbers for, when it makes compact ones; its own adapters are then in coordinates.
    public var compactTemplate: CompactAdapter? { (file.representation.space as? SpectrumSpace)?.template }

    /// Draws compact adapters. Throws `.unsupported` when the generator makes others.
    public func generateCompact(
        _ request: GenerationRequest, progress: ProgressHandler? = nil
    ) throws(LoragenError) -> [CompactAdapter] {
        let space = try spectrum()
        var made: [CompactAdapter] = []
        for adapter in try generate(request, progress: progress) { made.append(try space.compact(adapter)) }
        return made
    }

    /// One sample of a request, whatever its number of samples.
    public func generateCompact(
        _ request: GenerationRequest, sample: Int, progress: ProgressHandler? = nil
    ) throws(LoragenError) -> CompactAdapter {
        guard (0..<1_000_000).contains(sample) else {
            throw LoragenError(.invalidArgument, "sample is \(sample); expected 0 to 999999")
        }
        return try spectrum().compact(try generate(request, sample, progress))
    }

    private func spectrum() throws(LoragenError) -> SpectrumSpace {
        guard let space = file.representation.space as? SpectrumSpace else {
            throw LoragenError(
                .unsupported, "\(path): the generator makes ordinary adapters; it was not trained on compact ones")
        }
        return space
    }

    /// One sample of a request, whatever its number of samples.
    private func generate(
        _ request: GenerationRequest, _ sample: Int, _ progress: ProgressHandler?
    ) throws(LoragenError) -> Adapter {
        let draw = try Request(request, self)
        try requireMemory(samples: 1, draw)
        return try draws(sample, 0, request, draw, Watch(progress, samples: 1))
    }

    /// Values, for each tensor the views that a host is given, and what making one of the samples holds.
    private func requireMemory(samples: Int, _ draw: Request) throws(LoragenError) {
        let each = Double(4 * layout.valueCount) + 512 * Double(layout.tensors.count)
        try Memory.require(
            Double(samples) * each + Double(model.memory(draw.sampling)),
            for: "\(samples) samples of \(layout.valueCount) numbers")
    }

    /// Draws a sample, which is the `place`th that is reported.
    private func draws(
        _ sample: Int, _ place: Int, _ request: GenerationRequest, _ draw: Request, _ watch: Watch
    ) throws(LoragenError) -> Adapter {
        let modules = try self.modules(sample, place, draw, watch, memory: 0)
        var made = Made()
        let adapter = try Adapter(layout: draw.target) { (target) throws(LoragenError) in
            for index in draw.target.modules.indices {
                let module = try modules.next()
                made.add(module, modules)
                let values = UnsafeMutableBufferPointer(rebasing: target[draw.target.values(of: index)])
                _ = values.update(fromContentsOf: module.values)
                withExtendedLifetime(module) {}
            }
        } describe: { () throws(LoragenError) in
            ["loragen.origin": try origin(made, draw, request, sample)]
        }
        warn(of: made)
        return adapter
    }

    /// The modules of a sample, which is the `place`th that is reported.
    private func modules(
        _ sample: Int, _ place: Int, _ draw: Request, _ watch: Watch, memory: Int
    ) throws(LoragenError) -> any ModuleStream {
        var one = Draw(random: draw.random(sample), sampling: draw.sampling)
        (one.group, one.memory) = (draw.group, memory)
        one.progress = { (step, steps) throws(LoragenError) in try watch.report(place, step, steps) }
        return try model.modules(draw.features, target: draw.target, one)
    }

    /// Draws one sample of a request and writes it while it is made: the bytes that `generate` and `Adapter.write` give.
    ///
    /// - Parameter memoryLimit: bytes that the call may hold beside the mapped file; 0 for no limit. Throws `.memory` when
    ///   it cannot do with them.
    public func write(
        _ request: GenerationRequest, sample: Int = 0, to path: String, format: AdapterFormat,
        options: WriteOptions = WriteOptions(), memoryLimit: UInt64 = 0, progress: ProgressHandler? = nil
    ) throws(LoragenError) {
        guard (0..<1_000_000).contains(sample) else {
            throw LoragenError(.invalidArgument, "sample is \(sample); expected 0 to 999999")
        }
        var options = options
        options.sources = sources
        // Without a limit there is no need to refuse what has to be in memory.
        if memoryLimit == 0, !AdapterStream.takes(layout, format, options: options) {
            return try generate(request, sample, progress).write(to: path, format: format, options: options)
        }
        let draw = try Request(request, self)
        let memory = try streamMemory(draw.sampling, limit: memoryLimit)
        let watch = Watch(progress, samples: 1)
        let stream = try AdapterStream(layout: layout, options: options)
        var made = Made()
        var modules: (any ModuleStream)?
        try stream.write(to: path, format: format) { () throws(LoragenError) in
            ["loragen.origin": try origin(made, draw, request, sample)]
        } modules: { () throws(LoragenError) in
            // The file asks again and again; the first time the method begins.
            if modules == nil { modules = try self.modules(sample, 0, draw, watch, memory: memory) }
            guard let stream = modules else { throw LoragenError(.internalError, "there is no stream of modules") }
            let module = try stream.next()
            made.add(module, stream)
            return module
        }
        warn(of: made)
    }

    /// What is known of a sample once it is made.
    struct Made {
        var sketch = Sketch()
        /// `Σ‖scale · B · A‖²` over the modules.
        var squares = 0.0

        mutating func add(_ module: Adapter, _ stream: any ModuleStream) {
            squares += module.squaredNorms().reduce(0, +)
            sketch = stream.sketch
        }
    }

    /// What is left of a limit for the method, 0 without one: the file has a buffer.
    private func streamMemory(_ sampling: Sampling?, limit: UInt64) throws(LoragenError) -> Int {
        let writing = 1 << 20
        let needed = writing + model.streamMemory(sampling)
        try Memory.require(Double(needed), for: "an adapter of \(layout.valueCount) numbers")
        if limit == 0 { return 0 }
        guard UInt64(needed) <= limit else {
            throw LoragenError(
                .memory,
                "\(method) needs \((needed >> 20) + 1) MiB to make an adapter of \(layout.valueCount) numbers; the "
                    + "limit is \(limit >> 20) MiB")
        }
        return Int(clamping: limit) - writing
    }

    /// A request that was checked.
    struct Request {
        /// As it was asked for, and standardised.
        let asked: [Float]
        let features: Tensor<Float>
        let target: Layout
        let sampling: Sampling?
        let group: Int32
        let seed: UInt64
        let distance: ConditionDistance?

        init(_ request: GenerationRequest, _ generator: Generator) throws(LoragenError) {
            asked = try generator.schema.numbers(request.condition ?? Condition())
            sampling = try generator.checkedSampling(request)
            features = generator.schema.features([asked])
            guard features.isFinite else {
                throw LoragenError(
                    .nonFinite, "the condition is too far from the trained ones: standardised, it is not finite")
            }
            target = request.target ?? generator.layout
            if request.target != nil { try generator.model.check(target: target) }
            group = try generator.group(of: features)
            seed = request.seed
            distance = generator.distance(of: features)
            generator.warn(of: asked, distance)
        }

        func random(_ sample: Int) -> Random { Random(seed: seed, stream: RandomStreams.sampling + UInt64(sample)) }
    }

    /// Tells the caller of the steps of several samples.
    private final class Watch {
        private var reporter: ProgressReporter
        private let samples: Int
        private let start = ProgressReporter.now

        init(_ progress: ProgressHandler?, samples: Int) {
            reporter = ProgressReporter(progress)
            self.samples = samples
        }

        func report(_ sample: Int, _ step: Int, _ steps: Int) throws(LoragenError) {
            let done = Double(sample * steps + step)
            let rate = done / max(1e-9, ProgressReporter.now - start)
            let cancelled = reporter.report {
                Progress(
                    stage: "sampling", step: sample * steps + step, steps: samples * steps,
                    stepsPerSecond: done > 0 ? rate : .nan,
                    secondsLeft: done > 0 ? (Double(samples * steps) - done) / rate : .nan)
            }
            if cancelled { throw LoragenError(.cancelled, "generation was cancelled") }
        }
    }

    // MARK: Checks

    private func checkedSampling(_ request: GenerationRequest) throws(LoragenError) -> Sampling? {
        guard var sampling = model.sampling else {
            if request.sampler != nil || request.steps != nil {
                throw LoragenError(
                    .invalidArgument, "the method \"\(method)\" does not sample; leave sampler and steps out")
            }
            warnOfGuidance(request, "the method \"\(method)\" does not sample")
            return nil
        }
        if let name = request.sampler {
            guard let sampler = Learning.sampler(named: name) else {
                let names = samplerNames.map { "\"\($0)\"" }.joined(separator: ", ")
                throw LoragenError(.invalidArgument, "there is no sampler \"\(name)\"; there are \(names)")
            }
            if type(of: sampling.sampler).name != name { sampling.sampler = sampler }
        }
        if let steps = request.steps {
            let limit = model.stepLimit
            guard (1...limit).contains(steps) else {
                throw LoragenError(
                    .invalidArgument,
                    "steps is \(steps); expected 1 to \(limit), the steps of this generator's noise schedule")
            }
            guard !sampling.sampler.takesAllSteps || steps == limit else {
                throw LoragenError(
                    .invalidArgument,
                    "steps is \(steps), but \"\(DDPM.name)\" takes all \(limit) steps of the noise schedule; leave steps out, "
                        + "or choose \"\(DDIM.name)\" or \"\(DPMSolver.name)\"")
            }
            sampling.steps = steps
        }
        if let guidance = request.guidance {
            guard guidance.isFinite, (0...100).contains(guidance) else {
                throw LoragenError(.invalidArgument, "guidance is \(guidance); expected 0 to 100")
            }
            sampling.guidance = Double(guidance)
        }
        if schema.width == 0 {
            warnOfGuidance(request, "this generator takes no condition")
            sampling.guidance = 1
        }
        return sampling
    }

    private func warnOfGuidance(_ request: GenerationRequest, _ reason: String) {
        guard let guidance = request.guidance, guidance != 1 else { return }
        Log.warning("guidance is \(guidance), but \(reason), so that it has no effect")
    }

    /// The training task whose statistics the inverse needs; 0 unless they are per task.
    private func group(of condition: Tensor<Float>) throws(LoragenError) -> Int32 {
        guard file.representation.normaliser.kind == .perTask else { return 0 }
        let distances = (file.index.conditions - condition).square().sum(axes: [1]).values
        guard let place = distances.firstIndex(where: { $0 < 1e-6 }) else {
            throw LoragenError(
                .unsupported,
                "this generator was trained with per-task statistics, so it can only be asked for its training tasks")
        }
        return Int32(place)
    }
}
