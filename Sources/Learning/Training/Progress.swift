import Glibc

/// What a long call reports; NaN where nothing is known yet.
public struct Progress: Sendable {
    public var stage: String
    /// Steps of this stage that are done.
    public var step: Int
    public var steps: Int
    public var loss = Double.nan
    /// `1 − error / error of the mean adapter` on the validation tasks, at the last check.
    public var validationSkill = Double.nan
    public var bestSkill = Double.nan
    public var stepsPerSecond = Double.nan
    /// Of the whole call.
    public var secondsLeft = Double.nan

    public init(
        stage: String, step: Int, steps: Int, loss: Double = Double.nan, validationSkill: Double = Double.nan,
        bestSkill: Double = Double.nan, stepsPerSecond: Double = Double.nan, secondsLeft: Double = Double.nan
    ) {
        self.stage = stage
        self.step = step
        self.steps = steps
        self.loss = loss
        self.validationSkill = validationSkill
        self.bestSkill = bestSkill
        self.stepsPerSecond = stepsPerSecond
        self.secondsLeft = secondsLeft
    }
}

/// Returns true to cancel.
public typealias ProgressHandler = (Progress) -> Bool

/// Hands progress to the caller at most ten times a second, and at the end of every stage.
public struct ProgressReporter {
    private let handler: ProgressHandler?
    private var last = -Double.infinity
    /// Seconds on the monotonic clock.
    public static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    public init(_ handler: ProgressHandler?) { self.handler = handler }

    /// True when the caller asks to cancel. `progress` is only made when it will be shown.
    public mutating func report(force: Bool = false, _ progress: () -> Progress) -> Bool {
        guard let handler else { return false }
        let now = Self.now
        guard force || now - last >= 0.1 else { return false }
        last = now
        return handler(progress())
    }
}
