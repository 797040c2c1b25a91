import Testing

@testable import Tensor

@Suite("Gradients") struct GradientTests {
    @Test("Every operator's gradient is the central difference of its value", arguments: Operator.allCases)
    func finiteDifferences(_ op: Operator) {
        let inputs = op.inputs(Double.self)
        let (_, gradients) = valueAndGradients(op, inputs)
        func loss(_ inputs: [Tensor<Double>]) -> Double {
            let value = op(inputs)
            var random = Random(seed: 77)
            let weights: Tensor<Float> = random.normal(value.shape)
            return (value * weights.converted()).sum().item
        }
        for (index, input) in inputs.enumerated() {
            // mse's target depends on x but is a constant of the loss; its own test below covers it.
            if op == .mse || op == .weightedMSE { continue }
            var numeric = [Double](repeating: 0, count: input.count)
            for i in 0..<input.count {
                func moved(_ step: Double) -> Double {
                    var values = input.values
                    values[i] += step
                    var changed = inputs
                    changed[index] = Tensor(values, shape: input.shape)
                    return loss(changed)
                }
                numeric[i] = (moved(1e-5) - moved(-1e-5)) / 2e-5
            }
            let error = relativeError(gradients[index], Tensor(numeric, shape: input.shape))
            #expect(error < 1e-6, "\(op) input \(index): \(error)")
        }
    }

    @Test("Squared errors: 2 w (x - target) / sum(w)")
    func squaredErrors() {
        let x = Tensor<Double>([1, 2, 3, 4, 5, 6], shape: [2, 3]).requiringGradient()
        let target = Tensor<Double>([0, 0, 0, 1, 1, 1], shape: [2, 3])
        let weight = Tensor<Double>([1, 3], shape: [2, 1])
        let loss = mseLoss(x, target, weight: weight)
        #expect((loss.item - (1.0 + 4 + 9 + 3 * (9 + 16 + 25)) / 12).magnitude < 1e-12)
        loss.backward()
        let expected = [2.0, 4, 6, 18, 24, 30].map { $0 / 12 }
        #expect(relativeError(x.gradient!, Tensor(expected, shape: [2, 3])) < 1e-14)
        let plain = Tensor<Double>([1, 2, 3, 4, 5, 6], shape: [2, 3]).requiringGradient()
        mseLoss(plain, target).backward()
        #expect(relativeError(plain.gradient!, (plain - target).detached() * (2.0 / 6)) < 1e-14)
    }

    @Test("A value used twice gets the sum of both gradients, and a parameter keeps adding up")
    func accumulation() {
        let p = Parameter(Tensor<Double>([2, 3]))
        for round in 1...2 {
            (p.tensor * p.tensor + p.tensor).sum().backward()
            #expect(p.gradient!.values == [5.0 * Double(round), 7.0 * Double(round)])
        }
        p.gradient = nil
        p.isTrainable = false
        #expect(!p.tensor.requiresGradient)
    }

    @Test("Nothing is recorded for constants, nor inside withoutGradients")
    func recording() {
        let leaf = Tensor<Float>([1, 2]).requiringGradient()
        #expect(!(Tensor<Float>([1, 2]) * 3).requiresGradient)
        #expect((leaf * 3).requiresGradient)
        withoutGradients {
            #expect(!(leaf * 3).requiresGradient)
            withoutGradients { #expect(!(leaf + leaf).requiresGradient) }
            #expect(!leaf.exp().requiresGradient)
        }
        #expect(leaf.exp().requiresGradient)
    }

    @Test("A chain of 200,000 operations goes back, and is dropped, without recursion")
    func deepGraph() {
        let leaf = Tensor<Double>(1).requiringGradient()
        func chain() -> Tensor<Double> {
            var x = leaf
            for _ in 0..<200_000 { x = x + 1 }
            return x
        }
        chain().backward()
        #expect(leaf.gradient?.item == 1)
        _ = chain()
    }

    @Test("A derivative of the caller's own is used as given")
    func customDerivative() {
        let x = Tensor<Double>([1, 2]).requiringGradient()
        let rounded = Tensor<Double>([10, 20]).withGradient(of: [x]) { g in [g * 2] }
        rounded.sum().backward()
        #expect(x.gradient?.values == [2, 2])
    }

    @Test("Writing through one handle changes no other")
    func copyOnWrite() {
        let a = Tensor<Float>([1, 2, 3])
        var b = a
        b.withUnsafeMutableBufferPointer { $0[0] = 9 }
        #expect(a.values == [1, 2, 3] && b.values == [9, 2, 3])
    }
}
