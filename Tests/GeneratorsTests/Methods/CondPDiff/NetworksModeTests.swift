import Tensor
import Testing

@testable import Learning
@testable import Methods

/// What training mode, times and conditions change, and what they must not.
@Suite struct CondPDiffNetworksModeTests {
    private let strided = StridedAutoencoderConfiguration(kernel: 5, channels: [4, 6, 3], latentCount: 5)
    private let wide = StridedAutoencoderConfiguration(kernel: 5, channels: [4, 6, 3], latentCount: 5, isWide: true)

    @Test func `encoding and decoding use running statistics in either mode, sample by sample`() {
        var random = Random(seed: 1)
        let network = StridedAutoencoder<Double>(wide, valueCount: 60, random: &random)
        fill(network)
        let x: Tensor<Double> = random.normal([4, 60])
        let z = network.encode(x)
        let y = network.decode(z)
        network.setTraining(false)
        #expect(network.encode(x).values == z.values)
        #expect(network.decode(z).values == y.values)
        for i in 0..<4 {
            let alone = network.encode(x.slice(axis: 0, i..<i + 1))
            #expect(distance(alone, z.slice(axis: 0, i..<i + 1)) < 1e-14)
        }
    }

    @Test
    func `a training loss uses the batch's statistics and moves the running ones; an evaluation loss does neither`() {
        var random = Random(seed: 1)
        let network = StridedAutoencoder<Double>(strided, valueCount: 60, random: &random)
        fill(network)
        let x: Tensor<Double> = random.normal([4, 60])
        let before = network.namedBuffers.map { $0.buffer.value.values }
        network.setTraining(false)
        let evaluated = network.loss(x, random: Random(seed: 2)).item
        #expect(network.namedBuffers.map { $0.buffer.value.values } == before)
        network.setTraining(true)
        let trained = network.loss(x, random: Random(seed: 2)).item
        #expect(trained != evaluated)
        #expect(zip(network.namedBuffers, before).allSatisfy { $0.buffer.value.values != $1 })
    }

    @Test func `a denoiser in training mixes its batch, in evaluation it does not`() {
        var random = Random(seed: 1)
        let vision = VisionDenoiser<Double>(
            .init(channels: [4, 6, 4]), latentCount: 8, conditionCount: 8, random: &random)
        let parent = ParentDenoiser<Double>(
            .init(channels: [4, 6, 4], timeWidth: 6), latentCount: 8, conditionCount: 8, random: &random)
        let x: Tensor<Double> = random.normal([3, 8])
        let c: Tensor<Double> = random.normal([3, 8])
        func first(_ network: any Denoiser<Double>, alone: Bool) -> Tensor<Double> {
            alone
                ? network(x.slice(axis: 0, 0..<1), times: [7], condition: c.slice(axis: 0, 0..<1))
                : network(x, times: [7, 300, 999], condition: c).slice(axis: 0, 0..<1)
        }
        for network in [vision, parent] as [any Denoiser<Double>] {
            fill(network)
            #expect(distance(first(network, alone: true), first(network, alone: false)) > 1e-3)
            network.setTraining(false)
            #expect(distance(first(network, alone: true), first(network, alone: false)) < 1e-13)
        }
    }

    @Test func `each sample has its own time, unless the published slip is asked for`() {
        var random = Random(seed: 1)
        let x: Tensor<Double> = random.normal([2, 8])
        for shared in [false, true] {
            let network = ConcatConvDenoiser<Double>(
                .init(channels: [4, 6], legacySharedTime: shared), latentCount: 8, conditionCount: 0, random: &random)
            let mixed = network(x, times: [3, 900], condition: nil).slice(axis: 0, 1..<2)
            let first = network(x, times: [3, 3], condition: nil).slice(axis: 0, 1..<2)
            let own = network(x, times: [900, 900], condition: nil).slice(axis: 0, 1..<2)
            #expect(distance(mixed, shared ? first : own) < 1e-14)
            #expect(distance(mixed, shared ? own : first) > 1e-3)
        }
    }

    @Test func `no condition means the zero condition`() {
        var random = Random(seed: 1)
        let x: Tensor<Double> = random.normal([2, 8])
        let networks: [any Denoiser<Double>] = [
            ConcatConvDenoiser<Double>(.init(channels: [4, 6]), latentCount: 8, conditionCount: 5, random: &random),
            VisionDenoiser<Double>(.init(channels: [4, 6, 4]), latentCount: 8, conditionCount: 5, random: &random),
            ParentDenoiser<Double>(.init(channels: [4, 6, 4]), latentCount: 8, conditionCount: 5, random: &random),
        ]
        for network in networks {
            network.setTraining(false)
            let none = network(x, times: [3, 900], condition: nil)
            #expect(none.values == network(x, times: [3, 900], condition: .zeros([2, 5])).values)
            let some = network(x, times: [3, 900], condition: random.normal([2, 5]))
            #expect(distance(none, some) > 1e-3)
        }
    }

    @Test func `the same random numbers give the same loss, others another`() {
        var random = Random(seed: 1)
        let network = ConvAutoencoder<Double>(.small, valueCount: 300, random: &random)
        let x: Tensor<Double> = random.normal([2, 300])
        let once = network.loss(x, random: Random(seed: 5)).item
        #expect(network.loss(x, random: Random(seed: 5)).item == once)
        #expect(network.loss(x, random: Random(seed: 6)).item != once)
    }

    @Test func `the language latent lies in -1 ... 1`() {
        var random = Random(seed: 1)
        let network = ConvAutoencoder<Double>(.small, valueCount: 300, random: &random)
        let z = network.encode(random.normal([2, 300], deviation: 100))
        #expect(z.values.allSatisfy { abs($0) <= 1 })
    }

    private func distance(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Double {
        ((a - b).sumOfSquares / b.sumOfSquares).squareRoot()
    }
}
