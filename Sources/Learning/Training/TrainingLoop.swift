import Tensor

/// Runs a method's stages in order: optimiser, schedule, clipping, weight average, early stop on validation skill,
/// progress, cancelling, checkpoints. There is one training loop; every method uses it.
public struct TrainingLoop {
    var stages: [any TrainingStage]
    var checkpoint: Checkpoint?
    var checkpointSeconds: Double
    var progress: ProgressHandler?

    public init(
        stages: [any TrainingStage], checkpoint: Checkpoint? = nil, checkpointSeconds: Double,
        progress: ProgressHandler? = nil
    ) {
        self.stages = stages
        self.checkpoint = checkpoint
        self.checkpointSeconds = checkpointSeconds
        self.progress = progress
    }

    /// Trains until the last stage is done. Afterwards every stage's weights are those to keep: of the best look at the
    /// validation tasks, or the last. The checkpoint stays: what was trained is not in a file yet.
    public func run() throws(LoragenError) -> [TrainedStage] {
        var trained: [TrainedStage] = []
        var state = try checkpoint?.load()
        var reporter = ProgressReporter(progress)
        var clock = CostClock(remaining: stages.reduce(0) { $0 + $1.cost * Double($1.optimisation.steps) })
        for (index, stage) in stages.enumerated() {
            if let done = state, index < done.stage {
                try done.restore(weightsOf: stage, index: index)
                clock.skip(stage.cost * Double(stage.optimisation.steps))
                trained = Array(done.trained.prefix(index + 1))
                continue
            }
            try stage.prepare()
            let session = Session(stage)
            if let saved = state, saved.stage == index {
                try saved.restore(session)
                clock.skip(stage.cost * Double(session.step))
            }
            state = nil
            try train(session, trained, &reporter, &clock)
            trained.append(session.outcome)
            if session.isStopped { Log.info("\(session.outcome.text): no better on the validation tasks since") }
        }
        return trained
    }

    private func train(
        _ session: Session, _ trained: [TrainedStage], _ reporter: inout ProgressReporter, _ clock: inout CostClock
    ) throws(LoragenError) {
        let finished = Array(stages[..<trained.count])
        var saved = ProgressReporter.now
        let steps = session.stage.optimisation.steps
        func report(force: Bool) -> Bool {
            reporter.report(force: force) {
                Progress(
                    stage: session.stage.name, step: session.step, steps: steps, loss: session.averageLoss,
                    validationSkill: session.skill, bestSkill: session.bestSkill,
                    stepsPerSecond: clock.rate / session.stage.cost, secondsLeft: clock.secondsLeft)
            }
        }
        while session.step < steps, !session.isStopped {
            session.gradients(of: try session.loss())
            session.apply()
            if session.isLookDue { try session.look() }
            clock.advance(session.stage.cost)
            let cancelled = report(force: false)
            let due = ProgressReporter.now - saved >= checkpointSeconds
            if let checkpoint, cancelled || due {
                try checkpoint.save(session, finished, trained)
                saved = ProgressReporter.now
            }
            if cancelled {
                throw LoragenError(
                    .cancelled, "training was cancelled at step \(session.step) of \(session.stage.name)")
            }
        }
        clock.skip(session.stage.cost * Double(steps - session.step))
        if report(force: true) {
            try checkpoint?.save(session, finished, trained)
            throw LoragenError(.cancelled, "training was cancelled after \(session.stage.name)")
        }
        try session.finish()
    }
}

/// Turns work done into work left, over stages whose steps cost differently.
private struct CostClock {
    private var remaining: Double
    private var done = 0.0
    private let start = ProgressReporter.now

    init(remaining: Double) { self.remaining = remaining }

    /// Cost per second so far.
    var rate: Double { done > 0 ? done / max(1e-9, ProgressReporter.now - start) : .nan }
    var secondsLeft: Double { max(0, remaining) / rate }

    mutating func advance(_ cost: Double) {
        done += cost
        remaining -= cost
    }

    mutating func skip(_ cost: Double) { remaining -= cost }
}
