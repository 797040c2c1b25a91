import Glibc
import Testing

@testable import Tensor

/// The mixer by its definition, one token after another, from operations with gradients of their own.
private func recurrence<E: Element>(
    _ x: Tensor<E>, _ p: StateSpaceParameters<E>, shape s: StateSpaceShape
) -> Tensor<E> {
    let (batch, tokens) = (x.shape[0], x.shape[1])
    let parts = x.split(axis: 2, [s.inner, s.channels, s.heads])
    let padded = Tensor.concatenate([Tensor.zeros([batch, s.taps - 1, s.channels]), parts[1]], axis: 1)
    var mixed = p.convolutionBias
    let taps = p.convolution.transposed()
    for j in 0..<s.taps { mixed = mixed + padded.slice(axis: 1, j..<j + tokens) * taps.slice(axis: 0, j..<j + 1) }
    let columns = mixed.silu().split(axis: 2, [s.inner, s.state, s.state])
    let dt = (parts[2] + p.dtBias).softplus()
    let decay = (dt * -p.aLog.exp()).exp()
    var h = Tensor<E>.zeros([batch, s.heads, s.headDim, s.state])
    var rows: [Tensor<E>] = []
    for t in 0..<tokens {
        func at(_ x: Tensor<E>, _ shape: [Int]) -> Tensor<E> { x.slice(axis: 1, t..<t + 1).reshaped([batch] + shape) }
        let u = at(columns[0], [s.heads, s.headDim, 1])
        let input = u * at(dt, [s.heads, 1, 1]) * at(columns[1], [1, 1, s.state])
        h = h * at(decay, [s.heads, 1, 1]) + input
        let y = (h * at(columns[2], [1, 1, s.state])).sum(axes: [3])
        rows.append((y + u.reshaped(y.shape) * p.skip.reshaped([s.heads, 1])).reshaped([batch, 1, s.inner]))
    }
    return rmsNorm(Tensor.concatenate(rows, axis: 1) * parts[0].silu(), gamma: p.gamma, eps: 1e-5)
}

@Suite("Mamba-2's mixer") struct StateSpaceTests {
    /// x and the six parameters, as they are at the start of training.
    private func inputs(_ s: StateSpaceShape, batch: Int, tokens: Int) -> [Tensor<Float>] {
        var random = Random(seed: 12)
        let heads = [s.heads]
        let rates: Tensor<Float> = random.uniform(heads, low: 1, high: 16)
        return [
            random.normal([batch, tokens, s.columns]), random.uniform([s.channels, s.taps], low: -0.5, high: 0.5),
            random.uniform([s.channels], low: -0.5, high: 0.5), random.uniform(heads, low: -6, high: -2), rates.log(),
            random.normal(heads), random.uniform([s.inner], low: 0.5, high: 1.5),
        ]
    }

    private func parameters<E: Element>(_ x: [Tensor<E>]) -> StateSpaceParameters<E> {
        StateSpaceParameters(
            convolution: x[1], convolutionBias: x[2], dtBias: x[3], aLog: x[4], skip: x[5], gamma: x[6])
    }

    @Test func `runs of tokens that continue each other give the bytes of one run`() {
        let shape = StateSpaceShape(heads: 3, headDim: 5, state: 7, taps: 4)
        for tokens in [150, 128, 64, 2] {
            let given = inputs(shape, batch: 2, tokens: tokens)
            let whole = stateSpaceMixer(given[0], parameters(given), shape: shape)
            for run in [64, 128] {
                var memory = StateSpaceMemory<Float>()
                let parts = stride(from: 0, to: tokens, by: run).map { first in
                    stateSpaceMixer(
                        given[0].slice(axis: 1, first..<min(tokens, first + run)), parameters(given), shape: shape,
                        continuing: &memory)
                }
                let same = Tensor.concatenate(parts, axis: 1).values == whole.values
                #expect(same, "\(tokens) tokens in runs of \(run)")
            }
        }
    }

    private func gradients<E: Element>(
        _ inputs: [Tensor<Float>], _ body: ([Tensor<E>]) -> Tensor<E>
    ) -> [Tensor<E>] {
        let leaves = inputs.map { $0.converted(to: E.self).requiringGradient() }
        let y = body(leaves)
        var random = Random(seed: 13)
        let weights: Tensor<Float> = random.normal(y.shape)
        (y * weights.converted()).sum().backward()
        return [y.detached()] + leaves.map { $0.gradient! }
    }

    static let shapes = [
        (StateSpaceShape(heads: 2, headDim: 64, state: 32, taps: 4), 1, 130),
        (StateSpaceShape(heads: 9, headDim: 16, state: 16, taps: 4), 2, 64),
        (StateSpaceShape(heads: 3, headDim: 5, state: 7, taps: 2), 2, 71),
        (StateSpaceShape(heads: 1, headDim: 8, state: 128, taps: 4), 1, 1),
    ]

    @Test(
        "Chunks give what the recurrence gives: 1e-10 in Double, 1e-5 in Float, value and gradients", arguments: 0..<4)
    func chunks(_ index: Int) {
        let (shape, batch, tokens) = StateSpaceTests.shapes[index]
        let given = inputs(shape, batch: batch, tokens: tokens)
        let exact: [Tensor<Double>] = gradients(given) { recurrence($0[0], parameters($0), shape: shape) }
        let plain: [Tensor<Float>] = gradients(given) { recurrence($0[0], parameters($0), shape: shape) }
        let double: [Tensor<Double>] = gradients(given) { stateSpaceMixer($0[0], parameters($0), shape: shape) }
        let float: [Tensor<Float>] = gradients(given) { stateSpaceMixer($0[0], parameters($0), shape: shape) }
        for (i, reference) in exact.enumerated() {
            // After one token nothing has decayed: A has no gradient.
            if tokens == 1 && i == 5 { continue }
            #expect(relativeError(double[i], reference) < 1e-10, "\(i): \(relativeError(double[i], reference))")
            // A single token of a single head: the norm takes its scale away, and with it nearly all of the gradients of
            // dt and D. What rounding leaves of them is no worse than in the recurrence.
            let bound = tokens == 1 ? max(1e-5, 2 * relativeError(plain[i], reference)) : 1e-5
            #expect(relativeError(float[i], reference) < bound, "\(i): \(relativeError(float[i], reference))")
        }
    }

    @Test("Steps of order one, whose sums over a chunk reach the hundreds, keep 1e-5 in Float")
    func longSums() {
        let shape = StateSpaceShape(heads: 4, headDim: 8, state: 16, taps: 4)
        var given = inputs(shape, batch: 1, tokens: 150)
        given[3] = .full([shape.heads], 1)
        let exact: [Tensor<Double>] = gradients(given) { recurrence($0[0], parameters($0), shape: shape) }
        let float: [Tensor<Float>] = gradients(given) { stateSpaceMixer($0[0], parameters($0), shape: shape) }
        for (i, (a, b)) in zip(float, exact).enumerated() {
            #expect(relativeError(a, b) < 1e-5, "\(i): \(relativeError(a, b))")
        }
    }

    @Test("A later token never changes an earlier result")
    func causality() {
        let (shape, _, _) = StateSpaceTests.shapes[1]
        let given = inputs(shape, batch: 1, tokens: 200)
        for position in [0, 63, 64, 150, 199] {
            var changed = given
            changed[0].withUnsafeMutableBufferPointer {
                for i in position * shape.columns..<(position + 1) * shape.columns { $0[i] += 1 }
            }
            let a = stateSpaceMixer(given[0], parameters(given), shape: shape)
            let b = stateSpaceMixer(changed[0], parameters(changed), shape: shape)
            #expect(a.slice(axis: 1, 0..<position).values == b.slice(axis: 1, 0..<position).values)
            #expect(
                a.slice(axis: 1, position..<position + 1).values != b.slice(axis: 1, position..<position + 1).values)
        }
    }

    @Test("Steps so large that a chunk's decay is 0 give finite values and gradients")
    func extremes() {
        let (shape, _, _) = StateSpaceTests.shapes[0]
        var given = inputs(shape, batch: 1, tokens: 130)
        given[3] = .full([shape.heads], 40)
        let exact: [Tensor<Double>] = gradients(given) { recurrence($0[0], parameters($0), shape: shape) }
        let float: [Tensor<Float>] = gradients(given) { stateSpaceMixer($0[0], parameters($0), shape: shape) }
        #expect(float.allSatisfy { $0.isFinite })
        #expect(relativeError(float[0], exact[0]) < 1e-5)
    }
}
