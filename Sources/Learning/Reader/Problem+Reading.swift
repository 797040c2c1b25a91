import Conditions
import Tensor

extension Problem {
    /// Trains a reader of the tokens of texts or pictures, and asks through it from then on. Where the settings leave the
    /// encoder's layer open, several are tried, and the validation tasks choose.
    public mutating func learnToRead(
        _ settings: ReaderSettings, field: String?, encoders: ConditionEncoders, progress: ProgressHandler?
    ) throws(LoragenError) -> [TrainedStage] {
        var layers = settings.layer.map { [$0] } ?? []
        if layers.isEmpty {
            let deepest = max(encoders[TextKind.name]?.layers ?? 0, encoders[ImagesKind.name]?.layers ?? 0)
            layers = validation.count == 0 ? [deepest / 2] : [0, deepest / 2, deepest]
        }
        var best: (skill: Double, conditions: CorpusConditions, reader: ConditionReader, trained: [TrainedStage])?
        for layer in layers {
            let conditions = try CorpusConditions(
                corpus, field: field, encoders: encoders, tokens: TokenFeatures(count: settings.tokens, layer: layer),
                progress: progress)
            guard conditions.parts.contains(where: { $0.tokens != nil }) else {
                throw LoragenError(
                    .invalidArgument,
                    "reader is \"tokens\", and the corpus is not asked by texts or pictures; leave it out, or choose another "
                        + "field of the manifest (--condition)")
            }
            try ask(by: conditions)
            let reader = ConditionReader(
                conditions.parts, settings, Random(seed: data.seed, stream: RandomStreams.weights, position: 1 << 41))
            try Memory.require(
                24 * Double(ConditionReader.weightCount(conditions.parts, settings))
                    + 40 * Double(settings.hidden) * Double(size.values), for: "training a reader of texts")
            let stage = ReaderStage(reader, settings, data)
            let trained = try TrainingLoop(stages: [stage], checkpointSeconds: 30, progress: progress).run()
            let skill = try stage.validationSkill() ?? 0
            Log.info("reader of layer \(layer): skill \(skill) on the validation tasks")
            if best.map({ skill > $0.skill }) ?? true { best = (skill, conditions, reader, trained) }
        }
        guard let best else { return [] }
        try ask(by: best.conditions, reader: best.reader)
        return best.trained
    }
}
