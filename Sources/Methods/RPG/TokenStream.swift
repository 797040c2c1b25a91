import Learning
import Tensor

/// The prototypes of samples, a block of tokens at a time: `[S, up to 64, outputWidth]`.
struct PrototypeBlocks {
    private let model: RPG
    private let conditions: Tensor<Float>
    private let states: [Int32]
    private let run: ((Tensor<Float>) -> Tensor<Float>)?
    /// Of a model that needs all tokens at once.
    private var all: Tensor<Float>?
    private var position = 0

    init(_ model: RPG, conditions: Tensor<Float>, streams: [Random]) {
        (self.model, self.conditions) = (model, conditions)
        states = streams.map { stream in
            var fresh = Random(seed: stream.seed, stream: stream.stream, position: 1 << 63)
            return Int32(fresh.integer(below: max(1, model.configuration.states)))
        }
        run = model.network.recurrence.continuing()
    }

    mutating func next() -> Tensor<Float>? {
        let count = model.tokens.count
        guard position < count else { return nil }
        let range = position..<min(count, position + RPG.block)
        position = range.upperBound
        if let run {
            var none: Random?
            return withoutGradients {
                run(model.network.inputs(range, conditions: conditions, states: states, random: &none))
            }
        }
        let whole = all ?? withoutGradients { model.network.prototypes(conditions: conditions, states: states) }
        all = whole
        return whole.slice(axis: 1, range)
    }
}

/// The tokens of one sample as they are denoised, without padding, in the order of the vector. Prototypes come in blocks
/// of tokens; within a block as many tokens are denoised at once as the memory allows, which does not change the bytes.
final class TokenStream {
    private let model: RPG
    private let random: Random
    private let sampling: Sampling
    private let atOnce: Int
    private let ready: RPG.ReadyDenoiser
    private var conditional: PrototypeBlocks
    private var unconditional: PrototypeBlocks?
    /// Of all numbers, `[values]`; the tokens are drawn around it.
    private let around: Tensor<Float>?
    private var given = 0
    private var context: Tensor<Float>?
    private var freeContext: Tensor<Float>?
    /// Tokens before the block, and tokens of the block that are done.
    private var start = 0
    private var done = 0

    init(_ model: RPG, condition: Tensor<Float>, random: Random, sampling: Sampling?, memory: Int) {
        (self.model, self.random) = (model, random)
        self.sampling = model.sampling(sampling)
        atOnce = model.tokensAtOnce(self.sampling, memory: memory)
        ready = RPG.ReadyDenoiser(model)
        around = model.around(condition, self.sampling)?.flattened()
        conditional = PrototypeBlocks(model, conditions: condition, streams: [random])
        if model.isGuided(self.sampling) {
            unconditional = PrototypeBlocks(model, conditions: .zeros(condition.shape), streams: [random])
        }
    }

    /// The next numbers, flat; nil at the end.
    func next(_ progress: (Int, Int) throws(LoragenError) -> Void) throws(LoragenError) -> Tensor<Float>? {
        let all = model.tokens.count * model.evaluations(sampling)
        if context.map({ done == $0.shape[0] }) ?? true {
            start += context?.shape[0] ?? 0
            (context, freeContext, done) = (nil, nil, 0)
            guard let prototypes = conditional.next() else { return nil }
            context = model.context(prototypes.reshaped([prototypes.shape[1], prototypes.shape[2]]))
            if let free = unconditional?.next() {
                freeContext = model.context(free.reshaped([free.shape[1], free.shape[2]]))
            }
        }
        guard let context else { return nil }
        let rows = done..<min(context.shape[0], done + atOnce)
        let first = start + rows.lowerBound
        let values = try model.denoised(
            context.slice(axis: 0, rows), free: freeContext?.slice(axis: 0, rows),
            places: rows.map { RPG.Place(random: random, token: start + $0) }, sampling: sampling, ready: ready
        ) { (step, steps) throws(LoragenError) in try progress(first * steps + step * rows.count, all) }
        done = rows.upperBound
        let piece = model.tokens.joined(values, from: first)
        defer { given += piece.count }
        return model.sum(piece, around: around?.slice(axis: 0, given..<given + piece.count))
    }
}

extension RPG {
    func streamMemory(_ sampling: Sampling?) -> Int? {
        blockMemory(self.sampling(sampling)) + leastAtOnce * tokenMemory + startMemory
    }

    func stream(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, memory: Int,
        progress: @escaping (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> any VectorStream {
        WatchedTokens(
            tokens: TokenStream(self, condition: condition, random: random, sampling: sampling, memory: memory),
            progress: progress)
    }

    /// A stream with the caller's progress.
    private final class WatchedTokens: VectorStream {
        private let tokens: TokenStream
        private let progress: (Int, Int) throws(LoragenError) -> Void

        init(tokens: TokenStream, progress: @escaping (Int, Int) throws(LoragenError) -> Void) {
            (self.tokens, self.progress) = (tokens, progress)
        }

        func next() throws(LoragenError) -> Tensor<Float>? { try tokens.next(progress) }
    }

    /// Tokens that are denoised together in `memory` bytes, 0 for no limit.
    fileprivate func tokensAtOnce(_ sampling: Sampling, memory: Int) -> Int {
        if memory == 0 { return Self.block }
        return min(Self.block, max(leastAtOnce, (memory - blockMemory(sampling) - startMemory) / max(1, tokenMemory)))
    }

    /// Convolutions give a token the same bytes in any company; products of matrices do with the same number of rows.
    private var leastAtOnce: Int { configuration.denoiser == .convolution ? 1 : Self.block }

    /// Bytes that denoising a token takes: maps before and behind the widest convolution and those that wait to be added,
    /// the token itself, its noise and the sampler's intermediate results.
    private var tokenMemory: Int {
        let c = configuration
        switch c.denoiser {
        case .convolution:
            let sizes = [1] + c.channels + [1]
            let widest = zip(sizes, sizes.dropFirst()).map { $0 + $1 }.max() ?? 2
            return 4 * c.tokenSize * (widest + c.channels.prefix(max(0, sizes.count / 2 - 1)).reduce(0, +) + 10)
        case .perceptron: return 4 * (12 * c.tokenSize + 12 * c.denoiserWidth)
        case .none: return 4 * 2 * c.tokenSize
        }
    }

    /// Bytes for what the tokens are drawn around.
    private var startMemory: Int { start == nil ? 0 : 8 * tokens.valueCount }

    /// Bytes for the prototypes of a block, and for what all tokens share.
    private func blockMemory(_ sampling: Sampling) -> Int {
        let c = configuration
        var floats = evaluations(sampling) * c.tokenSize + 8 * c.outputWidth
        switch c.recurrence {
        case .mamba, .residualMamba:
            for block in c.blocksOfMamba {
                let shape = block.shape
                let states = 2 * shape.heads * shape.state * shape.headDim
                floats +=
                    states + Self.block * (2 * shape.columns + shape.channels + 3 * shape.inner + 2 * block.inputs)
            }
        case .lstm, .transformer: floats += 40 * c.width * tokens.count
        case .perceptron: floats += 20 * c.width * Self.block
        }
        floats += Self.block * (c.outputWidth + 3 * max(c.tokenSize, c.denoiserWidth) + c.tokenSize)
        return 4 * floats * (isGuided(sampling) ? 2 : 1)
    }
}
