import Files

/// What became of a stage.
public struct TrainedStage: Equatable, Sendable {
    public var name: String
    /// Steps that were taken, of so many.
    public var steps: Int
    public var limit: Int
    /// The step with the best skill on the validation tasks; nil where that was not measured.
    public var bestStep: Int?

    public var isEarly: Bool { steps < limit }

    /// "diffusion stopped early, after 350 of 2000 steps, best at step 250".
    public var text: String {
        let best = bestStep.map { ", best at step \($0)" } ?? ""
        return isEarly
            ? "\(name) stopped early, after \(steps) of \(limit) steps\(best)" : "\(name): \(steps) steps\(best)"
    }

    public init(name: String, steps: Int, limit: Int, bestStep: Int?) {
        (self.name, self.steps, self.limit, self.bestStep) = (name, steps, limit, bestStep)
    }
}

extension TrainedStage {
    public var json: JSON {
        var object: JSONObject = ["stage": .string(name), "steps": JSON(steps), "of": JSON(limit)]
        if let bestStep { object["bestStep"] = JSON(bestStep) }
        return .object(object)
    }

    public init?(json: JSON) {
        guard let name = json["stage"]?.string, let steps = json["steps"]?.integer, let limit = json["of"]?.integer
        else { return nil }
        self.init(name: name, steps: steps, limit: limit, bestStep: json["bestStep"]?.integer)
    }
}
