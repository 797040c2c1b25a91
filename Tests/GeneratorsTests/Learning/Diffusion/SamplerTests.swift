import Tensor
import Testing

@testable import Learning

/// Data N(mean, deviation²), for which the best denoiser, and what every sampler should give, are known.
private struct Gaussian {
    var mean = 0.3
    var deviation = 0.5
    let schedule = NoiseSchedule()

    /// `E[x_0 | x_t]`.
    func denoise(_ x: Tensor<Double>, _ t: Int) -> Tensor<Double> {
        let (a, b) = (schedule.signal(t), schedule.noise(t))
        let v = deviation * deviation
        return (x - a * mean) * (v * a / (a * a * v + b * b)) + mean
    }

    /// The probability-flow ODE keeps `(x_t − a·mean) / √(a²·deviation² + b²)`; this is where it ends.
    func end(of x: Double) -> Double {
        let (a, b) = (schedule.signal(999), schedule.noise(999))
        return mean + deviation * (x - a * mean) / (a * a * deviation * deviation + b * b).squareRoot()
    }

    /// The same, at t = 0 and denoised, where DPM-Solver++ stops.
    func denoisedEnd(of x: Double) -> Double {
        let (a, b) = (schedule.signal(0), schedule.noise(0))
        let v = deviation * deviation
        return mean + v * a / (a * a * v + b * b).squareRoot() * (end(of: x) - mean) / deviation
    }

    func sample(_ sampler: any Sampler, _ start: Tensor<Double>, steps: Int, seed: UInt64 = 1) throws -> Tensor<Double>
    {
        try sampler.sample(
            from: start, schedule: schedule, steps: steps, noise: noise(start.shape, seed),
            denoise: { (x: Tensor<Double>, t: Int) throws(LoragenError) in denoise(x, t) })
    }
}

private func noise(_ shape: [Int], _ seed: UInt64) -> (Int) -> Tensor<Double> {
    { step in
        var random = Random(seed: seed, stream: UInt64(step))
        return random.normal(shape)
    }
}

@Suite struct SamplerTests {
    @Test func `DDIM converges to the solution of the ODE with order 1`() throws {
        let data = Gaussian()
        let errors = try [20, 40, 80].map {
            abs(try data.sample(DDIM(), Tensor([1.7]), steps: $0).item - data.end(of: 1.7))
        }
        for (coarse, fine) in zip(errors, errors.dropFirst()) {
            #expect((1.8...2.2).contains(coarse / fine), "\(errors)")
        }
    }

    @Test func `DPM-Solver++ converges to the solution of the ODE with order 2`() throws {
        let data = Gaussian()
        let errors = try [20, 40, 80].map {
            abs(try data.sample(DPMSolver(), Tensor([1.7]), steps: $0).item - data.denoisedEnd(of: 1.7))
        }
        for (coarse, fine) in zip(errors, errors.dropFirst()) {
            #expect((3.5...4.5).contains(coarse / fine), "\(errors)")
        }
    }

    @Test func `DPM-Solver++ of 20 steps is nearer than DDIM of 80`() throws {
        let data = Gaussian()
        let fine = abs(try data.sample(DPMSolver(), Tensor([1.7]), steps: 20).item - data.denoisedEnd(of: 1.7))
        #expect(fine < abs(try data.sample(DDIM(), Tensor([1.7]), steps: 80).item - data.end(of: 1.7)))
    }

    @Test func `DDIM with eta 1 and all steps equals DDPM with the posterior variance`() throws {
        var random = Random(seed: 5)
        let start: Tensor<Double> = random.normal([40])
        let data = Gaussian()
        let implicit = try data.sample(DDIM(eta: 1), start, steps: 1000)
        let ancestral = try data.sample(DDPM(), start, steps: 1000)
        #expect(relativeError(implicit.values, ancestral.values) < 1e-9)
    }

    @Test("DDPM's samples have the data's mean and variance", arguments: [true, false])
    func ancestralMoments(largeVariance: Bool) throws {
        let count = 4096
        var random = Random(seed: 8)
        let start: Tensor<Double> = random.normal([count])
        let data = Gaussian()
        let samples = try data.sample(DDPM(largeVariance: largeVariance), start, steps: 1000).values
        let mean = samples.reduce(0, +) / Double(count)
        let variance = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count - 1)
        // Four standard errors, and 3 % for 1000 steps in the place of infinitely many.
        #expect(abs(mean - data.mean) < 4 * data.deviation / Double(count).squareRoot())
        let ratio = variance / (data.deviation * data.deviation)
        #expect(abs(ratio - 1) < 4 * (2 / Double(count)).squareRoot() + 0.03, "\(ratio)")
    }

    @Test("a point of data is what every sampler gives", arguments: samplerNames)
    func point(name: String) throws {
        let data = Gaussian(mean: -1.25, deviation: 0)
        let found = sampler(named: name)
        let sampler = try #require(found)
        for steps in [1, 2, 7] {
            let result = try data.sample(sampler, Tensor([0.4, -2, 3]), steps: steps)
            #expect(result.values.allSatisfy { abs($0 + 1.25) < 1e-9 }, "\(steps): \(result)")
        }
    }

    @Test("a sampler is found by its own name, and no other", arguments: samplerNames)
    func names(name: String) {
        let found = sampler(named: name).map { type(of: $0).name }
        #expect(found == name)
        #expect(isUnknown(name.uppercased()))
        #expect(isUnknown(""))
    }

    @Test("the error of a denoiser passes through", arguments: samplerNames)
    func cancelling(name: String) throws {
        let found = sampler(named: name)
        let sampler = try #require(found)
        expectFailure(.cancelled) {
            _ = try sampler.sample(
                from: Tensor<Double>([1]), schedule: NoiseSchedule(), steps: 5, noise: noise([1], 1),
                denoise: { (_: Tensor<Double>, _: Int) throws(LoragenError) -> Tensor<Double> in
                    throw LoragenError(.cancelled, "")
                })
        }
    }
}

@Suite struct PredictionTests {
    @Test("the clean sample comes back from the exact target", arguments: [Prediction.noise, .sample, .velocity])
    func inverse(kind: Prediction) {
        var random = Random(seed: 2)
        let clean: Tensor<Double> = random.normal([3, 5])
        let epsilon: Tensor<Double> = random.normal([3, 5])
        let schedule = NoiseSchedule()
        for t in [0, 400, 999] {
            let (a, b) = (schedule.signal(t), schedule.noise(t))
            let x = clean * a + epsilon * b
            let target = kind.target(clean: clean, epsilon: epsilon, signal: Tensor([a]), noise: Tensor([b]))
            let back = kind.clean(from: target, at: x, signal: a, noise: b)
            #expect(relativeError(back.values, clean.values) < 1e-9)
        }
    }
}

private func isUnknown(_ name: String) -> Bool { sampler(named: name) == nil }
