import Tensor

/// The exponential moving average of parameters: average = d average + (1 - d) value after each step.
public final class WeightAverage<E: Element> {
    public let decay: Double
    /// Use min(decay, (1 + step) / (10 + step)), so that the start is forgotten soon.
    public let warmsUp: Bool
    public private(set) var steps = 0
    private let entries: [(name: String, parameter: Parameter<E>)]
    private var averages: [Tensor<E>]

    public init(_ parameters: [(name: String, parameter: Parameter<E>)], decay: Double, warmsUp: Bool = false) {
        entries = parameters
        averages = parameters.map { $0.parameter.value.detached() }
        self.decay = decay
        self.warmsUp = warmsUp
    }

    /// Call after every optimiser step.
    public func update() {
        steps += 1
        let d = warmsUp ? min(decay, Double(1 + steps) / Double(10 + steps)) : decay
        for (i, entry) in entries.enumerated() { averages[i].blend(with: entry.parameter.value, weight: 1 - d) }
    }

    /// Runs `body` with the averages in the place of the values, then puts the values back.
    public func withAverages<R>(_ body: () throws -> R) rethrows -> R {
        exchange()
        defer { exchange() }
        return try body()
    }

    /// Exchanges values and averages; twice is nothing.
    public func exchange() {
        for (i, entry) in entries.enumerated() {
            let value = entry.parameter.value
            entry.parameter.value = averages[i]
            averages[i] = value
        }
    }

    /// `ema.NAME` for each parameter and `ema-steps`.
    public func state() -> [(name: String, tensor: Tensor<E>)] {
        zip(entries, averages).map { ("ema." + $0.name, $1) } + [("ema-steps", Tensor([E(steps)]))]
    }

    /// Takes over what `state` gave. Throws `format` when something is missing or has another shape; nothing is changed
    /// then.
    public func load(_ find: (_ name: String) throws(LoragenError) -> Tensor<E>?) throws(LoragenError) {
        let loaded = try entries.map { (entry) throws(LoragenError) in
            guard let tensor = try find("ema." + entry.name), tensor.shape == entry.parameter.shape else {
                throw LoragenError(.format, "average ema.\(entry.name) is missing or has another shape")
            }
            return tensor.detached()
        }
        guard let count = try find("ema-steps"), count.count == 1, let steps = Int(exactly: count.item), steps >= 0
        else { throw LoragenError(.format, "average ema-steps is missing or not a count") }
        averages = loaded
        self.steps = steps
    }
}
