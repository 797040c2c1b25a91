import Files
import Learning
import Synchronization
import Tensor

/// How far a condition is from those of the training tasks, standardised.
struct ConditionDistance {
    let toNearest: Double
    /// Of a training task to the nearest other one: the largest of up to a few dozen tasks; nil with one task.
    let usual: Double?

    /// Further away than this the generator was never tried on anything like it.
    static let far = 2.0
    var isFar: Bool { usual.map { toNearest > max(Self.far * $0, 1e-3) } ?? false }
}

/// `ConditionDistance.usual`, measured when it is first asked for: opening a generator takes milliseconds.
final class UsualDistance: Sendable {
    private let known = Mutex<Double??>(nil)

    func callAsFunction(_ measure: () -> Double?) -> Double? {
        known.withLock { known in
            if let known { return known }
            let measured = measure()
            known = .some(measured)
            return measured
        }
    }
}

extension Generator {
    /// nil without conditions.
    func distance(of condition: Tensor<Float>) -> ConditionDistance? {
        guard file.size.conditions > 0 else { return nil }
        let (all, tasks, width) = (file.index.conditions, file.index.tasks.count, file.size.conditions)
        let usual = usual {
            if tasks < 2 { return nil }
            // About ten milliseconds at most.
            let count = min(tasks, 64, max(4, (1 << 23) / max(1, tasks * width)))
            return (0..<count).reduce(0.0) { largest, i in
                let row = i * tasks / count
                let own = all.slice(axis: 0, row..<(row + 1))
                return max(largest, Self.nearest(all, own, except: row))
            }
        }
        return ConditionDistance(toNearest: Self.nearest(all, condition, except: nil), usual: usual)
    }

    private static func nearest(_ all: Tensor<Float>, _ one: Tensor<Float>, except row: Int?) -> Double {
        let squares = (all - one).square().sum(axes: [1]).values
        var least = Double.infinity
        for (i, square) in squares.enumerated() where i != row { least = min(least, Double(square)) }
        return least.squareRoot()
    }

    /// Tells the log of a condition that the generator knows nothing about.
    func warn(of asked: [Float], _ distance: ConditionDistance?) {
        let scale = schema.scale
        let idle = asked.indices.filter { scale.scale[$0] == 0 && abs(asked[$0] - scale.shift[$0]) > 1e-6 }
        if let first = idle.first {
            let more = idle.count > 1 ? " (and \(idle.count - 1) more)" : ""
            Log.warning(
                "element \(first) of the condition\(schema.place(of: first)) is \(asked[first])\(more); it was \(scale.shift[first]) in every training "
                    + "task, so that it has no effect")
        }
        if let distance, let usual = distance.usual, distance.isFar {
            Log.warning(
                "the condition is far from every training task: \(decimal(distance.toNearest)) to the nearest, where training "
                    + "tasks are at most \(decimal(usual)) from theirs; nothing is known about adapters for such conditions"
            )
        }
    }

    /// Tells the log of an adapter that is like no training adapter.
    func warn(of made: Made) {
        let norm = made.squares.squareRoot()
        if let norms = file.index.norms, norm > 2 * norms.upperBound || norm < norms.lowerBound / 2 {
            let reason =
                norm < norms.lowerBound
                ? "; the mean of adapters that have little in common is small, and does little" : ""
            Log.warning(
                "the norm of the updates is \(compact(norm)); the training adapters have \(compact(norms.lowerBound)) to "
                    + "\(compact(norms.upperBound))\(reason)")
        }
        let usual = file.index.medianDistance
        guard let nearest = nearest(made).first, usual > 0, nearest.distance > ConditionDistance.far * usual else {
            return
        }
        Log.warning(
            "the adapter is far from every training adapter: \(decimal(nearest.distance)) to the nearest, of task "
                + "\"\(nearest.task)\", where training adapters are \(decimal(usual)) from theirs; look at its norm before "
                + "it is used")
    }

    /// The three nearest training tasks by the sketches of their adapters.
    private func nearest(_ made: Made) -> [(task: String, distance: Double)] {
        let distances = file.index.sketches.withUnsafeBufferPointer { all in
            file.index.tasks.indices.map { i in
                Sketch.distance(
                    UnsafeBufferPointer(rebasing: all[(i * Sketch.width)..<((i + 1) * Sketch.width)]),
                    made.sketch.buckets)
            }
        }
        return distances.indices.sorted { distances[$0] < distances[$1] }.prefix(3)
            .map { (task: file.index.tasks[$0], distance: distances[$0]) }
    }

    /// Where a sample comes from, as JSON with spaces behind it: its length does not depend on what was drawn, so that it
    /// can stand in a file before the values.
    func origin(
        _ made: Made, _ draw: Request, _ request: GenerationRequest, _ sample: Int
    ) throws(LoragenError) -> String {
        let text = try origin(nearest(made), made.squares.squareRoot(), draw, request, sample)
        let longest = file.index.tasks.sorted { $0.utf8.count > $1.utf8.count }.prefix(3)
        // No number takes more than 24 characters; a character in a string takes at most 6 bytes.
        let room = 4 * 24 + 6 * longest.reduce(0) { $0 + $1.utf8.count }
        let frames = 3 * #"{"task":"","distance":},"#.utf8.count
        let width = try origin([], 0, draw, request, sample).utf8.count + room + frames
        return text + String(repeating: " ", count: max(0, width - text.utf8.count))
    }

    private func origin(
        _ nearest: [(task: String, distance: Double)], _ norm: Double, _ draw: Request, _ request: GenerationRequest,
        _ sample: Int
    ) throws(LoragenError) -> String {
        var digest = SHA256()
        draw.asked.withUnsafeBytes { digest.update($0) }
        var object: JSONObject = [
            "library": "loragen", "generator": .string(file.hash), "method": .string(method), "preset": .string(preset),
            "seed": .string(String(request.seed)), "sample": JSON(sample),
            "condition": .string(request.condition?.bits ?? digest.finish()),
            "nearest": .array(
                nearest.map { .object(["task": .string($0.task), "distance": .number($0.distance)]) }),
            "medianTrainingDistance": .number(file.index.medianDistance), "norm": .number(norm),
        ]
        if let norms = file.index.norms {
            object["trainingNorms"] = JSON([norms.lowerBound, norms.upperBound])
        }
        if let distance = draw.distance {
            object["conditionDistance"] = .number(distance.toNearest)
            object["trainingConditionDistance"] = distance.usual.map { .number($0) } ?? .null
        }
        if let sampling = draw.sampling {
            object["sampler"] = .string(type(of: sampling.sampler).name)
            object["steps"] = JSON(model.evaluations(sampling))
            object["guidance"] = .number(sampling.guidance)
        }
        return try JSON.object(object).text()
    }
}
