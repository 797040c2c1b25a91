import Testing

@testable import Tensor

@Suite("Recomputation") struct RecomputationTests {
    private func chain(_ weights: [Parameter<Float>], _ x: Tensor<Float>, recomputing: Bool) -> Tensor<Float> {
        var x = x
        for weight in weights {
            let layer = { (x: Tensor<Float>) in (linear(x, weight: weight.tensor).gelu() * x).tanh() + x }
            x = recomputing ? recomputed(x, layer) : layer(x)
        }
        return x
    }

    @Test("Gradients have the same bytes, nested too, and a constant input still trains the parameters inside")
    func sameBytes() {
        var random = Random(seed: 1)
        let weights = (0..<4).map { _ in Parameter<Float>(random.normal([24, 24], deviation: 0.3)) }
        let input: Tensor<Float> = random.normal([10, 24])
        func run(_ body: (Tensor<Float>) -> Tensor<Float>, _ x: Tensor<Float>) -> [[Float]] {
            for weight in weights { weight.gradient = nil }
            let y = body(x)
            (y * y.detached()).sum().backward()
            return [y.values, x.gradient?.values ?? []] + weights.map { $0.gradient!.values }
        }
        let plain = run({ chain(weights, $0, recomputing: false) }, input.requiringGradient())
        #expect(run({ chain(weights, $0, recomputing: true) }, input.requiringGradient()) == plain)
        let nested = run(
            { x in recomputed(x) { chain(weights, $0, recomputing: true) } }, input.requiringGradient())
        #expect(nested == plain)
        let constant = run({ chain(weights, $0, recomputing: true) }, input)
        #expect(Array(constant[2...]) == Array(plain[2...]))
    }

    @Test("Several inputs; what is not asked for gets no gradient; nothing is recorded without gradients")
    func inputs() {
        let (a, b) = (Tensor<Double>([2, 3]).requiringGradient(), Tensor<Double>([5, 7]))
        recomputed([a, b]) { $0[0] * $0[1] * $0[0] }.sum().backward()
        #expect(a.gradient!.values == [20, 42])
        withoutGradients { #expect(!recomputed(a) { $0 * 2 }.requiresGradient) }
        #expect(!Recomputation.isActive)
        var active: [Bool] = []
        let y = recomputed(a) { x in
            active.append(Recomputation.isActive)
            return x * 3
        }
        y.sum().backward()
        #expect(active == [false, true])
    }
}

/// Counters are one for the process and other tests run beside these: the best of several attempts counts.
@Suite("Memory", .serialized) struct MemoryTests {
    @Test("Bytes go up with a tensor and down with it; the peak stays")
    func counting() {
        let size = 1 << 28
        func attempt() -> Bool {
            Memory.resetPeak()
            let before = Memory.currentBytes
            let during = {
                let x = Tensor<Float>.make([size / 4]) { $0[0] = 0 }
                return withExtendedLifetime(x) { Memory.currentBytes - before }
            }()
            return during >= size && Memory.peakBytes - before >= size && Memory.currentBytes - before < size / 2
        }
        #expect((0..<10).contains { _ in attempt() })
    }

    @Test("A recomputed chain of 16 layers peaks at less than half of the plain one")
    func peak() {
        func peak(_ recomputing: Bool) -> Int {
            let leaf = Tensor<Float>.full([1 << 20], 0.5).requiringGradient()
            Memory.resetPeak()
            let before = Memory.currentBytes
            var x = leaf
            for _ in 0..<16 {
                let layer = { (x: Tensor<Float>) in (x.square().exp() * 0.1).tanh().gelu() }
                x = recomputing ? recomputed(x, layer) : layer(x)
            }
            x.sum().backward()
            return Memory.peakBytes - before
        }
        let (plain, again) = ((0..<5).map { _ in peak(false) }.min()!, (0..<5).map { _ in peak(true) }.min()!)
        #expect(Double(again) < 0.5 * Double(plain), "\(again) of \(plain)")
    }
}
