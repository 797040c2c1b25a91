import Files
import Learning
import Tensor

extension Report {
    /// By the schema of docs/report.md.
    public var json: JSON {
        var object: JSONObject = [
            "corpus": .object([
                "trainingAdapters": JSON(counts.trainingAdapters), "trainingTasks": JSON(counts.trainingTasks),
                "validationAdapters": JSON(counts.validationAdapters), "testAdapters": JSON(counts.testAdapters),
                "numbersPerAdapter": JSON(counts.numbersPerAdapter),
            ])
        ]
        if !training.isEmpty { object["training"] = .array(training.map(\.json)) }
        object["validation"] = validation?.json
        object["test"] = test?.json
        object["verdict"] = .string(verdict)
        if !warnings.isEmpty { object["warnings"] = JSON(warnings) }
        return .object(object)
    }

    /// A report as a generator file has it. What is missing stays empty: a file says what it says.
    public init(json: JSON) {
        let corpus = json["corpus"]
        func count(_ name: String) -> Int { corpus?[name]?.integer ?? 0 }
        counts = Counts(
            trainingAdapters: count("trainingAdapters"), trainingTasks: count("trainingTasks"),
            validationAdapters: count("validationAdapters"), testAdapters: count("testAdapters"),
            numbersPerAdapter: count("numbersPerAdapter"))
        training = (json["training"]?.array ?? []).compactMap(TrainedStage.init(json:))
        validation = json["validation"].map(Measured.init(json:))
        test = json["test"].map(Measured.init(json:))
        verdict = json["verdict"]?.string ?? ""
        warnings = (json["warnings"]?.array ?? []).compactMap(\.string)
    }
}

extension Report.Measured {
    var json: JSON {
        var object: JSONObject = [
            "tasks": JSON(tasks), "skill": .object(JSONObject(skill.map { ($0.name, JSON.number($0.value)) })),
            "skillDeviationOverSeeds": .number(skillDeviationOverSeeds),
        ]
        if let steeringMargin { object["steeringMargin"] = .number(steeringMargin) }
        object["distanceToNearestTrainingAdapter"] = .object([
            "generated": .number(distance.generated), "amongTrainingAdapters": .number(distance.amongTraining),
        ])
        object["norms"] = .array(
            norms.map {
                .object(["module": .string($0.module), "generatedOverReal": .number($0.generatedOverReal)])
            })
        if let gain {
            object["gainOverBestBaseline"] = .object([
                "baseline": .string(gain.baseline), "skill": .number(gain.skill), "interval95": .number(gain.interval),
            ])
        }
        return .object(object)
    }

    init(json: JSON) {
        tasks = json["tasks"]?.integer ?? 0
        skill = (json["skill"]?.object?.members ?? []).compactMap { member in
            member.value.double.map { (member.name, $0) }
        }
        skillDeviationOverSeeds = json["skillDeviationOverSeeds"]?.double ?? 0
        steeringMargin = json["steeringMargin"]?.double
        let distances = json["distanceToNearestTrainingAdapter"]
        distance = (distances?["generated"]?.double ?? 0, distances?["amongTrainingAdapters"]?.double ?? 0)
        norms = (json["norms"]?.array ?? []).compactMap { item in
            guard let module = item["module"]?.string, let ratio = item["generatedOverReal"]?.double else { return nil }
            return (module, ratio)
        }
        if let value = json["gainOverBestBaseline"], let name = value["baseline"]?.string,
            let skill = value["skill"]?.double, let interval = value["interval95"]?.double
        {
            gain = Report.Gain(baseline: name, skill: skill, interval: interval)
        }
    }
}
