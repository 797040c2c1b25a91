import Glibc
import Tensor

/// AdamW (Loshchilov & Hutter 2019) with bias correction and decoupled decay; `decay: 0` is Adam.
public final class AdamW<E: Element> {
    /// Parameters that share settings. `rate` multiplies the rate given to `step`.
    public struct Group {
        public var parameters: [(name: String, parameter: Parameter<E>)]
        public var rate: Double
        public var decay: Double

        public init(_ parameters: [(name: String, parameter: Parameter<E>)], rate: Double = 1, decay: Double = 0.01) {
            self.parameters = parameters
            self.rate = rate
            self.decay = decay
        }
    }

    private final class Slot {
        let name: String
        let parameter: Parameter<E>
        let group: Int
        var steps = 0
        var first: Tensor<E>
        var second: Tensor<E>

        init(_ name: String, _ parameter: Parameter<E>, _ group: Int) {
            self.name = name
            self.parameter = parameter
            self.group = group
            first = .zeros(parameter.shape)
            second = .zeros(parameter.shape)
        }
    }

    public let groups: [Group]
    public let beta1: Double
    public let beta2: Double
    public let eps: Double
    private let slots: [Slot]

    public init(groups: [Group], betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8) {
        self.groups = groups
        (beta1, beta2) = betas
        self.eps = eps
        slots = groups.enumerated().flatMap { index, group in
            group.parameters.map { Slot($0.name, $0.parameter, index) }
        }
    }

    public convenience init(
        _ parameters: [(name: String, parameter: Parameter<E>)], decay: Double = 0.01,
        betas: (Double, Double) = (0.9, 0.999), eps: Double = 1e-8
    ) {
        self.init(groups: [Group(parameters, decay: decay)], betas: betas, eps: eps)
    }

    public var parameters: [Parameter<E>] { slots.map { $0.parameter } }

    /// One step with learning rate `rate`; parameters without a gradient stay as they are. Gradients are multiplied by
    /// `gradientScale` on the way (see `clipFactor`).
    public func step(rate: Double, gradientScale: Double = 1) {
        for slot in slots where slot.parameter.isTrainable && slot.parameter.gradient != nil {
            slot.steps += 1
            let group = groups[slot.group]
            let constants = AdamWConstants(
                rate: rate * group.rate, beta1: beta1, beta2: beta2, eps: eps, decay: group.decay,
                correction1: 1 - pow(beta1, Double(slot.steps)), correction2: 1 - pow(beta2, Double(slot.steps)),
                scale: gradientScale)
            slot.parameter.step(constants, &slot.first, &slot.second)
        }
    }

    public func clearGradients() { for slot in slots { slot.parameter.gradient = nil } }

    /// Moments and step counts by name, enough to go on with the same bytes: `m.NAME`, `v.NAME`, `steps.NAME`.
    public func state() -> [(name: String, tensor: Tensor<E>)] {
        slots.flatMap { slot in
            [
                ("m." + slot.name, slot.first), ("v." + slot.name, slot.second),
                ("steps." + slot.name, Tensor([E(slot.steps)])),
            ]
        }
    }

    /// Takes over what `state` gave. Throws `format` when something is missing or has another shape; nothing is changed
    /// then.
    public func load(_ find: (_ name: String) throws(LoragenError) -> Tensor<E>?) throws(LoragenError) {
        func checked(_ name: String, _ shape: [Int]) throws(LoragenError) -> Tensor<E> {
            guard let tensor = try find(name) else { throw LoragenError(.format, "optimiser state \(name) is missing") }
            guard tensor.shape == shape else {
                throw LoragenError(.format, "optimiser state \(name) has shape \(tensor.shape), expected \(shape)")
            }
            return tensor.detached()
        }
        let loaded = try slots.map { (slot) throws(LoragenError) in
            let steps = try checked("steps." + slot.name, [1]).item
            guard let count = Int(exactly: steps), count >= 0 else {
                throw LoragenError(.format, "optimiser state steps.\(slot.name) is \(steps)")
            }
            return (
                count, try checked("m." + slot.name, slot.first.shape), try checked("v." + slot.name, slot.first.shape)
            )
        }
        for (slot, (steps, first, second)) in zip(slots, loaded) {
            (slot.steps, slot.first, slot.second) = (steps, first, second)
        }
    }
}

/// The norm of all gradients together.
public func gradientNorm<E: Element>(_ parameters: [Parameter<E>]) -> Double {
    parameters.reduce(0) { $0 + ($1.gradient?.sumOfSquares ?? 0) }.squareRoot()
}

/// What gradients of this norm must be multiplied by so that it is at most `maximum` (PyTorch's clip_grad_norm_).
public func clipFactor(norm: Double, maximum: Double) -> Double { min(1, maximum / (norm + 1e-6)) }
