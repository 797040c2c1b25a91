import Tensor
import Testing

@testable import NN

@Suite("Training") struct TrainingTests {
    private func trained(_ make: ([(name: String, parameter: Parameter<Double>)]) -> AdamW<Double>) -> Tensor<Double> {
        let p = Parameter(ramp([6], 1))
        let optimiser = make([("p", p)])
        for step in 0..<3 {
            optimiser.clearGradients()
            (p.tensor * p.tensor * ramp([6], step + 2)).sum().backward()
            optimiser.step(rate: 0.1)
        }
        return p.value
    }

    @Test("Three steps of AdamW and of Adam as in PyTorch")
    func adamw() {
        expect(trained { AdamW($0, decay: 0.05, betas: (0.8, 0.99)) }, Golden.adamw, "AdamW")
        expect(trained { AdamW($0, decay: 0) }, Golden.adam, "Adam")
    }

    @Test("Clipping the gradient norm as in PyTorch")
    func clipping() {
        let p = Parameter(ramp([6], 1))
        (p.tensor * p.tensor).sum().backward()
        let norm = gradientNorm([p])
        expect(Tensor(norm), Golden.clipNorm, "norm")
        expect(p.gradient! * clipFactor(norm: norm, maximum: 0.5), Golden.clipped, "clipped")
        #expect(clipFactor(norm: 0.1, maximum: 0.5) == 1)
    }

    @Test("A run that is stopped, stored and resumed gives the same bytes")
    func resume() throws {
        func model(_ random: inout Random) -> Linear<Float> { Linear(inputs: 20, outputs: 30, random: &random) }
        func step(_ layer: Linear<Float>, _ optimiser: AdamW<Float>, _ average: WeightAverage<Float>, _ r: inout Random)
        {
            optimiser.clearGradients()
            mseLoss(layer(r.normal([8, 20])), r.normal([8, 30])).backward()
            let factor = clipFactor(norm: gradientNorm(layer.parameters), maximum: 0.3)
            optimiser.step(rate: 1e-2, gradientScale: factor)
            average.update()
        }
        var random = Random(seed: 4)
        let whole = model(&random)
        let optimiser = AdamW(whole.namedParameters)
        let average = WeightAverage(whole.namedParameters, decay: 0.9, warmsUp: true)
        for _ in 0..<5 { step(whole, optimiser, average, &random) }
        let saved = Dictionary(
            uniqueKeysWithValues: (whole.namedTensors() + optimiser.state() + average.state()).map {
                ($0.name, $0.tensor)
            })
        var later = random
        for _ in 0..<5 { step(whole, optimiser, average, &random) }

        var fresh = Random(seed: 99)
        let resumed = model(&fresh)
        let second = AdamW(resumed.namedParameters)
        let secondAverage = WeightAverage(resumed.namedParameters, decay: 0.9, warmsUp: true)
        try resumed.load { saved[$0] }
        try second.load { saved[$0] }
        try secondAverage.load { saved[$0] }
        for _ in 0..<5 { step(resumed, second, secondAverage, &later) }
        for (a, b) in zip(whole.namedTensors() + average.state(), resumed.namedTensors() + secondAverage.state()) {
            #expect(a.tensor.values == b.tensor.values, "\(a.name)")
        }
        #expect(throws: LoragenError.self) { try second.load { _ in nil } }
        #expect(throws: LoragenError.self) { try secondAverage.load { _ in nil } }
    }

    @Test("Groups have rates and decays of their own; frozen parameters stay")
    func groups() {
        let (a, b, c) = (Parameter<Double>(.ones([3])), Parameter<Double>(.ones([3])), Parameter<Double>(.ones([3])))
        c.isTrainable = false
        let optimiser = AdamW<Double>(groups: [
            .init([("a", a), ("c", c)], rate: 1, decay: 0), .init([("b", b)], rate: 0.5, decay: 0),
        ])
        (a.tensor + b.tensor + c.tensor).sum().backward()
        optimiser.step(rate: 0.1)
        #expect((a.value[0] - 0.9).magnitude < 1e-6 && (b.value[0] - 0.95).magnitude < 1e-6 && c.value[0] == 1)
    }

    @Test("Schedules: their ends, their middle, and PyTorch's plateau rule")
    func schedules() {
        #expect(Schedule.constant.factor(at: 10) == 1)
        let cosine = Schedule.cosine(steps: 100, floor: 0.1)
        #expect(cosine.factor(at: 0) == 1 && (cosine.factor(at: 50) - 0.55).magnitude < 1e-12)
        #expect(cosine.factor(at: 100) == 0.1 && cosine.factor(at: 1000) == 0.1)
        let warm = Schedule.warmupCosine(warmup: 10, steps: 110)
        #expect(warm.factor(at: 0) == 0.1 && warm.factor(at: 9) == 1 && warm.factor(at: 10) == 1)
        #expect((warm.factor(at: 60) - 0.5).magnitude < 1e-12 && warm.factor(at: 110) == 0)
        let late = Schedule.constantThenCosine(steps: 100, fraction: 0.3)
        #expect(late.factor(at: 69) == 1 && (late.factor(at: 85) - 0.5).magnitude < 1e-12 && late.factor(at: 100) == 0)
        var plateau = ReduceOnPlateau(reduction: 0.5, patience: 2, cooldown: 1)
        let losses: [Double] = [5, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3]
        expect(Tensor(losses.map { plateau.update(loss: $0) }), Golden.plateau, "plateau")
    }

    @Test("The average follows its recurrence, and swapping twice changes nothing")
    func weightAverage() {
        let p = Parameter<Double>(Tensor([1]))
        let average = WeightAverage([("p", p)], decay: 0.5)
        p.value = Tensor([3])
        average.update()
        #expect(average.withAverages { p.value.item } == 2 && p.value.item == 3)
        let warm = WeightAverage([("p", p)], decay: 0.999, warmsUp: true)
        p.value = Tensor([14])
        warm.update()  // decay (1 + 1) / (10 + 1)
        let expected: Double = 132.0 / 11  // (2 * 3 + 9 * 14) / 11
        let swapped: Double = warm.withAverages { p.value.item }
        #expect((swapped - expected).magnitude < 1e-12)
    }

    @Test("A small network learns exclusive or")
    func learning() {
        var random = Random(seed: 7)
        let hidden = Linear<Float>(inputs: 2, outputs: 16, random: &random)
        let output = Linear<Float>(inputs: 16, outputs: 2, random: &random)
        let optimiser = AdamW(hidden.namedParameters.map { ("h." + $0.name, $0.parameter) } + output.namedParameters)
        let x = Tensor<Float>([0, 0, 0, 1, 1, 0, 1, 1], shape: [4, 2])
        var loss: Float = 0
        for _ in 0..<300 {
            optimiser.clearGradients()
            let value = crossEntropy(output(hidden(x).tanh()), [0, 1, 1, 0])
            value.backward()
            optimiser.step(rate: 0.03)
            loss = value.item
        }
        #expect(loss < 0.02)
    }
}
