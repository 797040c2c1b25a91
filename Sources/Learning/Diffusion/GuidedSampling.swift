import Tensor

extension Sampling {
    /// Draws a sample with a denoiser, guided by what it gives without a condition where `isGuided`:
    /// `x_0 = x_free + g·(x_cond − x_free)` (Ho and Salimans 2022).
    ///
    /// - Parameters:
    ///   - start: `x_T ~ N(0, I)`, any shape.
    ///   - evaluations: steps that `progress` is told of, which is called before each.
    ///   - noise: fresh standard normal numbers of the same shape, for step `i` of the run.
    ///   - clip: limits of the clean sample; nil for none.
    ///   - network: the denoiser's output at a time, with the condition or without.
    public func sample<E: Element>(
        from start: Tensor<E>, schedule: NoiseSchedule, prediction: Prediction, isGuided: Bool, evaluations: Int,
        clip: ClosedRange<Double>? = nil, noise: (Int) -> Tensor<E>,
        progress: (Int, Int) throws(LoragenError) -> Void,
        network: (_ x: Tensor<E>, _ t: Int, _ isFree: Bool) -> Tensor<E>
    ) throws(LoragenError) -> Tensor<E> {
        var done = 0
        return try sampler.sample(
            from: start, schedule: schedule, steps: steps, noise: noise
        ) { (x: Tensor<E>, t: Int) throws(LoragenError) in
            try progress(done, evaluations)
            done += 1
            func clean(isFree: Bool) -> Tensor<E> {
                let made = prediction.clean(
                    from: network(x, t, isFree), at: x, signal: schedule.signal(t), noise: schedule.noise(t))
                return clip.map { made.clamp($0.lowerBound, $0.upperBound) } ?? made
            }
            let conditional = clean(isFree: false)
            guard isGuided else { return conditional }
            let free = clean(isFree: true)
            return free + (conditional - free) * guidance
        }
    }
}
