import Testing

@testable import Tensor

/// The inputs of make_golden.py.
func ramp(_ shape: [Int], _ s: Int) -> Tensor<Double> {
    Tensor((0..<shape.reduce(1, *)).map { Double((37 * $0 + 11 * s) % 101) / 50 - 1 }, shape: shape)
}

@Suite("Against PyTorch") struct GoldenTests {
    private func expect(_ value: Tensor<Double>, _ golden: [Double], _ what: Comment) {
        #expect(relativeError(value.flattened(), Tensor(golden)) < 1e-12, what)
    }

    /// Runs backward with the script's weights and returns the gradients.
    private func gradients(_ y: Tensor<Double>, _ leaves: Tensor<Double>...) -> [Tensor<Double>] {
        (y * ramp(y.shape, 4)).sum().backward()
        return leaves.map { $0.gradient! }
    }

    @Test("convTranspose1d with stride 3, padding 2, output padding 1")
    func transposedConvolution() {
        let (x, w) = (ramp([2, 3, 4], 1).requiringGradient(), ramp([3, 2, 5], 2).requiringGradient())
        let y = convTranspose1d(x, weight: w, bias: ramp([2], 3), stride: 3, padding: 2, outputPadding: 1)
        expect(y, Golden.convTranspose, "value")
        let g = gradients(y, x, w)
        expect(g[0], Golden.convTransposeDx, "dx")
        expect(g[1], Golden.convTransposeDw, "dw")
    }

    @Test("Layer, instance and RMS norm")
    func norms() {
        let (x, gamma) = (ramp([3, 7], 1).requiringGradient(), ramp([7], 2).requiringGradient())
        let y = layerNorm(x, gamma: gamma, beta: ramp([7], 3))
        expect(y, Golden.layerNorm, "layer norm")
        let g = gradients(y, x, gamma)
        expect(g[0], Golden.layerNormDx, "layer norm dx")
        expect(g[1], Golden.layerNormDgamma, "layer norm dgamma")
        let signal = ramp([2, 3, 5], 1).requiringGradient()
        let z = instanceNorm(signal)
        expect(z, Golden.instanceNorm, "instance norm")
        expect(gradients(z, signal)[0], Golden.instanceNormDx, "instance norm dx")
        let u = ramp([3, 7], 1).requiringGradient()
        let v = rmsNorm(u, gamma: ramp([7], 2))
        expect(v, Golden.rmsNorm, "rms norm")
        expect(gradients(v, u)[0], Golden.rmsNormDx, "rms norm dx")
    }

    @Test("Cross-entropy")
    func entropy() {
        let x = (ramp([3, 5], 1) * 3).requiringGradient()
        let loss = crossEntropy(x, [4, 0, 2])
        loss.backward()
        expect(loss, Golden.crossEntropy, "value")
        expect(x.gradient!, Golden.crossEntropyDx, "dx")
    }

    @Test("Activations")
    func activations() {
        let x = ramp([11], 1) * 3
        expect(x.gelu(), Golden.gelu, "gelu")
        expect(x.geluTanh(), Golden.geluTanh, "gelu, tanh form")
        expect(x.silu(), Golden.silu, "silu")
        expect(x.elu(), Golden.elu, "elu")
        expect(x.leakyReLU(), Golden.leakyReLU, "leaky relu")
        expect(x.softplus(), Golden.softplus, "softplus")
    }
}
