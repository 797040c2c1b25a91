import CKernels

/// The extents of Mamba-2's mixer (Dao & Gu, "Transformers are SSMs", 2024; mamba_ssm's `Mamba2` with one group).
public struct StateSpaceShape: Sendable, Equatable {
    public let heads: Int
    /// Numbers a head.
    public let headDim: Int
    /// The state is [headDim, state] for each head.
    public let state: Int
    /// Taps of the causal convolution.
    public let taps: Int

    public init(heads: Int, headDim: Int, state: Int, taps: Int) {
        precondition(heads > 0 && headDim > 0 && state > 0 && taps > 0, "an empty state space")
        (self.heads, self.headDim, self.state, self.taps) = (heads, headDim, state, taps)
    }

    public var inner: Int { heads * headDim }
    /// Channels of the convolution: x, B and C side by side.
    public var channels: Int { inner + 2 * state }
    /// Columns of the projected input: z, x, B, C, dt.
    public var columns: Int { inner + channels + heads }
}

/// The parameters of the mixer beside its two linear layers.
public struct StateSpaceParameters<E: Element> {
    /// [channels, taps] and [channels]
    public let convolution: Tensor<E>
    public let convolutionBias: Tensor<E>
    /// [heads] each: dt = softplus(dt + dtBias), A = -exp(aLog), y += skip x
    public let dtBias: Tensor<E>
    public let aLog: Tensor<E>
    public let skip: Tensor<E>
    /// [inner], of the gated norm
    public let gamma: Tensor<E>

    public init(
        convolution: Tensor<E>, convolutionBias: Tensor<E>, dtBias: Tensor<E>, aLog: Tensor<E>, skip: Tensor<E>,
        gamma: Tensor<E>
    ) {
        (self.convolution, self.convolutionBias, self.dtBias) = (convolution, convolutionBias, dtBias)
        (self.aLog, self.skip, self.gamma) = (aLog, skip, gamma)
    }

    var all: [Tensor<E>] { [convolution, convolutionBias, dtBias, aLog, skip, gamma] }
    func detached() -> StateSpaceParameters {
        StateSpaceParameters(
            convolution: convolution.detached(), convolutionBias: convolutionBias.detached(),
            dtBias: dtBias.detached(), aLog: aLog.detached(), skip: skip.detached(), gamma: gamma.detached())
    }
}

/// What stands between the two linear layers of a Mamba-2 block. Columns of x [B, T, columns] are z, x, B, C, dt: a
/// causal convolution with SiLU over x, B and C; the selective scan; RMSNorm(y silu(z)) gamma. The result is
/// [B, T, inner].
///
/// The scan runs in chunks of 64 tokens as matrix products. For the way back x, the scan's result and nothing else is
/// kept; the convolution and the states at the chunks' starts are computed again.
public func stateSpaceMixer<E: Element>(
    _ x: Tensor<E>, _ parameters: StateSpaceParameters<E>, shape: StateSpaceShape, eps: Double = 1e-5
) -> Tensor<E> {
    precondition(x.rank == 3 && x.shape[2] == shape.columns, "mixer of \(x.shape), columns \(shape.columns)")
    let expected =
        [[shape.channels, shape.taps], [shape.channels]]
        + [[Int]](repeating: [shape.heads], count: 3) + [[shape.inner]]
    precondition(parameters.all.map { $0.shape } == expected, "parameters of a mixer with \(shape)")
    let run = MixerRun(x.detached(), parameters.detached(), shape, eps)
    let y = run.scan(run.convolved())
    let result = run.gate(y)
    guard lk_gradients_enabled(), ([x] + parameters.all).contains(where: { $0.requiresGradient }) else {
        return result
    }
    return result.recorded(from: [x] + parameters.all) { g, inputs in
        for (input, part) in zip(inputs, run.back(g, y)) { input?.accumulate(part) }
    }
}

/// What a mixer hands from one run of tokens to the next.
public struct StateSpaceMemory<E: Element> {
    /// The last tokens that the convolution still reads, `[B, up to taps - 1, columns]`; nil at the start.
    fileprivate var rows: Tensor<E>?
    /// `[B, heads, state, headDim]`
    fileprivate var states: Tensor<E>?

    public init() {}
}

/// The mixer over the next tokens of sequences, without gradients: x [B, T, columns] with T a multiple of 64 except in
/// the last run. The same bytes as one run over all tokens.
public func stateSpaceMixer<E: Element>(
    _ x: Tensor<E>, _ parameters: StateSpaceParameters<E>, shape: StateSpaceShape,
    continuing memory: inout StateSpaceMemory<E>, eps: Double = 1e-5
) -> Tensor<E> {
    precondition(x.rank == 3 && x.shape[2] == shape.columns, "mixer of \(x.shape), columns \(shape.columns)")
    let run = MixerRun(x.detached(), parameters.detached(), shape, eps)
    let before = memory.rows
    let joined = before.map { Tensor.concatenate([$0, run.x], axis: 1) } ?? run.x
    var states = memory.states ?? .zeros([x.shape[0], shape.heads, shape.state, shape.headDim])
    memory = StateSpaceMemory()
    let convolved = run.convolved(joined, after: before?.shape[1] ?? 0)
    let y = states.withUnsafeMutableBufferPointer { run.scan(convolved, states: $0.baseAddress) }
    let count = joined.shape[1]
    memory.rows = joined.slice(axis: 1, max(0, count - shape.taps + 1)..<count)
    memory.states = states
    return run.gate(y)
}

/// One pass of the mixer over x [B, T, columns].
private struct MixerRun<E: Element> {
    let x: Tensor<E>
    let p: StateSpaceParameters<E>
    let shape: StateSpaceShape
    let eps: Double
    /// [taps, channels]: the order in which the convolution reads it.
    let taps: Tensor<E>

    init(_ x: Tensor<E>, _ p: StateSpaceParameters<E>, _ shape: StateSpaceShape, _ eps: Double) {
        (self.x, self.p, self.shape, self.eps) = (x, p, shape, eps)
        taps = p.convolution.transposed()
    }

    private var batch: Int { x.shape[0] }
    private var tokens: Int { x.shape[1] }
    private var chunk: Int { LK_SCAN_CHUNK }
    private var chunks: Int { (tokens + chunk - 1) / chunk }
    /// Heads of one task of the way back: they share a sum for B and C.
    private var headGroup: Int { min(8, shape.heads) }
    private var headGroups: Int { (shape.heads + headGroup - 1) / headGroup }

    private func sample(_ b: Int) -> UnsafeMutablePointer<E> { x.storage.base + b * tokens * shape.columns }

    private var convolution: lk_causal_conv {
        lk_causal_conv(
            tokens: tokens, channels: shape.channels, taps: shape.taps, pitch: shape.columns,
            weight: taps.storage.base, bias: p.convolutionBias.storage.base)
    }

    /// x, B and C after convolution and SiLU: [B, T, channels].
    func convolved() -> Tensor<E> { convolved(x, after: 0) }

    /// The same with `skipped` tokens before x in `joined`, which the convolution reads and gives no result for.
    func convolved(_ joined: Tensor<E>, after skipped: Int) -> Tensor<E> {
        let (wide, all) = (shape.channels, tokens + skipped)
        return Tensor.make([batch, tokens, wide]) { to in
            var s = convolution
            s.tokens = all
            let grain = max(1, 16384 / wide)
            let pieces = (tokens + grain - 1) / grain
            Threads.parallelFor(batch * pieces) { task in
                let (b, first) = (task / pieces, task % pieces * grain)
                lk_causal_conv_silu(
                    E.kind, &s, joined.storage.base + b * all * shape.columns + shape.inner,
                    to + (b * tokens - skipped) * wide, wide, skipped + first, skipped + min(tokens, first + grain))
            }
        }
    }

    private func description(
        _ convolved: Tensor<E>, _ scores: Storage<E>, _ b: Int, states: UnsafeMutablePointer<E>? = nil
    ) -> lk_scan {
        let base = convolved.storage.base + b * tokens * shape.channels
        return lk_scan(
            tokens: tokens, heads: shape.heads, headDim: shape.headDim, state: shape.state, x: base,
            b: base + shape.inner, c: base + shape.inner + shape.state, pitch: shape.channels,
            dt: sample(b) + shape.inner + shape.channels, dtPitch: shape.columns, dtBias: p.dtBias.storage.base,
            aLog: p.aLog.storage.base, d: p.skip.storage.base, scores: scores.base + b * chunks * chunk * chunk,
            states: states.map { $0 + b * shape.heads * shape.state * shape.headDim })
    }

    /// C Bᵀ within each chunk: [B, chunks, chunk, chunk].
    private func scores(_ convolved: Tensor<E>) -> Storage<E> {
        let result = Storage<E>(count: batch * chunks * chunk * chunk)
        Threads.parallelFor(batch * chunks) { task in
            var s = description(convolved, result, task / chunks)
            let scratch = Storage<E>(count: shape.state * chunk)
            lk_scan_scores(
                E.kind, &s, task % chunks * chunk, result.base + task * chunk * chunk, scratch.base)
            withExtendedLifetime(scratch) {}
        }
        return result
    }

    /// y [B, T, inner]
    func scan(_ convolved: Tensor<E>, states: UnsafeMutablePointer<E>? = nil) -> Tensor<E> {
        let scores = scores(convolved)
        return Tensor.make([batch, tokens, shape.inner]) { to in
            Threads.parallelFor(batch * shape.heads) { task in
                let b = task / shape.heads
                var s = description(convolved, scores, b, states: states)
                let scratch = Storage<E>(count: lk_scan_forward_scratch(&s))
                lk_scan_forward(
                    E.kind, &s, task % shape.heads, to + b * tokens * shape.inner, shape.inner, scratch.base)
                withExtendedLifetime(scratch) {}
            }
        }
    }

    /// RMSNorm(y silu(z)) gamma
    func gate(_ y: Tensor<E>) -> Tensor<E> {
        let d = shape.inner
        return Tensor.make(y.shape) { to in
            Threads.over(batch * tokens, grain: max(1, 16384 / d)) { r, n in
                lk_gated_norm(
                    E.kind, n, d, eps, y.storage.base + r * d, x.storage.base + r * shape.columns, shape.columns,
                    p.gamma.storage.base, to + r * d)
            }
        }
    }

    /// Gradients of x and of the parameters in their order.
    func back(_ g: Tensor<E>, _ y: Tensor<E>) -> [Tensor<E>] {
        let dx = Tensor<E>(storage: Storage(count: x.count), shape: x.shape)
        let (dy, dgamma) = gateBack(g, y, dx)
        let convolved = convolved()
        let (dconvolved, sums) = scanBack(dy, convolved, dx)
        let (dweight, dbias) = convolutionBack(dconvolved, dx)
        return [dx, dweight, dbias] + sums + [dgamma]
    }

    /// Writes the columns z of dx.
    private func gateBack(_ g: Tensor<E>, _ y: Tensor<E>, _ dx: Tensor<E>) -> (Tensor<E>, Tensor<E>) {
        let (d, rows) = (shape.inner, batch * tokens)
        let perGroup = max(1, (rows + 31) / 32)
        let groups = max(1, (rows + perGroup - 1) / perGroup)
        let dgamma = Tensor<E>.zeros([groups, d])
        let dy = Tensor<E>.make(y.shape) { to in
            Threads.parallelFor(groups) { group in
                let r = group * perGroup
                let scratch = Storage<E>(count: 2 * d)
                lk_gated_norm_backward(
                    E.kind, max(0, min(perGroup, rows - r)), d, eps, y.storage.base + r * d,
                    x.storage.base + r * shape.columns, shape.columns, p.gamma.storage.base, g.storage.base + r * d,
                    to + r * d, dx.storage.base + r * shape.columns, shape.columns,
                    dgamma.storage.base + group * d, scratch.base)
                withExtendedLifetime(scratch) {}
            }
        }
        return (dy, dgamma.sum(axes: [0]))
    }

    /// Writes the columns dt of dx; returns the gradients of `convolved` and of dtBias, aLog and skip.
    private func scanBack(
        _ dy: Tensor<E>, _ convolved: Tensor<E>, _ dx: Tensor<E>
    ) -> (Tensor<E>, [Tensor<E>]) {
        let (n, wide, heads) = (shape.state, shape.channels, shape.heads)
        let scores = scores(convolved)
        let result = Tensor<E>(storage: Storage(count: convolved.count), shape: convolved.shape)
        // [B, groups, 2, T, state]: each group's part of the gradients of B and C
        let parts = Storage<E>(count: batch * headGroups * 2 * tokens * n)
        let sums = Tensor<Double>.zeros([batch, heads, 3])
        Threads.parallelFor(batch * headGroups) { task in
            let (b, first) = (task / headGroups, task % headGroups * headGroup)
            var s = description(convolved, scores, b)
            let last = min(heads, first + headGroup)
            let scratch = Storage<E>(count: lk_scan_backward_scratch(&s, last - first))
            let square = Storage<E>(count: chunk * chunk)
            let part = parts.base + task * 2 * tokens * n
            var gradient = lk_scan_gradient(
                g: dy.storage.base + b * tokens * shape.inner, gPitch: shape.inner,
                dx: result.storage.base + b * tokens * wide, dxPitch: wide, db: part, dc: part + tokens * n,
                ddt: dx.storage.base + b * tokens * shape.columns + shape.inner + wide, ddtPitch: shape.columns,
                sums: sums.storage.base + b * heads * 3, dscores: square.base)
            lk_scan_backward(E.kind, &s, &gradient, first, last, scratch.base)
            withExtendedLifetime((scratch, square)) {}
        }
        Threads.over(batch * tokens, grain: max(1, 16384 / (n * headGroups))) { first, count in
            for row in first..<first + count {
                let (b, t) = (row / tokens, row % tokens)
                let to = result.storage.base + row * wide + shape.inner
                lk_fill(E.kind, 2 * n, 0, to)
                for group in 0..<headGroups {
                    let from = parts.base + ((b * headGroups + group) * 2 * tokens + t) * n
                    lk_axpby(E.kind, n, 1, from, 1, to)
                    lk_axpby(E.kind, n, 1, from + tokens * n, 1, to + n)
                }
            }
        }
        let perHead = sums.sum(axes: [0]).transposed()
        return (result, (0..<3).map { perHead.slice(axis: 0, $0..<$0 + 1).reshaped([heads]).converted(to: E.self) })
    }

    /// Writes the columns x, B and C of dx; returns the gradients of weight [channels, taps] and bias.
    private func convolutionBack(_ g: Tensor<E>, _ dx: Tensor<E>) -> (Tensor<E>, Tensor<E>) {
        let (wide, block) = (shape.channels, 64)
        let blocks = (wide + block - 1) / block
        let dweight = Tensor<E>.zeros([batch, shape.taps, wide])
        let dbias = Tensor<E>.zeros([batch, wide])
        Threads.parallelFor(batch * blocks) { task in
            var s = convolution
            let (b, first) = (task / blocks, task % blocks * block)
            let last = min(wide, first + block)
            let scratch = Storage<E>(count: tokens * (last - first))
            lk_causal_conv_silu_backward(
                E.kind, &s, sample(b) + shape.inner, g.storage.base + b * tokens * wide, wide,
                dx.storage.base + b * tokens * shape.columns + shape.inner, shape.columns,
                dweight.storage.base + b * shape.taps * wide, dbias.storage.base + b * wide, first, last,
                scratch.base)
            withExtendedLifetime(scratch) {}
        }
        return (dweight.sum(axes: [0]).transposed(), dbias.sum(axes: [0]))
    }
}
