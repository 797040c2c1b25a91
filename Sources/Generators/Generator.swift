import Adapters
import Conditions
import Tensor

/// What a host asks for.
public struct GenerationRequest: Sendable {
    public var condition: [Float]?
    /// One character a bit; instead of `condition`.
    public var bits: String?
    public var seed: UInt64 = 0
    public var samples = 1
    /// nil: the generator's own, like the two below.
    public var steps: Int?
    public var guidance: Float?
    public var sampler: String?

    public init() {}
}

/// A trained generator. Safe to use from many threads at once: nothing in it changes after it was opened.
public final class Generator: @unchecked Sendable {
    private let file: GeneratorFile
    private let model: any Method

    public var method: String { file.method }
    public var preset: String { file.preset }
    public var layout: Layout { file.representation.layout }
    public var conditionKind: ConditionKind { file.conditionKind }
    public var conditionLength: Int { file.size.conditions }
    public var sampler: String? { model.sampling.map { type(of: $0.sampler).name } }
    public var steps: Int { model.sampling?.steps ?? 0 }
    public var guidance: Float { model.sampling.map { Float($0.guidance) } ?? 0 }
    public var hash: String { file.hash }
    /// What was measured on held-out tasks, as JSON.
    public let report: String

    /// Maps a generator file. Throws `.io`, `.format`, `.version`.
    public init(path: String) throws(LoragenError) {
        (file, model) = try GeneratorFile.read(path: path)
        report = try file.report.text()
    }

    /// Draws adapters. Sample `i` depends on the request's seed and on `i` alone.
    public func generate(
        _ request: GenerationRequest, progress: ProgressHandler? = nil
    ) throws(LoragenError) -> [Adapter] {
        guard (1...1_000_000).contains(request.samples) else {
            throw LoragenError(.invalidArgument, "samples is \(request.samples); expected 1 to 1000000")
        }
        let condition = try checkedCondition(request)
        let sampling = try checkedSampling(request)
        let standardised = file.conditionScale([condition])
        let group = try group(of: standardised)
        var reporter = ProgressReporter(progress)
        let start = ProgressReporter.now
        var adapters: [Adapter] = []
        for sample in 0..<request.samples {
            let vector = try model.vector(
                condition: standardised,
                random: Random(seed: request.seed, stream: Streams.sampling + UInt64(sample)), sampling: sampling
            ) { step, steps throws(LoragenError) in
                let done = Double(sample * steps + step)
                let rate = done / max(1e-9, ProgressReporter.now - start)
                let cancelled = reporter.report {
                    Progress(
                        stage: "sampling", step: sample * steps + step, steps: request.samples * steps,
                        stepsPerSecond: done > 0 ? rate : .nan,
                        secondsLeft: done > 0 ? (Double(request.samples * steps) - done) / rate : .nan)
                }
                if cancelled { throw LoragenError(.cancelled, "generation was cancelled") }
            }
            guard vector.isFinite else {
                throw LoragenError(
                    .nonFinite,
                    "\(method) gave numbers that are not finite; the condition may be far from the trained ones")
            }
            let origin = try origin(vector, condition, request, sample, sampling)
            adapters.append(
                try file.representation.decode(vector, group: group, metadata: ["loragen.origin": origin]))
        }
        return adapters
    }

    // MARK: Checks

    private func checkedCondition(_ request: GenerationRequest) throws(LoragenError) -> [Float] {
        let length = file.size.conditions
        if request.condition != nil, request.bits != nil {
            throw LoragenError(.invalidArgument, "the request has both a condition and bits; give one")
        }
        if let bits = request.bits {
            guard file.conditionKind == .bits else {
                throw LoragenError(.mismatch, "this generator takes \(expectation), not bits")
            }
            guard bits.utf8.allSatisfy({ $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }) else {
                throw LoragenError(.invalidArgument, "bits are \"\(bits.prefix(64))\"; expected only 0 and 1")
            }
            guard bits.utf8.count == length else {
                throw LoragenError(.mismatch, "\(bits.utf8.count) bits; this generator takes \(expectation)")
            }
            return bits.utf8.map { $0 == UInt8(ascii: "1") ? 1 : 0 }
        }
        guard let condition = request.condition else {
            if file.conditionKind == .none { return [] }
            throw LoragenError(.invalidArgument, "the request has no condition; this generator takes \(expectation)")
        }
        guard condition.count == length else {
            throw LoragenError(
                .mismatch, "a condition of \(condition.count) numbers; this generator takes \(expectation)")
        }
        for (i, value) in condition.enumerated() where !value.isFinite {
            throw LoragenError(.nonFinite, "element \(i) of the condition is \(value); expected a finite number")
        }
        return condition
    }

    private var expectation: String {
        switch file.conditionKind {
        case .none: "no condition"
        case .vector: "a vector of \(file.size.conditions) numbers"
        case .bits: "\(file.size.conditions) bits"
        }
    }

    private func checkedSampling(_ request: GenerationRequest) throws(LoragenError) -> Sampling? {
        guard var sampling = model.sampling else {
            if request.sampler != nil || request.steps != nil {
                throw LoragenError(
                    .invalidArgument, "the method \"\(method)\" does not sample; leave sampler and steps out")
            }
            return nil
        }
        if let name = request.sampler {
            guard let sampler = Generators.sampler(named: name) else {
                let names = samplerNames.map { "\"\($0)\"" }.joined(separator: ", ")
                throw LoragenError(.invalidArgument, "there is no sampler \"\(name)\"; there are \(names)")
            }
            if type(of: sampling.sampler).name != name { sampling.sampler = sampler }
        }
        if let steps = request.steps {
            guard (1...100_000).contains(steps) else {
                throw LoragenError(.invalidArgument, "steps is \(steps); expected 1 to 100000")
            }
            sampling.steps = steps
        }
        if let guidance = request.guidance {
            guard guidance.isFinite, (0...100).contains(guidance) else {
                throw LoragenError(.invalidArgument, "guidance is \(guidance); expected 0 to 100")
            }
            sampling.guidance = Double(guidance)
        }
        return sampling
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

    // MARK: Origin

    private func origin(
        _ vector: Tensor<Float>, _ condition: [Float], _ request: GenerationRequest, _ sample: Int,
        _ sampling: Sampling?
    ) throws(LoragenError) -> String {
        var sketch = Sketch()
        vector.withUnsafeBufferPointer { sketch.add($0) }
        let distances = file.index.sketches.withUnsafeBufferPointer { all in
            file.index.tasks.indices.map { i in
                Sketch.distance(
                    UnsafeBufferPointer(rebasing: all[(i * Sketch.width)..<((i + 1) * Sketch.width)]), sketch.buckets)
            }
        }
        let nearest = distances.indices.sorted { distances[$0] < distances[$1] }.prefix(3)
        var digest = SHA256()
        condition.withUnsafeBytes { digest.update($0) }
        var object: JSONObject = [
            "library": "loragen", "generator": .string(file.hash), "method": .string(method), "preset": .string(preset),
            "seed": .string(String(request.seed)), "sample": JSON(sample),
            "condition": .string(request.bits ?? digest.finish()),
            "nearest": .array(
                nearest.map { .object(["task": .string(file.index.tasks[$0]), "distance": .number(distances[$0])]) }),
            "medianTrainingDistance": .number(file.index.medianDistance),
        ]
        if let sampling {
            object["sampler"] = .string(type(of: sampling.sampler).name)
            object["steps"] = JSON(sampling.steps)
            object["guidance"] = .number(sampling.guidance)
        }
        return try JSON.object(object).text()
    }
}
