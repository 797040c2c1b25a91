import Adapters
import Tensor

/// What is measured of a trained generator on adapters that were held out by task and by training run, beside what
/// trivial methods reach on the same tasks. docs/report.md explains each number.
struct Report {
    let json: JSON

    private static let seeds: [UInt64] = [0, 1, 2]

    init(_ problem: Problem, _ model: any Method, seed: UInt64, medianDistance: Double) throws(LoragenError) {
        var object: JSONObject = [
            "corpus": .object([
                "trainingAdapters": JSON(problem.groups.count), "trainingTasks": JSON(problem.tasks.count),
                "validationAdapters": JSON(problem.validation.adapters.count),
                "testAdapters": JSON(problem.test.adapters.count),
                "numbersPerAdapter": JSON(problem.corpus.layout.valueCount),
            ])
        ]
        let isPerTask = problem.representation.normaliser.kind == .perTask
        var verdict = "nothing was held out, so nothing is known about tasks that were not trained on"
        if isPerTask {
            verdict = "per-task statistics: only training tasks can be generated, so there is no held-out skill"
        } else {
            let baselines = try Self.baselines(problem)
            for (name, heldOut) in [("validation", problem.validation), ("test", problem.test)]
            where !heldOut.adapters.isEmpty {
                let part = try Self.measure(heldOut, problem, model, baselines, medianDistance)
                object[name] = part.json
                verdict = "on the \(name) tasks: \(part.verdict)"
            }
        }
        object["verdict"] = .string(verdict)
        json = .object(object)
    }

    /// Baselines fitted in the generator's own representation.
    private static func baselines(_ problem: Problem) throws(LoragenError) -> [(name: String, method: any Method)] {
        var result: [(String, any Method)] = []
        for name in ["mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge"] {
            // The kernel's eigenvalue problem grows with the cube of the examples.
            if name == "kernel-ridge", problem.size.examples > 4096 { continue }
            if name.hasPrefix("ridge"), problem.size.conditions > 64 { continue }
            if name != "mean", problem.size.conditions == 0 { continue }
            let settings = try MethodRegistry.settings(method: name, preset: "product")
            let method = try MethodRegistry.entry(name).make(settings, problem.size, .none)
            _ = try method.stages(problem.data)
            result.append((name, method))
        }
        return result
    }

    private static func measure(
        _ heldOut: Problem.HeldOut, _ problem: Problem, _ model: any Method,
        _ baselines: [(name: String, method: any Method)], _ medianDistance: Double
    ) throws(LoragenError) -> (json: JSON, verdict: String) {
        let total = max(heldOut.meanErrors.reduce(0, +), .leastNormalMagnitude)
        func errors(_ vectors: Tensor<Float>) throws(LoragenError) -> [Double] {
            try productErrors(vectors, heldOut, problem.representation)
        }
        var skills: [Double] = []
        var first = Tensor<Float>([0])
        var ownErrors = [Double](repeating: 0, count: heldOut.adapters.count)
        for seed in seeds {
            let vectors = try model.vectors(conditions: heldOut.conditions, seed: seed, sampling: nil)
            if seed == seeds[0] { first = vectors }
            let found = try errors(vectors)
            skills.append(1 - found.reduce(0, +) / total)
            for (i, error) in found.enumerated() { ownErrors[i] += error / Double(seeds.count) }
        }
        let own = skills.reduce(0, +) / Double(skills.count)
        var table: JSONObject = ["generator": .number(own)]
        var best: (name: String, skill: Double, errors: [Double])?
        for (name, method) in baselines {
            let found = try errors(method.vectors(conditions: heldOut.conditions, seed: 0, sampling: nil))
            let value = 1 - found.reduce(0, +) / total
            table[name] = .number(value)
            if best.map({ value > $0.skill }) ?? true { best = (name, value, found) }
        }
        let distances = nearestDistances(first, problem.data.vectors)
        let medianOwn = median(distances.map(\.distance)) ?? 0
        table["noisy-copy"] = .number(
            1 - (try errors(noisyCopies(distances, problem.data.vectors, norm: medianOwn))).reduce(0, +) / total)
        table["pca-gaussian"] = .number(
            1 - (try errors(gaussian(problem.data.vectors, count: heldOut.adapters.count))).reduce(0, +) / total)

        var result: JSONObject = [
            "tasks": JSON(Set(heldOut.tasks).count), "skill": .object(table),
            "skillDeviationOverSeeds": .number(deviation(skills)),
        ]
        if problem.size.conditions > 0, heldOut.adapters.count > 1 {
            // Each task is asked for with the next task's condition.
            let n = heldOut.adapters.count
            let wrong = try model.vectors(
                conditions: heldOut.conditions.gather((0..<n).map { Int32(($0 + 1) % n) }), seed: 0, sampling: nil)
            result["steeringMargin"] = .number((try errors(wrong).reduce(0, +) - ownErrors.reduce(0, +)) / total)
        }
        result["distanceToNearestTrainingAdapter"] = .object([
            "generated": .number(medianOwn), "amongTrainingAdapters": .number(medianDistance),
        ])
        result["norms"] = try norms(first, heldOut, problem)
        guard let best else { return (.object(result), "there is no baseline to compare with") }
        // A difference that the choice of tasks could have made is none: the 95 % interval of the paired differences.
        let gains = zip(best.errors, ownErrors).map { $0 - $1 }
        let interval = 1.96 * deviation(gains) * Double(gains.count).squareRoot() / total
        let gain = own - best.skill
        result["gainOverBestBaseline"] = .object([
            "baseline": .string(best.name), "skill": .number(gain), "interval95": .number(interval),
        ])
        let comparison =
            "skill \(rounded(own)) against \(rounded(best.skill)) of the best baseline, \(best.name); difference "
            + "\(rounded(gain)) ± \(rounded(interval)) over \(gains.count) adapters"
        // A baseline that is measured as a generator differs from itself by rounding.
        let isBetter = gains.count > 1 && gain > max(interval, 1e-6)
        return (.object(result), (isBetter ? "better than every baseline: " : "not better: ") + comparison)
    }

    /// ‖ΔW‖ of generated adapters over that of the held-out ones, for each module.
    private static func norms(
        _ vectors: Tensor<Float>, _ heldOut: Problem.HeldOut, _ problem: Problem
    ) throws(LoragenError) -> JSON {
        let modules = problem.representation.layout.modules
        var made = [Double](repeating: 0, count: modules.count)
        var real = made
        for (i, adapter) in heldOut.adapters.enumerated() {
            let generated = try problem.representation.decode(vectors.slice(axis: 0, i..<(i + 1)), group: 0)
            for m in modules.indices {
                made[m] += squaredNorm(generated, module: m)
                real[m] += squaredNorm(adapter, module: m)
            }
        }
        return .array(
            modules.indices.map { m in
                .object([
                    "module": .string(modules[m].name),
                    "generatedOverReal": .number(real[m] > 0 ? (made[m] / real[m]).squareRoot() : 1),
                ])
            })
    }

    /// The nearest training vector of each row, in normalised vectors.
    private static func nearestDistances(
        _ vectors: Tensor<Float>, _ training: Tensor<Float>
    ) -> [(row: Int, distance: Double)] {
        (0..<vectors.shape[0]).map { i in
            let squares = (training - vectors.slice(axis: 0, i..<(i + 1))).square().sum(axes: [1]).values
            let least = squares.indices.min { squares[$0] < squares[$1] } ?? 0
            return (least, Double(squares[least]).squareRoot())
        }
    }

    /// The nearest training adapter of each generated one, moved as far as the generated one is, in a random direction:
    /// what a generator that copies would look like by its distances.
    private static func noisyCopies(
        _ nearest: [(row: Int, distance: Double)], _ training: Tensor<Float>, norm: Double
    ) -> Tensor<Float> {
        var random = Random(seed: 0, stream: Streams.sampling)
        let noise: Tensor<Float> = random.normal([nearest.count, training.shape[1]])
        let scale = norm / Double(training.shape[1]).squareRoot()
        return training.gather(nearest.map { Int32($0.row) }) + noise * scale
    }

    /// Samples of the Gaussian with the training vectors' mean and covariance, whatever the condition.
    private static func gaussian(_ training: Tensor<Float>, count: Int) -> Tensor<Float> {
        var random = Random(seed: 0, stream: Streams.sampling + 1)
        let n = training.shape[0]
        let mean = training.mean(axes: [0], keepDims: true)
        let weights: Tensor<Float> = random.normal([count, n])
        return mean + (weights * (1 / Double(max(1, n - 1)).squareRoot())).matmul(training - mean)
    }

    private static func deviation(_ values: [Double]) -> Double {
        let mean = values.reduce(0, +) / Double(values.count)
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))).squareRoot()
    }
}

/// Two digits behind the point, without Foundation.
func rounded(_ x: Double) -> String {
    guard x.isFinite, abs(x) < 1e12 else { return "\(x)" }
    let hundredths = Int((abs(x) * 100).rounded())
    let fraction = hundredths % 100
    return "\(x < 0 && hundredths > 0 ? "-" : "")\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}
