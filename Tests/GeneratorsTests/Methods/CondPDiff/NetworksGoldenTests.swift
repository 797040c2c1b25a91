import NN
import Tensor
import Testing

@testable import Files
@testable import Learning
@testable import Methods

/// Every network against an independent PyTorch build in double precision with the same weights: outputs, loss, the
/// gradient of every parameter, running statistics. In double the two agree to rounding; in single outputs agree to
/// 1e-5, and gradients to 1e-2: at the published sizes rounding turns some LeakyReLU the other way, and PyTorch's own
/// gradients in single precision are up to 5e-3 from those in double.
@Suite struct CondPDiffNetworksGoldenTests {
    @Test func `the language autoencoder equals its PyTorch build`() throws {
        let small = ConvAutoencoderConfiguration(
            kernel: 3, fold: 3, encoderChannels: [2, 2, 2, 2], decoderChannels: [2, 8, 8, 4])
        try conv("convAutoencoderSmall", small, valueCount: 704, samples: 3, of: Double.self)
        try conv("convAutoencoderSmall", small, valueCount: 704, samples: 3, of: Float.self)
        let medium = ConvAutoencoderConfiguration(decoderChannels: [4, 16, 16, 8])
        try conv("convAutoencoderMedium", medium, valueCount: 2048, samples: 2, of: Double.self)
        try conv("convAutoencoderMedium", medium, valueCount: 2048, samples: 2, of: Float.self)
    }

    @Test func `the language autoencoder equals its PyTorch build at the published size`() throws {
        try conv("convAutoencoderPublished", .medium, valueCount: 73_728, samples: 1, of: Double.self)
        try conv("convAutoencoderPublished", .medium, valueCount: 73_728, samples: 1, of: Float.self)
    }

    @Test func `the vision autoencoder equals its PyTorch build`() throws {
        let configuration = StridedAutoencoderConfiguration(
            kernel: 9, channels: [4, 6, 8, 3], latentCount: 5, isWide: true)
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = StridedAutoencoder<E>(configuration, valueCount: 100, random: &random)
            try autoencoder("visionAutoencoder", network, samples: 3) {
                network.loss($0, inputNoise: $1, latentNoise: $2)
            }
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test func `the parent autoencoder equals its PyTorch build`() throws {
        let configuration = StridedAutoencoderConfiguration(
            kernel: 7, channels: [4, 6, 5], latentCount: 8, inputNoise: 0.001, latentNoise: 0.1)
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = StridedAutoencoder<E>(configuration, valueCount: 90, random: &random)
            try autoencoder("parentAutoencoder", network, samples: 3) {
                network.loss($0, inputNoise: $1, latentNoise: $2)
            }
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test(
        "the language denoiser equals its PyTorch build, also without a condition and with the published slip",
        arguments: [
            ("concatDenoiser", 8, false), ("concatDenoiserUnconditional", 0, false), ("concatDenoiserShared", 8, true),
        ])
    func languageDenoiser(name: String, condition: Int, shared: Bool) throws {
        let configuration = ConcatConvDenoiserConfiguration(channels: [4, 6, 8, 10], legacySharedTime: shared)
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = ConcatConvDenoiser<E>(
                configuration, latentCount: 12, conditionCount: condition, random: &random)
            try denoiser(name, network, latent: 12, condition: condition, times: [17, 0, 999])
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test func `the language denoiser equals its PyTorch build at the published size`() throws {
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = ConcatConvDenoiser<E>(latentCount: 468, conditionCount: 512, random: &random)
            try denoiser("concatDenoiserPublished", network, latent: 468, condition: 512, times: [250, 731])
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test(
        "the vision denoiser equals its PyTorch build, with a condition of the latent's length and of another",
        arguments: [("visionDenoiser", 16), ("visionDenoiserProjected", 5)])
    func visionDenoiser(name: String, condition: Int) throws {
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = VisionDenoiser<E>(
                .init(channels: [4, 6, 8, 4]), latentCount: 16, conditionCount: condition, random: &random)
            try denoiser(name, network, latent: 16, condition: condition, times: [17, 0, 999])
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test(
        "the parent denoiser equals its PyTorch build, with and without a condition",
        arguments: [("parentDenoiser", 0), ("parentDenoiserConditional", 5)])
    func parentDenoiser(name: String, condition: Int) throws {
        func run<E: Element>(_ type: E.Type) throws {
            var random = Random(seed: 1)
            let network = ParentDenoiser<E>(
                .init(channels: [4, 6, 8, 10, 8, 6, 4], timeWidth: 8), latentCount: 16, conditionCount: condition,
                random: &random)
            try denoiser(name, network, latent: 16, condition: condition, times: [17, 0, 999])
        }
        try run(Double.self)
        try run(Float.self)
    }

    @Test func `the image encoder equals its PyTorch build`() throws {
        func run<E: Element>(_ type: E.Type) throws {
            let golden = try #require(GoldenFile.shared.cases["imageEncoder"])
            var random = Random(seed: 1)
            let network = ImageConditionEncoder<E>(.init(first: 4, second: 6, output: 5), random: &random)
            fill(network)
            let shape = [2, 3, 33, 29]
            let output = network(Tensor<E>(Formula.unit("image", shape).map { E((1 + $0) / 2) }, shape: shape))
            let check = GoldenCheck<E>(name: "imageEncoder")
            check.close(output, try #require(golden.output), "output")
            check.training(network, mseLoss(output, Formula.normalLike("target", [2, 5])), golden)
        }
        try run(Double.self)
        try run(Float.self)
    }

    // MARK: The shape of a comparison

    private func conv<E: Element>(
        _ name: String, _ configuration: ConvAutoencoderConfiguration, valueCount: Int, samples: Int, of type: E.Type
    ) throws {
        var random = Random(seed: 1)
        let network = ConvAutoencoder<E>(configuration, valueCount: valueCount, random: &random)
        try autoencoder(name, network, samples: samples) { network.loss($0, inputNoise: $1, latentNoise: $2) }
    }

    private func autoencoder<A: Autoencoder>(
        _ name: String, _ network: A, samples: Int,
        loss: (Tensor<A.Scalar>, Tensor<A.Scalar>, Tensor<A.Scalar>) -> Tensor<A.Scalar>
    ) throws {
        let golden = try #require(GoldenFile.shared.cases[name])
        fill(network)
        #expect(network.parameterCount == golden.count)
        let check = GoldenCheck<A.Scalar>(name: name)
        let x: Tensor<A.Scalar> = Formula.normalLike("x", [samples, network.valueCount])
        let latent = [samples, network.latentCount]
        check.close(withoutGradients { network.encode(x) }, try #require(golden.encode), "encode")
        let z: Tensor<A.Scalar> = Formula.normalLike("z", latent, scale: 0.5)
        check.close(withoutGradients { network.decode(z) }, try #require(golden.decode), "decode")
        let value = loss(x, Formula.normalLike("inputNoise", x.shape), Formula.normalLike("latentNoise", latent))
        check.training(network, value, golden)
        if let after = golden.encodeAfter {
            check.close(withoutGradients { network.encode(x) }, after, "encode after a training pass")
        }
    }

    private func denoiser<D: Denoiser>(
        _ name: String, _ network: D, latent: Int, condition: Int, times: [Int]
    ) throws {
        let golden = try #require(GoldenFile.shared.cases[name])
        fill(network)
        #expect(network.parameterCount == golden.count)
        let check = GoldenCheck<D.Scalar>(name: name)
        let x: Tensor<D.Scalar> = Formula.normalLike("x", [times.count, latent])
        let c: Tensor<D.Scalar>? = condition > 0 ? Formula.normalLike("condition", [times.count, condition]) : nil
        network.setTraining(false)
        let output = withoutGradients { network(x, times: times, condition: c) }
        check.close(output, try #require(golden.output), "output")
        network.setTraining(true)
        let trained = network(x, times: times, condition: c)
        check.training(network, mseLoss(trained, Formula.normalLike("target", x.shape)), golden)
    }
}

/// Compares with what was recorded, within what the element type allows.
struct GoldenCheck<E: Element> {
    let name: String
    private var isSingle: Bool { E.self == Float.self }

    func close(_ result: Tensor<E>, _ golden: GoldenFile.Record, _ what: String) {
        let distance = golden.distance(result)
        #expect(distance < (isSingle ? 2e-5 : 1e-12), "\(name) \(what): distance \(distance)")
    }

    /// A parameter's gradient is measured against its own norm, or a thousandth of the largest norm if that is more: a
    /// bias in front of an instance or batch norm has no gradient but rounding.
    func training<M: Module>(_ network: M, _ loss: Tensor<E>, _ golden: GoldenFile.Case) where M.Scalar == E {
        let error = abs(Double(loss.item) - golden.loss) / golden.loss
        #expect(error < (isSingle ? 1e-6 : 1e-12), "\(name) loss: \(loss.item), recorded \(golden.loss)")
        loss.backward()
        let floor = (golden.gradients.values.map(\.norm).max() ?? 0) * 1e-3
        let entries = network.namedParameters
        #expect(Set(entries.map(\.name)) == Set(golden.gradients.keys))
        for (parameter, entry) in entries {
            guard let gradient = entry.gradient, let record = golden.gradients[parameter] else { continue }
            let distance = record.distance(gradient, floor: floor)
            // Rounding grows through these depths: PyTorch itself is 5e-3 away in single precision, and filtered
            // convolutions round more than direct ones (1.1e-2 at most).
            #expect(distance < (isSingle ? 2e-2 : 1e-10), "\(name) gradient of \(parameter): distance \(distance)")
        }
        #expect(entries.allSatisfy { $0.parameter.gradient != nil })
        for (buffer, entry) in network.namedBuffers {
            guard let record = golden.buffers?[buffer] else {
                Issue.record("\(name) has no record of \(buffer)")
                continue
            }
            close(entry.value, record, buffer)
        }
    }
}

/// Sets every parameter and running statistic to the formula's values.
func fill<M: Module>(_ network: M) {
    for (name, parameter) in network.namedParameters { parameter.value = Formula.parameter(name, parameter.shape) }
    for (name, buffer) in network.namedBuffers { buffer.value = Formula.parameter(name, buffer.value.shape) }
}
