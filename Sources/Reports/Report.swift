import Adapters
import Files
import Glibc
import Learning
import Methods
import Tensor

/// What is measured of a trained generator on adapters that were held out by task and by training run, beside what
/// trivial methods reach on the same tasks. docs/report.md explains each number.
public struct Report {
    public let json: JSON
    /// What the one who trained it should hear at once.
    public let warnings: [String]

    private static let seeds: [UInt64] = [0, 1, 2]

    public init(
        _ problem: Problem, _ model: any Method, method: String, medianDistance: Double
    ) throws(LoragenError) {
        var object: JSONObject = [
            "corpus": .object([
                "trainingAdapters": JSON(problem.groups.count), "trainingTasks": JSON(problem.tasks.count),
                "validationAdapters": JSON(problem.validation.count),
                "testAdapters": JSON(problem.test.count),
                "numbersPerAdapter": JSON(problem.corpus.layout.valueCount),
            ])
        ]
        var warnings: [String] = []
        let isPerTask = problem.representation.normaliser.kind == .perTask
        var verdict = "nothing was held out, so nothing is known about tasks that were not trained on"
        if isPerTask {
            verdict = "per-task statistics: only training tasks can be generated, so there is no held-out skill"
        } else {
            let baselines = try Self.baselines(problem)
            for (name, heldOut) in [("validation", problem.validation), ("test", problem.test)]
            where heldOut.count > 0 {
                guard let meanError = heldOut.meanError else {
                    verdict = "the \(name) adapters are the mean training adapter, so nothing can be measured on them"
                    continue
                }
                let part = try Self.measure(heldOut, meanError, problem, model, method, baselines, medianDistance)
                object[name] = part.json
                verdict = "on the \(name) tasks: \(part.verdict)"
                warnings += part.warnings.map { "on the \(name) tasks \($0)" }
            }
        }
        object["verdict"] = .string(verdict)
        if !warnings.isEmpty { object["warnings"] = JSON(warnings) }
        self.warnings = warnings
        json = .object(object)
    }

    /// Baselines fitted in the generator's own representation.
    private static func baselines(_ problem: Problem) throws(LoragenError) -> [(name: String, method: any Method)] {
        var result: [(String, any Method)] = []
        // Their fits need all vectors at once.
        guard problem.data.rows.held != nil else { return result }
        for name in ["ridge", "ridge-pairs", "kernel-ridge"] {
            if problem.size.conditions == 0 { continue }
            // Time grows with the cube of the matrices that they solve.
            let order = name == "kernel-ridge" ? nil : name == "ridge" ? 1 : 2
            let side = order.map { Ridge.rowCount(problem.size, order: $0) } ?? problem.size.examples
            if side > 4096 { continue }
            let settings = try methods(name).settings(preset: "default")
            let method = try methods(name).plan(settings, problem.size).make(
                problem.representation, .none)
            _ = try method.stages(problem.data)
            result.append((name, method))
        }
        return result
    }

    private typealias Prediction = (Int) throws(LoragenError) -> any ModuleStream

    private static func measure(
        _ heldOut: HeldOut, _ total: Double, _ problem: Problem, _ model: any Method, _ methodName: String,
        _ baselines: [(name: String, method: any Method)], _ medianDistance: Double
    ) throws(LoragenError) -> (json: JSON, verdict: String, warnings: [String]) {
        let (rows, conditions) = (problem.data.rows, heldOut.conditions)
        func errors(_ predicted: Prediction) throws(LoragenError) -> [Double] {
            try heldOut.errors(predicted)
        }
        var skills: [Double] = []
        var ownErrors = [Double](repeating: 0, count: heldOut.count)
        var measured: [MeasuredModules] = []
        let representation = problem.representation
        let target = representation.layout
        func adapter(_ vector: any VectorStream) -> any ModuleStream {
            VectorModules(vector, representation, group: 0)
        }
        var norms = Norms(problem.representation.layout)
        for seed in seeds {
            let predicted = try model.batch(conditions, target: target, seed: seed)
            let isFirst = seed == seeds[0]
            let found = try heldOut.errors { (i) throws(LoragenError) in
                guard isFirst else { return try predicted(i) }
                measured.append(MeasuredModules(try predicted(i), rows, representation))
                return measured[measured.count - 1]
            } visit: { module, made, real in
                if isFirst { norms.add(module, made, real) }
            }
            skills.append(1 - found.reduce(0, +) / total)
            for (i, error) in found.enumerated() { ownErrors[i] += error / Double(seeds.count) }
        }
        let own = skills.reduce(0, +) / Double(skills.count)
        var table: JSONObject = ["generator": .number(own)]
        var best: (name: String, skill: Double, errors: [Double])?
        func compare(_ name: String, _ predicted: Prediction) throws(LoragenError) {
            let found = try errors(predicted)
            let value = 1 - found.reduce(0, +) / total
            table[name] = .number(value)
            // A baseline is not held against itself.
            if name != methodName, best.map({ value > $0.skill }) ?? true { best = (name, value, found) }
        }
        try compare("mean") { _ in adapter(CombinedRows(meanOf: 0..<rows.count, rows)) }
        if problem.size.conditions > 0 {
            try compare("nearest") { i in
                let near = nearestConditions(problem.data.conditions, conditions.slice(axis: 0, i..<(i + 1)))
                return adapter(CombinedRows(meanOf: near, rows))
            }
        }
        for (name, method) in baselines {
            try compare(name, try method.batch(conditions, target: target, seed: 0))
        }
        let distances = measured.map(\.nearest)
        let medianOwn = median(distances.map(\.distance)) ?? 0
        // The nearest training adapter of each generated one, moved as far as the generated one is, in a random direction:
        // what a generator that copies would look like by its distances.
        let copies = try errors { i in
            adapter(
                CombinedRows(
                    rows, [(distances[i].row, 1)], deviation: medianOwn / Double(rows.width).squareRoot(),
                    random: Random(seed: UInt64(i), stream: Streams.sampling)))
        }
        table["noisy-copy"] = .number(1 - copies.reduce(0, +) / total)
        table["pca-gaussian"] = .number(1 - (try errors { adapter(gaussian(rows, $0)) }).reduce(0, +) / total)

        var result: JSONObject = [
            "tasks": JSON(Set(heldOut.tasks).count), "skill": .object(table),
            "skillDeviationOverSeeds": .number(deviation(skills)),
        ]
        if problem.size.conditions > 0, heldOut.count > 1 {
            // Each task is asked for with the next task's condition.
            let n = heldOut.count
            let wrong = try model.batch(
                conditions.gather((0..<n).map { Int32(($0 + 1) % n) }), target: target, seed: 0)
            result["steeringMargin"] = .number((try errors(wrong).reduce(0, +) - ownErrors.reduce(0, +)) / total)
        }
        result["distanceToNearestTrainingAdapter"] = .object([
            "generated": .number(medianOwn), "amongTrainingAdapters": .number(medianDistance),
        ])
        result["norms"] = norms.json
        let warnings = Self.warnings(skill: own, norms)
        guard let best else { return (.object(result), "there is no baseline to compare with", warnings) }
        // A difference that the choice of tasks could have made is none: the 95 % interval of the paired differences.
        let gains = zip(best.errors, ownErrors).map { $0 - $1 }
        let interval = 1.96 * deviation(gains) * Double(gains.count).squareRoot() / total
        let gain = own - best.skill
        result["gainOverBestBaseline"] = .object([
            "baseline": .string(best.name), "skill": .number(gain), "interval95": .number(interval),
        ])
        let comparison =
            "skill \(decimal(own)) against \(decimal(best.skill)) of the best baseline, \(best.name); difference "
            + "\(decimal(gain)) ± \(decimal(interval)) over \(gains.count) adapters"
        let isBaseline = methods.find(methodName)?.isBaseline ?? false
        let better = isBaseline ? "a baseline, better than the others: " : "better than every baseline: "
        let worse = isBaseline ? "a baseline, not better than the best other: " : "not better: "
        return (
            .object(result), (gains.count > 1 && gain > max(interval, 1e-6) ? better : worse) + comparison, warnings
        )
    }

    /// What is wrong with a generator whatever its baselines do.
    private static func warnings(skill: Double, _ norms: Norms) -> [String] {
        var warnings: [String] = []
        if skill < -0.005 {
            warnings.append(
                "its skill is \(decimal(skill)), worse than always giving the mean adapter: see with `loragen doctor` "
                    + "whether adapters and conditions belong together, or train on more tasks")
        }
        let ratio = norms.ratio
        if ratio > 1.5 || ratio < 1 / 1.5 {
            warnings.append(
                "its adapters have \(decimal(ratio)) times the norm of the real ones\(norms.worst): hosts would apply "
                    + "updates that are too \(ratio > 1 ? "strong" : "weak")")
        }
        return warnings
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

        var json: JSON {
            .array(
                layout.modules.indices.map { m in
                    .object([
                        "module": .string(layout.modules[m].name),
                        "generatedOverReal": .number(real[m] > 0 ? (made[m] / real[m]).squareRoot() : 1),
                    ])
                })
        }
    }

    /// A sample of the Gaussian with the training vectors' mean and covariance, whatever the condition:
    /// `mean + Σ g_n (x_n − mean) / √(N − 1)`.
    private static func gaussian(_ rows: any VectorRows, _ index: Int) -> CombinedRows {
        let n = rows.count
        var random = Random(seed: UInt64(index), stream: Streams.sampling + 1)
        let drawn: Tensor<Double> = random.normal([n])
        let weights = drawn.values.map { $0 / Double(max(1, n - 1)).squareRoot() }
        let rest = (1 - weights.reduce(0, +)) / Double(n)
        return CombinedRows(rows, weights.enumerated().map { ($0, $1 + rest) })
    }

    private static func deviation(_ values: [Double]) -> Double {
        let mean = values.reduce(0, +) / Double(values.count)
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))).squareRoot()
    }
}
