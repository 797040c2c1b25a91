import NN
import Tensor
import Testing

@testable import Methods

/// Derivatives against central differences in double, along random directions of each parameter. The widths are tiny
/// and the step is small, so that hardly any activation crosses its kink.
@Suite struct CondPDiffNetworksGradientTests {
    private func agree<M: Module>(_ network: M, _ loss: () -> Tensor<Double>) where M.Scalar == Double {
        loss().backward()
        let parameters = network.namedParameters
        let gradients = parameters.map { $0.parameter.gradient }
        let largest = gradients.compactMap { $0?.sumOfSquares.squareRoot() }.max() ?? 0
        let step = 1e-6
        for ((name, parameter), gradient) in zip(parameters, gradients) {
            guard let gradient else {
                Issue.record("\(name) has no gradient")
                continue
            }
            let direction: Tensor<Double> = Formula.normalLike("direction " + name, parameter.shape)
            let start = parameter.value
            func shifted(by distance: Double) -> Double {
                parameter.value = start + direction * distance
                return withoutGradients { loss().item }
            }
            let difference = (shifted(by: step) - shifted(by: -step)) / (2 * step)
            parameter.value = start
            let derivative = (gradient * direction).sum().item
            let scale = max(abs(derivative), largest * 1e-2)
            #expect(abs(difference - derivative) < 1e-5 * scale, "\(name): \(derivative), differences \(difference)")
        }
    }

    @Test func `the language autoencoder's derivatives are those of its loss, noise and clamp included`() {
        var random = Random(seed: 3)
        let network = ConvAutoencoder<Double>(
            .init(kernel: 3, fold: 3, encoderChannels: [2, 3, 2], decoderChannels: [2, 4, 3], latentNoise: 0.5),
            valueCount: 100, random: &random)
        let x: Tensor<Double> = random.normal([2, 100])
        agree(network) { network.loss(x, random: Random(seed: 4)) }
    }

    @Test func `the vision autoencoder's derivatives are those of its loss`() {
        var random = Random(seed: 3)
        let network = StridedAutoencoder<Double>(
            .init(kernel: 5, channels: [3, 4, 3], latentCount: 4, isWide: true), valueCount: 45, random: &random)
        let x: Tensor<Double> = random.normal([3, 45])
        agree(network) { network.loss(x, random: Random(seed: 4)) }
    }

    @Test func `the parent autoencoder's derivatives are those of its loss, with the same noise each time`() {
        var random = Random(seed: 3)
        let network = StridedAutoencoder<Double>(
            .init(kernel: 5, channels: [3, 4, 3], latentCount: 4, inputNoise: 0.1, latentNoise: 0.5), valueCount: 45,
            random: &random)
        let x: Tensor<Double> = random.normal([3, 45])
        agree(network) { network.loss(x, random: Random(seed: 4)) }
    }

    @Test func `the denoisers' derivatives are those of their loss`() {
        var random = Random(seed: 5)
        let x: Tensor<Double> = random.normal([3, 8])
        let target: Tensor<Double> = random.normal([3, 8])
        let condition: Tensor<Double> = random.normal([3, 5])
        let concat = ConcatConvDenoiser<Double>(
            .init(channels: [3, 4, 5], timesteps: 10), latentCount: 8, conditionCount: 5, random: &random)
        agree(concat) { mseLoss(concat(x, times: [1, 9, 4], condition: condition), target) }
        let vision = VisionDenoiser<Double>(
            .init(channels: [3, 4, 2]), latentCount: 8, conditionCount: 5, random: &random)
        agree(vision) { mseLoss(vision(x, times: [1, 9, 4], condition: condition), target) }
        let parent = ParentDenoiser<Double>(
            .init(kernel: 3, channels: [3, 4, 5, 4, 3], timeWidth: 6), latentCount: 8, conditionCount: 5,
            random: &random)
        agree(parent) { mseLoss(parent(x, times: [1, 9, 4], condition: condition), target) }
    }

    @Test func `gradients reach an image encoder through the denoiser that it conditions`() {
        var random = Random(seed: 6)
        let encoder = ImageConditionEncoder<Double>(.init(first: 3, second: 4, output: 8), random: &random)
        let denoiser = VisionDenoiser<Double>(
            .init(channels: [3, 4, 2]), latentCount: 8, conditionCount: 8, random: &random)
        let x: Tensor<Double> = random.normal([3, 8])
        let images: Tensor<Double> = random.uniform([3, 3, 20, 17])
        agree(encoder) { mseLoss(denoiser(x, times: [1, 9, 4], condition: encoder(images)), x) }
    }
}
