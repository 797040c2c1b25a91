import Adapters
import Files
import Glibc
import Learning
import Methods
import Tensor

/// Measures a trained generator on the adapters that were held out, and trivial methods beside it.
public struct Measurement {
    private let problem: Problem
    private let model: any Method
    private let method: String
    private let medianDistance: Double

    private static let seeds: [UInt64] = [0, 1, 2]

    /// - Parameters:
    ///   - method: the name of the model's method.
    ///   - medianDistance: of training adapters to their nearest other one.
    public init(_ problem: Problem, _ model: any Method, method: String, medianDistance: Double) {
        (self.problem, self.model, self.method, self.medianDistance) = (problem, model, method, medianDistance)
    }

    public func report(training: [TrainedStage]) throws(LoragenError) -> Report {
        var report = Report()
        report.training = training
        report.counts = Report.Counts(
            trainingAdapters: problem.adapterCount, trainingTasks: problem.tasks.count,
            validationAdapters: problem.validation.count, testAdapters: problem.test.count,
            numbersPerAdapter: problem.corpus.layout.valueCount)
        report.verdict = "nothing was held out, so nothing is known about tasks that were not trained on"
        if problem.representation.normaliser.kind == .perTask {
            report.verdict = "per-task statistics: only training tasks can be generated, so there is no held-out skill"
            return report
        }
        let baselines = try baselines()
        func part(_ name: String, _ heldOut: HeldOut) throws(LoragenError) -> Report.Measured? {
            if heldOut.count == 0 { return nil }
            guard let meanError = heldOut.meanError else {
                report.verdict =
                    "the \(name) adapters are the mean training adapter, so nothing can be measured on them"
                return nil
            }
            let found = try measure(heldOut, meanError, baselines)
            report.verdict = "on the \(name) tasks: \(found.verdict)"
            report.warnings += found.warnings.map { "on the \(name) tasks \($0)" }
            return found.measured
        }
        report.validation = try part("validation", problem.validation)
        report.test = try part("test", problem.test)
        return report
    }

    private typealias Prediction = (Int) throws(LoragenError) -> any ModuleStream

    /// Baselines fitted in the generator's own representation.
    private func baselines() throws(LoragenError) -> [(name: String, method: any Method)] {
        var result: [(String, any Method)] = []
        // Their fits need all vectors at once.
        guard problem.data.rows.held != nil, problem.size.conditions > 0 else { return result }
        for name in ["ridge", "ridge-pairs", "kernel-ridge"] {
            // Time grows with the cube of the matrices that they solve.
            let order = name == "kernel-ridge" ? nil : name == "ridge" ? 1 : 2
            let side = order.map { Ridge.rowCount(problem.size, order: $0) } ?? problem.size.examples
            if side > 4096 { continue }
            let entry = try methods(name)
            let method = try entry.plan(try entry.settings(preset: "default"), problem.size).make(
                problem.representation, .none)
            _ = try method.stages(problem.data)
            result.append((name, method))
        }
        return result
    }

    private func measure(
        _ heldOut: HeldOut, _ meanError: Double, _ baselines: [(name: String, method: any Method)]
    ) throws(LoragenError) -> (measured: Report.Measured, verdict: String, warnings: [String]) {
        let own = try own(heldOut, meanError)
        var comparison = Comparison(own: method, skill: own.skill)
        func compare(_ name: String, counts: Bool = true, _ predicted: Prediction) throws(LoragenError) {
            comparison.add(name, try heldOut.errors(predicted), meanError, counts: counts)
        }
        let (rows, conditions) = (problem.data.rows, heldOut.conditions)
        try compare("mean") { _ in adapter(CombinedRows(meanOf: 0..<rows.count, rows)) }
        if problem.size.conditions > 0 {
            try compare("nearest") { i in
                let near = nearestConditions(problem.data.conditions, conditions.slice(axis: 0, i..<(i + 1)))
                return adapter(CombinedRows(meanOf: near, rows))
            }
        }
        for (name, method) in baselines { try compare(name, try method.batch(conditions, target: target, seed: 0)) }
        // The nearest training adapter of each generated one, moved as far as the generated one is, in a random direction:
        // what a generator that copies would look like by its distances.
        let distance = median(own.nearest.map(\.distance)) ?? 0
        try compare("noisy-copy", counts: false) { i in
            adapter(
                CombinedRows(
                    rows, [(own.nearest[i].row, 1)], deviation: distance / Double(rows.width).squareRoot(),
                    random: Random(seed: UInt64(i), stream: RandomStreams.sampling)))
        }
        try compare("pca-gaussian", counts: false) { i in adapter(Self.gaussian(rows, i)) }
        var measured = Report.Measured()
        measured.tasks = Set(heldOut.tasks).count
        measured.skill = comparison.skills
        measured.skillDeviationOverSeeds = own.deviation
        measured.steeringMargin = try margin(heldOut, own.errors, meanError)
        measured.distance = (distance, medianDistance)
        measured.norms = own.norms.ofModules
        measured.gain = comparison.gain(over: own.errors, meanError)
        return (measured, verdict(own, measured.gain, comparison.best?.skill), warnings(own))
    }

    /// What the generator itself does.
    private struct Own {
        var skill = 0.0
        var deviation = 0.0
        /// Of each adapter, the mean over seeds.
        var errors: [Double]
        /// The nearest training adapter of each one of the first seed.
        var nearest: [(row: Int, distance: Double)]
        var norms: Norms
    }

    private func own(_ heldOut: HeldOut, _ meanError: Double) throws(LoragenError) -> Own {
        var skills: [Double] = []
        var errors = [Double](repeating: 0, count: heldOut.count)
        var measured: [MeasuredModules] = []
        var norms = Norms(target)
        for seed in Self.seeds {
            let predicted = try model.batch(heldOut.conditions, target: target, seed: seed)
            let isFirst = seed == Self.seeds[0]
            let found = try heldOut.errors { (i) throws(LoragenError) in
                guard isFirst else { return try predicted(i) }
                measured.append(MeasuredModules(try predicted(i), problem.data.rows, problem.representation))
                return measured[measured.count - 1]
            } visit: { module, made, real in
                if isFirst { norms.add(module, made, real) }
            }
            skills.append(1 - found.reduce(0, +) / meanError)
            for (i, error) in found.enumerated() { errors[i] += error / Double(Self.seeds.count) }
        }
        return Own(
            skill: skills.reduce(0, +) / Double(skills.count), deviation: Self.deviation(skills), errors: errors,
            nearest: measured.map { ($0.nearest.row, $0.nearest.distance) }, norms: norms)
    }

    /// What each task loses when it is asked for with the next task's condition, in units of the mean adapter's error.
    private func margin(
        _ heldOut: HeldOut, _ errors: [Double], _ meanError: Double
    ) throws(LoragenError) -> Double? {
        let n = heldOut.count
        guard problem.size.conditions > 0, n > 1 else { return nil }
        let wrong = try model.batch(
            heldOut.conditions.gather((0..<n).map { Int32(($0 + 1) % n) }), target: target, seed: 0)
        return (try heldOut.errors(wrong).reduce(0, +) - errors.reduce(0, +)) / meanError
    }

    /// Skills by name, and the best of what the generator has to beat.
    private struct Comparison {
        let own: String
        var skills: [(name: String, value: Double)]
        var best: (name: String, skill: Double, errors: [Double])?

        init(own: String, skill: Double) {
            self.own = own
            skills = [("generator", skill)]
        }

        mutating func add(_ name: String, _ errors: [Double], _ meanError: Double, counts: Bool) {
            let skill = 1 - errors.reduce(0, +) / meanError
            skills.append((name, skill))
            // A baseline is not held against itself.
            if counts, name != own, best.map({ skill > $0.skill }) ?? true { best = (name, skill, errors) }
        }

        /// A difference that the choice of tasks could have made is none: the 95 % interval of the paired differences.
        func gain(over errors: [Double], _ meanError: Double) -> Report.Gain? {
            guard let best else { return nil }
            let gains = zip(best.errors, errors).map { $0 - $1 }
            return Report.Gain(
                baseline: best.name, skill: skills[0].value - best.skill,
                interval: 1.96 * Measurement.deviation(gains) * Double(gains.count).squareRoot() / meanError)
        }
    }

    private func verdict(_ own: Own, _ gain: Report.Gain?, _ best: Double?) -> String {
        guard let gain, let best else { return "there is no baseline to compare with" }
        let isBaseline = methods.find(method)?.isBaseline ?? false
        let better = isBaseline ? "a baseline, better than the others: " : "better than every baseline: "
        let worse = isBaseline ? "a baseline, not better than the best other: " : "not better: "
        return (own.errors.count > 1 && gain.skill > max(gain.interval, 1e-6) ? better : worse)
            + "skill \(decimal(own.skill)) against \(decimal(best)) of the best baseline, \(gain.baseline); difference "
            + "\(decimal(gain.skill)) ± \(decimal(gain.interval)) over \(own.errors.count) adapters"
    }

    /// What is wrong with a generator whatever its baselines do.
    private func warnings(_ own: Own) -> [String] {
        var warnings: [String] = []
        if own.skill < -0.005 {
            warnings.append(
                "its skill is \(decimal(own.skill)), worse than always giving the mean adapter: see with `loragen doctor` "
                    + "whether adapters and conditions belong together, or train on more tasks")
        }
        let ratio = own.norms.ratio
        if ratio > 1.5 || ratio < 1 / 1.5 {
            warnings.append(
                "its adapters have \(decimal(ratio)) times the norm of the real ones\(own.norms.worst): hosts would apply "
                    + "updates that are too \(ratio > 1 ? "strong" : "weak")")
        }
        return warnings
    }

    private var target: Layout { problem.representation.layout }

    private func adapter(_ vector: any VectorStream) -> any ModuleStream {
        VectorModules(vector, problem.representation, group: 0)
    }

    /// A sample of the Gaussian with the training vectors' mean and covariance, whatever the condition:
    /// `mean + Σ g_n (x_n − mean) / √(N − 1)`.
    private static func gaussian(_ rows: any VectorRows, _ index: Int) -> CombinedRows {
        let n = rows.count
        var random = Random(seed: UInt64(index), stream: RandomStreams.sampling + 1)
        let drawn: Tensor<Double> = random.normal([n])
        let weights = drawn.values.map { $0 / Double(max(1, n - 1)).squareRoot() }
        let rest = (1 - weights.reduce(0, +)) / Double(n)
        return CombinedRows(rows, weights.enumerated().map { ($0, $1 + rest) })
    }

    fileprivate static func deviation(_ values: [Double]) -> Double {
        let mean = values.reduce(0, +) / Double(values.count)
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))).squareRoot()
    }
}

/// ‖ΔW‖ of generated adapters over that of the held-out ones, for each module.
private struct Norms {
    let layout: Layout
    var made: [Double]
    var real: [Double]

    init(_ layout: Layout) {
        self.layout = layout
        made = [Double](repeating: 0, count: layout.modules.count)
        real = made
    }

    mutating func add(_ module: Int, _ generated: Adapter, _ heldOut: Adapter) {
        made[module] += generated.squaredNorms()[0]
        real[module] += heldOut.squaredNorms()[0]
    }

    /// Over all modules.
    var ratio: Double {
        let total = real.reduce(0, +)
        return total > 0 ? (made.reduce(0, +) / total).squareRoot() : 1
    }

    /// The module that is furthest off, for a message; empty when there is one only.
    var worst: String {
        let ratios = real.indices.filter { real[$0] > 0 && made[$0] > 0 }.map { ($0, made[$0] / real[$0]) }
        guard made.count > 1, let found = ratios.max(by: { abs(log($0.1)) < abs(log($1.1)) }) else { return "" }
        return ", \(layout.modules[found.0].name) \(decimal(found.1.squareRoot()))"
    }

    var ofModules: [(module: String, generatedOverReal: Double)] {
        layout.modules.indices.map { m in
            (layout.modules[m].name, real[m] > 0 ? (made[m] / real[m]).squareRoot() : 1)
        }
    }
}
