import Testing

@testable import Tensor

@Suite("Precision") struct PrecisionTests {
    @Test("Every operator in Float is within 1e-5 of Double, value and gradients", arguments: Operator.allCases)
    func floatAgainstDouble(_ op: Operator) {
        let (value, gradients) = valueAndGradients(op, op.inputs(Float.self, seed: 5))
        let (reference, exact) = valueAndGradients(op, op.inputs(Double.self, seed: 5))
        #expect(relativeError(value, reference) < 1e-5, "\(op) value \(relativeError(value, reference))")
        for (index, (a, b)) in zip(gradients, exact).enumerated() {
            // Normalisations take the gradient's common part away: what is left carries its rounding.
            #expect(relativeError(a, b) < 1e-5, "\(op) gradient \(index): \(relativeError(a, b))")
        }
    }

    @Test("Functions of one number stay within a few units in the last place over their whole range")
    func elementary() {
        let x = Tensor<Float>((0...200_000).map { Float($0 - 100_000) * 1e-3 * ($0 % 2 == 0 ? 1 : 0.03) })
        let wide = x.converted(to: Double.self)
        func check(_ name: String, _ f: Tensor<Float>, _ d: Tensor<Double>, _ bound: Double) {
            var worst = 0.0
            var at = Float(0)
            for (i, (a, b)) in zip(f.values, d.values).enumerated()
            where b.magnitude > 1e-36 && b.magnitude < 3e38 {
                let error = (Double(a) - b).magnitude / b.magnitude
                if error > worst { (worst, at) = (error, x[i]) }
            }
            #expect(worst < bound, "\(name): \(worst) at \(at)")
        }
        check("exp", x.exp(), wide.exp(), 3e-7)
        check("tanh", x.tanh(), wide.tanh(), 3e-7)
        check("sigmoid", x.sigmoid(), wide.sigmoid(), 5e-7)
        check("silu", x.silu(), wide.silu(), 5e-7)
        check("softplus", x.softplus(), wide.softplus(), 1e-6)
        check("elu", x.elu(), wide.elu(), 1e-6)
        check("log", (x.abs() + 1e-3).log(), (x.abs() + 1e-3).converted(to: Double.self).log(), 1e-6)
        let middle = x.clamp(-4, 4)
        check("gelu", middle.gelu(), middle.converted(to: Double.self).gelu(), 2e-6)
    }

    @Test("Infinities and NaN come out as IEEE asks")
    func specials() {
        let x = Tensor<Float>([.infinity, -.infinity, .nan, 0, -1])
        #expect(x.exp().values[0] == .infinity && x.exp().values[1] == 0 && x.exp().values[2].isNaN)
        let logs = x.log().values
        #expect(logs[0] == .infinity && logs[1].isNaN && logs[2].isNaN && logs[3] == -.infinity && logs[4].isNaN)
        #expect(x.tanh().values[0] == 1 && x.tanh().values[1] == -1 && x.tanh().values[2].isNaN)
        #expect(x.sigmoid().values[0] == 1 && x.sigmoid().values[1] == 0)
        #expect(x.gelu().values[2].isNaN && x.relu().values[2].isNaN)
        #expect(!x.isFinite && Tensor<Float>([1, 2, 3]).isFinite)
        #expect(!Tensor<Double>([Double](repeating: 0, count: 40) + [.nan]).isFinite)
    }

    @Test("A sum of ten million numbers in Float keeps six digits")
    func longSums() {
        let n = 10_000_000
        let x = Tensor<Float>.full([n], 0.1)
        #expect((Double(x.sum().item) / (Double(Float(0.1)) * Double(n)) - 1).magnitude < 1e-6)
        let columns = x.reshaped([n / 10, 10]).sum(axes: [0])
        #expect((Double(columns[3]) / (Double(Float(0.1)) * Double(n / 10)) - 1).magnitude < 5e-6)
    }
}
