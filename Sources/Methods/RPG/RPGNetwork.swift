import NN
import Tensor

/// RPG's networks: a recurrent model that turns positions, permutation state and condition into one prototype a token,
/// and a denoiser that all tokens share. No weights are ever fed to the recurrent model.
final class RPGNetwork<E: Element>: Module {
    let configuration: RPGConfiguration
    let positions: TokenPositions
    let recurrence: any RecurrentModel<E>
    let denoiser: (any TokenDenoiser<E>)?
    /// Without a denoiser: from the prototype to the token.
    let readout: Linear<E>?
    /// `[states, width]`, every entry 1/width at first.
    let states: Parameter<E>?
    /// Perceptron of the condition; without conditions, a learned vector `[width]`.
    let condition: (first: Linear<E>, second: Linear<E>)?
    let constant: Parameter<E>?
    /// `[N, width]`
    let learned: Parameter<E>?

    init(_ configuration: RPGConfiguration, positions: TokenPositions, random: inout Random) {
        let (c, d) = (configuration, configuration.width)
        (self.configuration, self.positions) = (configuration, positions)
        recurrence = c.makeRecurrence(&random)
        denoiser = c.makeDenoiser(&random)
        readout =
            c.denoiser == .none ? Linear(inputs: c.outputWidth, outputs: c.tokenSize, random: &random) : nil
        let isLoaded = random.isNone
        states = c.states > 0 ? Parameter(isLoaded ? .pending([c.states, d]) : .full([c.states, d], 1 / E(d))) : nil
        if c.conditions > 0 {
            condition = (
                Linear(inputs: c.conditions, outputs: c.conditionWidth, random: &random),
                Linear(inputs: c.conditionWidth, outputs: d, random: &random)
            )
            constant = nil
        } else {
            condition = nil
            constant = Parameter(random.uniform([d], low: -1, high: 1))
        }
        let count = positions.tokens.count
        learned = c.learnedPositions > 0 ? Parameter(isLoaded ? .pending([count, d]) : positions(0..<count)) : nil
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.part("recurrence", recurrence)
        if let denoiser { visitor.part("denoiser", denoiser) }
        visitor.child("readout", readout)
        visitor.parameter("states", states)
        visitor.child("condition.0", condition?.first)
        visitor.child("condition.1", condition?.second)
        visitor.parameter("constant", constant)
        visitor.parameter("positions", learned)
    }

    /// What the recurrent model reads of the tokens in `range`: `[B, range.count, width]`.
    ///
    /// - Parameters:
    ///   - conditions: `[B, C]`; ignored by a network without conditions.
    ///   - states: the permutation state of each sequence; ignored by a network without states.
    ///   - random: for dropout, in training.
    func inputs(
        _ range: Range<Int>, conditions: Tensor<E>, states rows: [Int32], random: inout Random?
    ) -> Tensor<E> {
        let (n, d, batch) = (range.count, configuration.width, conditions.shape[0])
        let positions = learned?.tensor.slice(axis: 0, range) ?? self.positions(range)
        var shared = Tensor<E>.zeros([batch, 1, d])
        if let states { shared = shared + states.tensor.gather(rows).reshaped([batch, 1, d]) }
        if let constant { shared = shared + constant.tensor }
        let sum = positions.reshaped([1, n, d]) + shared
        guard let condition else { return sum }
        let embedded = condition.second(
            dropped(condition.first(conditions).silu(), &random)
        ).reshaped([batch, 1, d])
        let first = self.positions.tokens.count - configuration.conditionTokens
        if configuration.conditionTokens == 0 || first <= 0 { return sum + embedded }
        let gate = Tensor<E>(range.map { $0 >= first ? 1 : 0 }, shape: [1, n, 1])
        return sum + embedded * gate
    }

    /// The prototypes of all tokens, `[B, N, outputWidth]`; `random` is for dropout, in training.
    func prototypes(conditions: Tensor<E>, states: [Int32], random: Random? = nil) -> Tensor<E> {
        var random = random
        let inputs = inputs(
            0..<positions.tokens.count, conditions: conditions, states: states, random: &random)
        return dropped(recurrence(inputs), &random)
    }

    private func dropped(_ x: Tensor<E>, _ random: inout Random?) -> Tensor<E> {
        guard configuration.dropout > 0, let mask: Tensor<E> = random?.dropout(x.shape, rate: configuration.dropout)
        else { return x }
        return x * mask
    }
}
