import Learning
import Tensor

// Sampling in two calls, so that long sequences need little memory at a time: prototypes for all tokens, then denoising
// for any run of tokens. A token's noise depends on seed, sample and its place in the sequence alone.
extension RPG {
    /// Tokens that are projected and denoised together. Chunks begin at multiples of it, so that products of matrices have
    /// the same shapes, and results the same bytes, whatever the chunk.
    static let block = 64
    /// Tokens in a chunk.
    private static let chunk = 256

    /// A token of a sample: the sample's own random source, and the token's place.
    struct Place {
        var random: Random
        var token: Int

        /// Normal numbers of a step; step 0 is the start.
        func fill(step: Int, _ buffer: UnsafeMutableBufferPointer<Float>) {
            // A token takes at most 2^18 blocks, a sequence at most 2^24 tokens.
            var fresh = Random(
                seed: random.seed, stream: random.stream, position: UInt64(step) << 42 | UInt64(token) << 18)
            fresh.fillNormal(buffer)
        }
    }

    /// The prototypes of samples, `[S, N, outputWidth]`, for conditions `[S, C]`; each draws its permutation state.
    func prototypes(conditions: Tensor<Float>, streams: [Random]) -> Tensor<Float> {
        var blocks = PrototypeBlocks(self, conditions: conditions, streams: streams)
        var parts: [Tensor<Float>] = []
        while let next = blocks.next() { parts.append(next) }
        return .concatenate(parts, axis: 1)
    }

    /// What the denoiser reads of prototypes `[M, outputWidth]`; without a denoiser, the tokens themselves.
    func context(_ prototypes: Tensor<Float>) -> Tensor<Float> {
        projected(prototypes) { network.denoiser?.context($0) ?? network.readout?($0) ?? $0 }
    }

    /// Denoised tokens `[M, k]` at these places, from their prototypes' contexts `[M, …]`; `free` are those without a
    /// condition, for guidance.
    func denoised(
        _ context: Tensor<Float>, free: Tensor<Float>?, places: [Place], sampling: Sampling, ready: ReadyDenoiser,
        progress: (Int, Int) throws(LoragenError) -> Void = { _, _ in }
    ) throws(LoragenError) -> Tensor<Float> {
        guard let infer = ready.infer else { return context }
        let k = tokens.size
        func normal(_ step: Int) -> Tensor<Float> {
            Tensor.make([places.count, k]) { to in
                for (i, place) in places.enumerated() {
                    place.fill(step: step, UnsafeMutableBufferPointer(start: to + i * k, count: k))
                }
            }
        }
        func noise(_ step: Int) -> Tensor<Float> { normal(step + 1) }
        return try sampling.sample(
            from: normal(0), schedule: schedule, prediction: prediction, isGuided: free != nil,
            evaluations: evaluations(sampling), noise: noise, progress: progress
        ) { x, t, isFree in infer(x, ready.time(t), isFree ? free ?? context : context) }
    }

    var stepLimit: Int { schedule.count }

    /// Of the denoiser, for each token.
    func evaluations(_ sampling: Sampling) -> Int {
        network.denoiser == nil ? 1 : sampling.sampler.evaluations(schedule, sampling.steps)
    }

    /// The caller's wish, or the model's own.
    func sampling(_ wish: Sampling?) -> Sampling {
        wish ?? sampling ?? Sampling(sampler: DDIM(), steps: 1, guidance: 1)
    }

    func isGuided(_ sampling: Sampling) -> Bool { configuration.conditions > 0 && sampling.guidance != 1 }

    /// The denoiser made ready, and what it makes of each time, which all tokens share.
    final class ReadyDenoiser {
        private let denoiser: (any TokenDenoiser<Float>)?
        let infer: ((_ x: Tensor<Float>, _ time: Tensor<Float>, _ context: Tensor<Float>) -> Tensor<Float>)?
        private var times: [Int: Tensor<Float>] = [:]

        init(_ model: RPG) {
            denoiser = model.network.denoiser
            infer = denoiser?.inference()
        }

        func time(_ t: Int) -> Tensor<Float> {
            if let known = times[t] { return known }
            let made = withoutGradients { denoiser?.time([t]) ?? .zeros([1, 1]) }
            times[t] = made
            return made
        }
    }

    /// A layer applied to blocks of rows.
    private func projected(_ rows: Tensor<Float>, _ layer: (Tensor<Float>) -> Tensor<Float>) -> Tensor<Float> {
        withoutGradients {
            let parts = stride(from: 0, to: rows.shape[0], by: Self.block).map {
                layer(rows.slice(axis: 0, $0..<min(rows.shape[0], $0 + Self.block)))
            }
            return parts.count == 1 ? parts[0] : .concatenate(parts, axis: 0)
        }
    }

    // MARK: Vectors

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        let stream = TokenStream(self, condition: condition, random: random, sampling: sampling, memory: 0)
        var pieces: [Tensor<Float>] = []
        while let piece = try stream.next(progress) { pieces.append(piece) }
        return Tensor.concatenate(pieces, axis: 0).reshaped([1, -1])
    }

    func vectors(
        conditions: Tensor<Float>, seed: UInt64, sampling: Sampling?
    ) throws(LoragenError) -> Tensor<Float> {
        let streams = (0..<conditions.shape[0]).map { Random(seed: seed, stream: RandomStreams.sampling + UInt64($0)) }
        var parts: [Tensor<Float>] = []
        // Many at once are quicker than one by one; more tokens than this only take memory.
        let step = max(1, 4096 / tokens.count)
        for first in stride(from: 0, to: streams.count, by: step) {
            let rows = first..<min(streams.count, first + step)
            let asked = conditions.slice(axis: 0, rows)
            let drawn = try vectors(conditions: asked, streams: Array(streams[rows]), sampling: sampling)
            parts.append(sum(drawn, around: around(asked, self.sampling(sampling))))
        }
        return .concatenate(parts, axis: 0)
    }

    private func vectors(
        conditions: Tensor<Float>, streams: [Random], sampling: Sampling?,
        progress: (Int, Int) throws(LoragenError) -> Void = { _, _ in }
    ) throws(LoragenError) -> Tensor<Float> {
        let sampling = self.sampling(sampling)
        let rows = streams.count * tokens.count
        func flat(_ conditions: Tensor<Float>) -> Tensor<Float> {
            prototypes(conditions: conditions, streams: streams).reshaped([rows, configuration.outputWidth])
        }
        let conditional = context(flat(conditions))
        let free = isGuided(sampling) ? context(flat(.zeros(conditions.shape))) : nil
        let ready = ReadyDenoiser(self)
        let chunks = (rows + Self.chunk - 1) / Self.chunk
        var vectors = Tensor<Float>.zeros([streams.count, tokens.valueCount])
        for chunk in 0..<chunks {
            let range = chunk * Self.chunk..<min(rows, (chunk + 1) * Self.chunk)
            let places = range.map { Place(random: streams[$0 / tokens.count], token: $0 % tokens.count) }
            let values = try denoised(
                conditional.slice(axis: 0, range), free: free?.slice(axis: 0, range), places: places,
                sampling: sampling, ready: ready
            ) { (step, steps) throws(LoragenError) in try progress(chunk * steps + step, chunks * steps) }
            vectors.withUnsafeMutableBufferPointer { to in
                guard let base = to.baseAddress else { return }
                for (i, row) in range.enumerated() {
                    tokens.scatter(
                        values, row: i, token: row % tokens.count,
                        into: base + row / tokens.count * tokens.valueCount)
                }
            }
        }
        return vectors
    }
}
