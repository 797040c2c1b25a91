import Glibc
import Tensor

/// A way from noise to a sample, along a noise schedule.
///
/// `denoise(x_t, t)` gives the model's estimate of `x_0`; samplers differ only in how they use it.
public protocol Sampler: Sendable {
    static var name: String { get }
    /// Whether it takes all steps of the schedule, whatever is asked for.
    var takesAllSteps: Bool { get }
    /// How often the model is evaluated when `steps` are asked for.
    func evaluations(_ schedule: NoiseSchedule, _ steps: Int) -> Int
    /// - Parameters:
    ///   - start: `x_T ~ N(0, I)`, any shape.
    ///   - steps: evaluations of the model; samplers that need all of them ignore it.
    ///   - noise: fresh standard normal numbers of the same shape, for step `i` of the run.
    func sample<E: Element>(
        from start: Tensor<E>, schedule: NoiseSchedule, steps: Int, noise: (Int) -> Tensor<E>,
        denoise: (Tensor<E>, Int) throws(LoragenError) -> Tensor<E>
    ) throws(LoragenError) -> Tensor<E>
}

extension Sampler {
    public var takesAllSteps: Bool { false }
}

/// The sampler of that name, nil if there is none.
public func sampler(named name: String) -> (any Sampler)? {
    switch name {
    case DDPM.name: DDPM()
    case DDIM.name: DDIM()
    case DPMSolver.name: DPMSolver()
    default: nil
    }
}

/// The names that `sampler(named:)` knows.
public let samplerNames = [DDPM.name, DDIM.name, DPMSolver.name]

/// Ancestral sampling over all timesteps (Ho et al. 2020, algorithm 2).
public struct DDPM: Sampler {
    public static let name = "ddpm"
    public var takesAllSteps: Bool { true }
    /// `β_t` for the variance ("fixed large", COND P-DIFF) instead of the posterior variance ("fixed small", p-diff).
    public var largeVariance = false

    public init(largeVariance: Bool = false) { self.largeVariance = largeVariance }

    public func evaluations(_ schedule: NoiseSchedule, _ steps: Int) -> Int { schedule.count }

    public func sample<E: Element>(
        from start: Tensor<E>, schedule: NoiseSchedule, steps: Int, noise: (Int) -> Tensor<E>,
        denoise: (Tensor<E>, Int) throws(LoragenError) -> Tensor<E>
    ) throws(LoragenError) -> Tensor<E> {
        var x = start
        for (i, t) in stride(from: schedule.count - 1, through: 0, by: -1).enumerated() {
            let clean = try denoise(x, t)
            let beta = schedule.betas[t]
            let bar = schedule.alphaBar[t]
            let previous = t > 0 ? schedule.alphaBar[t - 1] : 1
            // The posterior q(x_{t-1} | x_t, x_0), equation 7 of the paper.
            let fromClean = previous.squareRoot() * beta / (1 - bar)
            let fromNoisy = (1 - beta).squareRoot() * (1 - previous) / (1 - bar)
            x = clean * fromClean + x * fromNoisy
            if t > 0 {
                let variance = largeVariance ? beta : beta * (1 - previous) / (1 - bar)
                x = x + noise(i) * variance.squareRoot()
            }
        }
        return x
    }
}

/// Implicit sampling over a subset of the timesteps (Song et al. 2021, equation 12).
public struct DDIM: Sampler {
    public static let name = "ddim"
    /// 0 is deterministic; 1 with all timesteps is DDPM with the posterior variance.
    public var eta = 0.0
    /// The times `i·⌊T/steps⌋ + 1` and a chain that ends at time 0, with a little noise left (RPG), instead of times that
    /// reach from the first to the clean end.
    public var isStrided = false

    public init(eta: Double = 0, isStrided: Bool = false) {
        self.eta = eta
        self.isStrided = isStrided
    }

    public func evaluations(_ schedule: NoiseSchedule, _ steps: Int) -> Int { timesteps(schedule, steps).count }

    func timesteps(_ schedule: NoiseSchedule, _ steps: Int) -> [Int] {
        guard isStrided else { return schedule.timesteps(steps) }
        let steps = min(max(steps, 1), schedule.count - 1)
        let stride = schedule.count / steps
        return (0..<steps).reversed().map { min($0 * stride + 1, schedule.count - 1) }
    }

    public func sample<E: Element>(
        from start: Tensor<E>, schedule: NoiseSchedule, steps: Int, noise: (Int) -> Tensor<E>,
        denoise: (Tensor<E>, Int) throws(LoragenError) -> Tensor<E>
    ) throws(LoragenError) -> Tensor<E> {
        var x = start
        let times = timesteps(schedule, steps)
        for (i, t) in times.enumerated() {
            let next = i + 1 < times.count ? times[i + 1] : isStrided ? 0 : -1
            let clean = try denoise(x, t)
            let epsilon = (x - clean * schedule.signal(t)) * (1 / schedule.noise(t))
            let ratio = (schedule.signal(t) / schedule.signal(next))
            let sigma =
                eta * schedule.noise(next) / schedule.noise(t) * max(0, 1 - ratio * ratio).squareRoot()
            let direction = max(0, schedule.noise(next) * schedule.noise(next) - sigma * sigma).squareRoot()
            x = clean * schedule.signal(next) + epsilon * direction
            if sigma > 0 { x = x + noise(i) * sigma }
        }
        return x
    }
}

/// DPM-Solver++(2M): second order, one evaluation a step (Lu et al. 2022, algorithm 2), with timesteps that are even in
/// the log signal-to-noise ratio and a first-order last step to the clean sample.
public struct DPMSolver: Sampler {
    public static let name = "dpm-solver++"

    public init() {}

    public func evaluations(_ schedule: NoiseSchedule, _ steps: Int) -> Int { Self.timesteps(schedule, steps).count }

    public func sample<E: Element>(
        from start: Tensor<E>, schedule: NoiseSchedule, steps: Int, noise: (Int) -> Tensor<E>,
        denoise: (Tensor<E>, Int) throws(LoragenError) -> Tensor<E>
    ) throws(LoragenError) -> Tensor<E> {
        let times = Self.timesteps(schedule, steps)
        var x = start
        var older: (clean: Tensor<E>, h: Double)?
        for (i, t) in times.enumerated() {
            let clean = try denoise(x, t)
            guard i + 1 < times.count else { return clean }
            let next = times[i + 1]
            let h = schedule.halfLogSNR(next) - schedule.halfLogSNR(t)
            var estimate = clean
            if let older {
                let r = older.h / h
                estimate = clean * (1 + 1 / (2 * r)) - older.clean * (1 / (2 * r))
            }
            x = x * (schedule.noise(next) / schedule.noise(t)) - estimate * (schedule.signal(next) * expm1(-h))
            older = (clean, h)
        }
        return x
    }

    /// Timesteps that are even in `λ`, from the noisiest to 0, each once.
    static func timesteps(_ schedule: NoiseSchedule, _ steps: Int) -> [Int] {
        let steps = min(max(steps, 1), schedule.count)
        guard steps > 1 else { return [schedule.count - 1] }
        let first = schedule.halfLogSNR(schedule.count - 1)
        let last = schedule.halfLogSNR(0)
        var times: [Int] = []
        var t = schedule.count - 1
        for i in 0..<steps {
            let target = first + (last - first) * Double(i) / Double(steps - 1)
            while t > 0, schedule.halfLogSNR(t) < target - 1e-12 { t -= 1 }
            if times.last != t { times.append(t) }
        }
        if times.last != 0 { times.append(0) }
        return times
    }
}
