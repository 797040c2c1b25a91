import Tensor
import Testing

@testable import Methods

/// RPG's networks against an independent PyTorch build with the same weights: prototypes, estimates, loss, the gradient of
/// every parameter and running statistics.
@Suite struct RPGGoldenTests {
    private static let tokens: [WeightTokens.Token] = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (3, 0)].map {
        WeightTokens.Token(start: 0, count: 1, tensor: $0, index: $1)
    }

    private static func configuration(_ change: (inout RPGConfiguration) -> Void) -> RPGConfiguration {
        var c = RPGConfiguration()
        (c.width, c.outputWidth, c.tokenSize, c.stateSize, c.headDim, c.conditionWidth) = (8, 8, 20, 5, 8, 6)
        c.channels = [4, 6, 4]
        change(&c)
        return c
    }

    @Test func `the published model with a permutation state equals its PyTorch build`() throws {
        let c = Self.configuration {
            ($0.width, $0.outputWidth, $0.tokenSize, $0.states) = (16, 16, 24, 3)
            $0.channels = [4, 6, 8, 6, 4]
        }
        try run("published", c, of: Double.self)
        try run("published", c, of: Float.self)
    }

    @Test func `a wider second block and a condition of the last tokens equal their PyTorch build`() throws {
        let c = Self.configuration { ($0.outputWidth, $0.conditions, $0.conditionTokens) = (16, 5, 3) }
        try run("large", c, of: Double.self)
        try run("large", c, of: Float.self)
    }

    @Test(
        "the ablations equal their PyTorch build",
        arguments: [("lstm", RPGConfiguration.Recurrence.lstm), ("perceptron", .perceptron)])
    func ablation(name: String, recurrence: RPGConfiguration.Recurrence) throws {
        let c = Self.configuration { ($0.recurrence, $0.conditions) = (recurrence, 5) }
        try run(name, c, of: Double.self)
        try run(name, c, of: Float.self)
    }

    private func run<E: Element>(_ name: String, _ c: RPGConfiguration, of type: E.Type) throws {
        let golden = try #require(GoldenFile.rpg.cases[name])
        var random = Random(seed: 1)
        let positions = TokenPositions(kind: .grid, features: c.width, tokens: Self.tokens)
        let network = RPGNetwork<E>(c, positions: positions, random: &random)
        fill(network)
        #expect(network.parameterCount == golden.count)
        #expect(c.parameterCount == golden.count)
        let denoiser = try #require(network.denoiser)
        let check = GoldenCheck<E>(name: name)
        let conditions: Tensor<E> = c.conditions > 0 ? Formula.normalLike("condition", [2, 5]) : .zeros([2, 0])
        let x: Tensor<E> = Formula.normalLike("x", [5, c.tokenSize])
        let picks = (0..<5).map { Int32((7 * $0 + 3) % 14) }
        let times = [17, 0, 999, 400, 731]
        func prototypes() -> Tensor<E> { network.prototypes(conditions: conditions, states: [0, 1]) }
        func picked() -> Tensor<E> { prototypes().reshaped([14, c.outputWidth]).gather(picks) }

        network.setTraining(false)
        withoutGradients {
            check.close(prototypes(), golden.encode!, "prototypes")
            let context = denoiser.context(picked())
            let plain = denoiser(x, time: denoiser.time(times), context: context, random: nil)
            check.close(plain, golden.output!, "output")
            check.close(denoiser.inference()(x, denoiser.time(times), context), golden.output!, "fused output")
        }
        network.setTraining(true)
        let output = denoiser(x, time: denoiser.time(times), context: denoiser.context(picked()), random: nil)
        let mask = Tensor<E>((0..<c.tokenSize).map { $0 < 2 * c.tokenSize / 3 ? 1 : 0 }, shape: [1, c.tokenSize])
        check.training(
            network, mseLoss(output, Formula.normalLike("target", x.shape), weight: mask), golden)
    }
}
