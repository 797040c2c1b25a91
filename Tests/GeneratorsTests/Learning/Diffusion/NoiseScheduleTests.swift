import Testing

@testable import Adapters
@testable import Learning

@Suite struct NoiseScheduleTests {
    @Test func `the linear schedule has the published ends`() {
        let schedule = NoiseSchedule(.linear, count: 1000)
        #expect(abs(schedule.alphaBar[0] - 0.9999) < 1e-12)
        #expect(abs(schedule.alphaBar[999] - 4.04e-5) < 0.005e-5)
        #expect(abs(schedule.betas[999] - 0.02) < 1e-15)
    }

    @Test("signal falls and noise rises, and both squares add to 1", arguments: [NoiseSchedule.Kind.linear, .cosine])
    func monotone(kind: NoiseSchedule.Kind) {
        let schedule = NoiseSchedule(kind, count: 500)
        for t in 1..<500 {
            #expect(schedule.alphaBar[t] < schedule.alphaBar[t - 1])
            #expect(schedule.halfLogSNR(t) < schedule.halfLogSNR(t - 1))
        }
        for t in [-1, 0, 7, 499] {
            let (a, b) = (schedule.signal(t), schedule.noise(t))
            #expect(abs(a * a + b * b - 1) < 1e-12)
        }
        #expect(schedule.signal(-1) == 1)
        #expect(schedule.betas.allSatisfy { $0 > 0 && $0 <= 0.999 })
    }

    @Test func `the cosine schedule follows its formula where beta is not clipped`() {
        let schedule = NoiseSchedule(.cosine, count: 100)
        func f(_ t: Double) -> Double {
            let c = cosine((t / 100 + 0.008) / 1.008 * .pi / 2)
            return c * c
        }
        for t in [0, 10, 50, 90] {
            #expect(abs(schedule.alphaBar[t] - f(Double(t + 1)) / f(0)) < 1e-9)
        }
    }

    @Test(
        "timesteps start at the noisiest, end at 0, fall strictly and are as many as asked for",
        arguments: [2, 3, 7, 20, 1000])
    func timesteps(steps: Int) {
        let times = NoiseSchedule().timesteps(steps)
        #expect(times.count == steps)
        #expect(times.first == 999 && times.last == 0)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 > $1 })
    }

    @Test func `one step starts at the noisiest time, and more steps than times are all times`() {
        #expect(NoiseSchedule(count: 10).timesteps(1) == [9])
        #expect(NoiseSchedule(count: 10).timesteps(0) == [9])
        #expect(NoiseSchedule(count: 10).timesteps(99) == Array((0..<10).reversed()))
    }

    @Test(
        "timesteps of DPM-Solver++ are even in the log signal-to-noise ratio, to the grid",
        arguments: [1, 2, 5, 20, 50])
    func solverTimesteps(steps: Int) {
        let schedule = NoiseSchedule()
        let times = DPMSolver.timesteps(schedule, steps)
        #expect(times.first == 999 && times.count <= steps)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 > $1 })
        guard steps > 1 else { return }
        #expect(times.last == 0)
        let even = (schedule.halfLogSNR(0) - schedule.halfLogSNR(999)) / Double(steps - 1)
        // A grid point is the first behind its mark, so no gap is wider than an even one and the grid's own.
        for (t, next) in zip(times, times.dropFirst()) {
            let gap = schedule.halfLogSNR(next) - schedule.halfLogSNR(t)
            #expect(gap <= even + schedule.halfLogSNR(next) - schedule.halfLogSNR(next + 1) + 1e-9)
        }
    }
}

/// By its series, so that the check does not share the schedule's own library call.
private func cosine(_ x: Double) -> Double {
    var (term, sum) = (1.0, 1.0)
    for k in 1..<15 {
        term *= -x * x / Double((2 * k - 1) * (2 * k))
        sum += term
    }
    return sum
}
