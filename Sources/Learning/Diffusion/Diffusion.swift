import Tensor

/// A diffusion process as a method's settings name it.
public struct Diffusion {
    public let schedule: NoiseSchedule
    public let prediction: Prediction
    /// How it is sampled unless told otherwise.
    public let sampling: Sampling

    /// - Parameter sampler: the named sampler with what else the settings say of it; nil for one of `samplers`.
    public init(_ settings: Settings, sampler: (String) throws(LoragenError) -> (any Sampler)?) throws(LoragenError) {
        let timesteps = try settings.integer("timesteps", 2...100_000)
        schedule = NoiseSchedule(
            NoiseSchedule.Kind(rawValue: try settings.choice("schedule", ["linear", "cosine"])) ?? .linear,
            count: timesteps)
        prediction =
            Prediction(rawValue: try settings.choice("prediction", ["noise", "sample", "velocity"])) ?? .sample
        let name = try settings.choice("sampler", samplerNames)
        sampling = Sampling(
            sampler: try sampler(name) ?? Learning.sampler(named: name) ?? DPMSolver(),
            steps: try settings.integer("samplingSteps", 1...timesteps),
            guidance: try settings.number("guidance", 0...100))
    }

    /// `√ᾱ_t` and `√(1 − ᾱ_t)` of some times, `[n, 1]` each.
    public func levels(_ times: [Int]) -> (signal: Tensor<Float>, noise: Tensor<Float>) {
        func column(_ value: (Int) -> Double) -> Tensor<Float> {
            Tensor(times.map { Float(value($0)) }, shape: [times.count, 1])
        }
        return (column(schedule.signal), column(schedule.noise))
    }
}
