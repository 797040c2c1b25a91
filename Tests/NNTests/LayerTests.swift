import Tensor
import Testing

@testable import NN

/// The inputs of make_golden.py.
func ramp(_ shape: [Int], _ s: Int) -> Tensor<Double> {
    Tensor((0..<shape.reduce(1, *)).map { Double((37 * $0 + 11 * s) % 101) / 50 - 1 }, shape: shape)
}

func expect(_ value: Tensor<Double>, _ golden: [Double], _ what: Comment, within bound: Double = 1e-12) {
    let reference = Tensor(golden)
    let error = ((value.flattened() - reference).sumOfSquares / max(reference.sumOfSquares, 1e-300)).squareRoot()
    #expect(value.count == golden.count && error < bound, what)
}

@Suite("Layers") struct LayerTests {
    @Test("Batch norm: two training steps and evaluation as in PyTorch, running variance unbiased")
    func batchNorm() {
        let layer = BatchNorm1d<Double>(channels: 3)
        layer.gamma.value = ramp([3], 2)
        layer.beta.value = ramp([3], 3)
        _ = layer(ramp([4, 3, 5], 0))
        let x = ramp([4, 3, 5], 1).requiringGradient()
        let y = layer(x)
        (y * ramp(y.shape, 4)).sum().backward()
        expect(y, Golden.batchNorm, "value")
        expect(x.gradient!, Golden.batchNormDx, "dx")
        expect(layer.gamma.gradient!, Golden.batchNormDgamma, "dgamma")
        expect(layer.runningMean.value, Golden.runningMean, "running mean")
        expect(layer.runningVariance.value, Golden.runningVariance, "running variance")
        layer.setTraining(false)
        #expect(!layer.isTraining)
        expect(layer(ramp([2, 3], 5)), Golden.batchNormEvaluation, "evaluation")
        expect(layer.runningMean.value, Golden.runningMean, "evaluation leaves the statistics alone")
    }

    @Test("Time embeddings in both orders")
    func timeEmbedding() {
        let times = [0, 1, 37.5]
        expect(sinusoidalEmbedding(times, dimension: 8, order: .cosineThenSine), Golden.timeHalves, "cos ‖ sin")
        expect(sinusoidalEmbedding(times, dimension: 8, order: .interleaved), Golden.timeInterleaved, "sin, cos, ...")
    }

    /// The largest value over the bound; near 1 from below for that many uniform numbers.
    private func reach(_ parameter: Parameter<Float>?, _ fanIn: Int) -> Double {
        Double(parameter!.value.values.map { $0.magnitude }.max()!) * Double(fanIn).squareRoot()
    }

    @Test("Initial weights fill ±1/sqrt(fan-in); a transposed convolution counts its outputs")
    func initialisation() {
        var random = Random(seed: 1)
        let linear = Linear<Float>(inputs: 50, outputs: 400, random: &random)
        let conv = Conv1d<Float>(inputChannels: 6, outputChannels: 300, kernel: 5, random: &random)
        let transposed = ConvTranspose1d<Float>(inputChannels: 40, outputChannels: 200, kernel: 5, random: &random)
        let flat = Conv2d<Float>(inputChannels: 3, outputChannels: 200, kernel: 7, random: &random)
        for value in [
            reach(linear.weight, 50), reach(linear.bias, 50), reach(conv.weight, 30), reach(conv.bias, 30),
            reach(transposed.weight, 1000), reach(transposed.bias, 1000), reach(flat.weight, 147),
            reach(flat.bias, 147),
        ] {
            #expect(value <= 1 && value > 0.97)
        }
        let table = Embedding<Float>(entries: 100, features: 64, random: &random)
        #expect((Double(table.weight.value.square().mean().item) - 1).magnitude < 0.05)
    }

    @Test("Layers give their documented shapes")
    func shapes() {
        var random = Random(seed: 1)
        let x: Tensor<Float> = random.normal([2, 4, 117])
        let up = ConvTranspose1d<Float>(inputChannels: 4, outputChannels: 4, kernel: 5, stride: 5, random: &random)
        let conv = Conv1d<Float>(inputChannels: 4, outputChannels: 256, kernel: 5, padding: 4, random: &random)
        // One decoder stage of p-diff maps length L to 5 L + 4.
        #expect(conv(InstanceNorm1d()(up(x))).shape == [2, 256, 589])
        let image: Tensor<Float> = random.normal([2, 3, 64, 64])
        let patch = Conv2d<Float>(
            inputChannels: 3, outputChannels: 8, kernel: 7, stride: 4, padding: 3, random: &random)
        #expect(patch(image).shape == [2, 8, 16, 16])
        #expect(Embedding<Float>(entries: 5, features: 3, random: &random)([4, 0]).shape == [2, 3])
        #expect(
            LayerNorm<Float>(features: 117)(x).shape == x.shape && RMSNorm<Float>(features: 117)(x).shape == x.shape)
        #expect(Linear<Float>(inputs: 117, outputs: 3, bias: false, random: &random)(x).shape == [2, 4, 3])
        #expect(Activation.leakyReLU()(x).shape == x.shape && Activation.elu() == .elu(alpha: 1))
    }

    final class Pair: Module {
        let first: Linear<Double>
        let norms: [BatchNorm1d<Double>]
        init(random: inout Random) {
            first = Linear(inputs: 3, outputs: 4, random: &random)
            norms = [BatchNorm1d(channels: 4), BatchNorm1d(channels: 4)]
        }
        func visit(_ visitor: ModuleVisitor<Double>) {
            visitor.child("first", first)
            visitor.children("norms", norms)
        }
    }

    @Test("A module names its parameters with dots, and loads all of them or none")
    func names() throws {
        var random = Random(seed: 1)
        let pair = Pair(random: &random)
        #expect(
            pair.namedTensors().map { $0.name } == [
                "first.weight", "first.bias", "norms.0.weight", "norms.0.bias", "norms.1.weight", "norms.1.bias",
                "norms.0.running_mean", "norms.0.running_var", "norms.1.running_mean", "norms.1.running_var",
            ])
        #expect(pair.parameterCount == 3 * 4 + 4 + 4 * 4)
        pair.setTraining(false)
        #expect(pair.norms.allSatisfy { !$0.isTraining })
        let other = Pair(random: &random)
        var stored = Dictionary(uniqueKeysWithValues: pair.namedTensors().map { ($0.name, $0.tensor) })
        stored["norms.1.running_var"] = .zeros([5])
        let before = other.first.weight.value.values
        #expect(throws: LoragenError.self) { try other.load { stored[$0] } }
        #expect(other.first.weight.value.values == before)
        stored["norms.1.running_var"] = .full([4], 7)
        try other.load { stored[$0] }
        #expect(other.first.weight.value.values == pair.first.weight.value.values)
        #expect(other.norms[1].runningVariance.value.values == [7, 7, 7, 7])
    }
}
