import Learning

/// What was measured of a trained generator on adapters that were held out by task and by training run, beside what
/// trivial methods reach on the same tasks. docs/report.md explains each number.
public struct Report: Equatable, Sendable {
    /// How the corpus was split.
    public struct Counts: Equatable, Sendable {
        public var trainingAdapters = 0
        public var trainingTasks = 0
        public var validationAdapters = 0
        public var testAdapters = 0
        public var numbersPerAdapter = 0
    }

    /// On one set of held-out adapters.
    public struct Measured: Equatable, Sendable {
        public var tasks = 0
        /// By name: "generator", then every baseline.
        public var skill: [(name: String, value: Double)] = []
        public var skillDeviationOverSeeds = 0.0
        /// nil without conditions, or with one adapter.
        public var steeringMargin: Double?
        /// To the nearest training adapter: medians, of generated adapters and of training adapters.
        public var distance = (generated: 0.0, amongTraining: 0.0)
        /// `‖ΔW‖` of generated adapters over that of the held-out ones, by module.
        public var norms: [(module: String, generatedOverReal: Double)] = []
        /// Over the best baseline; nil if there is none.
        public var gain: Gain?

        public static func == (a: Measured, b: Measured) -> Bool { a.json == b.json }
    }

    public struct Gain: Equatable, Sendable {
        public var baseline: String
        public var skill: Double
        /// Half of the 95 % interval of the paired differences.
        public var interval: Double
    }

    public var counts = Counts()
    /// The stages of training, and whether they took all their steps.
    public var training: [TrainedStage] = []
    public var validation: Measured?
    public var test: Measured?
    /// In a sentence, whether it beats every baseline.
    public var verdict = ""
    /// What the one who trained it should hear at once.
    public var warnings: [String] = []
}
