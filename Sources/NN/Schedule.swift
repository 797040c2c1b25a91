import Glibc

/// The learning rate over the steps of a run, as a factor of the base rate.
public enum Schedule: Sendable, Equatable {
    case constant
    /// From 1 down to `floor` along half a cosine over `steps`.
    case cosine(steps: Int, floor: Double = 0)
    /// Linear from 0 over `warmup` steps, then as `cosine` until `steps`.
    case warmupCosine(warmup: Int, steps: Int, floor: Double = 0)
    /// 1, then half a cosine down to `floor` over the last `fraction` of `steps`.
    case constantThenCosine(steps: Int, fraction: Double = 0.3, floor: Double = 0)

    /// The factor for step 0, 1, ...; after the last step it stays at the floor.
    public func factor(at step: Int) -> Double {
        switch self {
        case .constant: return 1
        case .cosine(let steps, let floor): return descent(Double(step), from: 0, to: Double(steps), floor)
        case .warmupCosine(let warmup, let steps, let floor):
            if step < warmup { return Double(step + 1) / Double(warmup) }
            return descent(Double(step), from: Double(warmup), to: Double(steps), floor)
        case .constantThenCosine(let steps, let fraction, let floor):
            return descent(Double(step), from: Double(steps) * (1 - fraction), to: Double(steps), floor)
        }
    }

    private func descent(_ step: Double, from: Double, to: Double, _ floor: Double) -> Double {
        if step <= from { return 1 }
        if step >= to { return floor }
        return floor + (1 - floor) * 0.5 * (1 + cos(.pi * (step - from) / (to - from)))
    }
}

/// PyTorch's ReduceLROnPlateau (relative threshold, lower is better): the factor falls when the loss has not improved
/// for more than `patience` calls.
public struct ReduceOnPlateau: Sendable, Equatable {
    public var reduction: Double
    public var patience: Int
    public var threshold: Double
    public var cooldown: Int
    public var minimum: Double
    /// State; plain data for a checkpoint.
    public var factor = 1.0
    public var best = Double.infinity
    public var badCalls = 0
    public var coolingCalls = 0

    public init(
        reduction: Double = 0.1, patience: Int = 10, threshold: Double = 1e-4, cooldown: Int = 0, minimum: Double = 0
    ) {
        self.reduction = reduction
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.minimum = minimum
    }

    /// Tells the schedule a loss and returns the factor from now on.
    public mutating func update(loss: Double) -> Double {
        if loss < best * (1 - threshold) {
            best = loss
            badCalls = 0
        } else {
            badCalls += 1
        }
        if coolingCalls > 0 {
            coolingCalls -= 1
            badCalls = 0
        }
        if badCalls > patience {
            factor = max(factor * reduction, minimum)
            coolingCalls = cooldown
            badCalls = 0
        }
        return factor
    }
}
