import Tensor
import Testing

@testable import NN

private func setRamps(_ parameters: [Parameter<Double>]) {
    for (s, p) in parameters.enumerated() { p.value = ramp(p.shape, s) * 0.5 }
}

@Suite("Sequence models against PyTorch") struct SequenceTests {
    @Test("Attention of packed queries, keys and values", arguments: [true, false])
    func attention(_ causal: Bool) {
        let qkv = ramp([1, 9, 24], 1).requiringGradient()
        let y = selfAttention(qkv, heads: 2, causal: causal)
        (y * ramp(y.shape, 2)).sum().backward()
        typealias G = SequenceGolden
        expect(y, causal ? G.causalAttention : G.fullAttention, "value")
        expect(qkv.gradient!, causal ? G.causalAttentionDx : G.fullAttentionDx, "dx")
    }

    private func every(_ n: Int, _ x: Tensor<Double>) -> Tensor<Double> {
        Tensor(stride(from: 0, to: x.count, by: n).map { x.values[$0] })
    }

    @Test("Mamba-2: value and the gradient of every parameter")
    func mamba() {
        var random = Random(seed: 1)
        let block = Mamba2<Double>(Mamba2Configuration(features: 6, state: 5, headDim: 4), random: &random)
        let p = [
            block.dtBias, block.aLog, block.skip, block.input.weight, block.convolution, block.convolutionBias,
            block.gamma, block.output.weight,
        ]
        #expect(p.map { $0.shape } == block.parameters.map { $0.shape })
        setRamps(p)
        let u = ramp([2, 67, 6], 9).requiringGradient()
        let y = block(u)
        (y * ramp(y.shape, 10)).sum().backward()
        typealias G = SequenceGolden
        expect(every(7, y), G.mamba, "value", within: 1e-11)
        expect(every(7, u.gradient!), G.mambaDx, "dx", within: 1e-11)
        let golden = [
            G.mambaDtBias, G.mambaALog, G.mambaSkip, G.mambaInput, G.mambaConvolution, G.mambaConvolutionBias,
            G.mambaGamma, G.mambaOutput,
        ]
        for (parameter, values) in zip(p, golden) { expect(parameter.gradient!, values, "gradient", within: 1e-11) }
    }

    @Test("Blocks with the norm first (causal) and last", arguments: [true, false])
    func blocks(_ first: Bool) {
        var random = Random(seed: 1)
        let configuration = TransformerConfiguration(
            layers: 1, features: 8, heads: 2, hidden: 12, causal: first, normFirst: first)
        let block = TransformerBlock<Double>(configuration, random: &random)
        setRamps(block.parameters)
        let x = ramp([2, 5, 8], 13).requiringGradient()
        let y = block(x)
        (y * ramp(y.shape, 14)).sum().backward()
        typealias G = SequenceGolden
        expect(y, first ? G.preBlock : G.postBlock, "value")
        expect(x.gradient!, first ? G.preBlockDx : G.postBlockDx, "dx", within: 1e-11)
        expect(
            block.attention.packed.weight.gradient!, first ? G.preBlockPacked : G.postBlockPacked, "qkv", within: 1e-11)
    }
}

@Suite("Sequence models") struct SequenceModelTests {
    @Test("Mamba-2's sizes are those of RPG's table: 0.83, 204.6, 813.9 and 2265.8 million for two blocks")
    func mambaSizes() {
        func millions(_ blocks: [Mamba2Configuration]) -> Double {
            Double(blocks.reduce(0) { $0 + $1.parameterCount }) / 1e6
        }
        let tiny = Mamba2Configuration(features: 256, state: 32)
        #expect((millions([tiny, tiny]) * 100).rounded() == 83)
        for (features, expected) in [(4096, 204.6), (8192, 813.9)] {
            let block = Mamba2Configuration(features: features)
            #expect((millions([block, block]) * 10).rounded() == expected * 10)
        }
        let large = [Mamba2Configuration(features: 12288), Mamba2Configuration(features: 16384, inputs: 12288)]
        #expect((millions(large) * 10).rounded() == 22658)
        var random = Random(seed: 1)
        #expect(Mamba2<Float>(tiny, random: &random).parameterCount == tiny.parameterCount)
    }

    @Test("A new Mamba-2 has steps in 0.001 ... 0.1 and rates in 1 ... 16")
    func mambaStart() {
        var random = Random(seed: 2)
        let block = Mamba2<Double>(Mamba2Configuration(features: 256, state: 8, headDim: 4), random: &random)
        let (dt, a) = (block.dtBias.value.softplus().values, block.aLog.value.exp().values)
        #expect(dt.allSatisfy { $0 > 0.00099 && $0 < 0.101 } && dt.min()! < 0.002 && dt.max()! > 0.05)
        #expect(a.allSatisfy { $0 >= 1 && $0 <= 16 } && a.max()! > 13)
        var other = Random(seed: 3)
        let wide = Mamba2<Float>(Mamba2Configuration(features: 64, inputs: 32, state: 8), random: &other)
        #expect(wide(other.normal([2, 5, 32])).shape == [2, 5, 64])
    }

    private func smallGPT<E: Element>(tied: Bool, _ type: E.Type = E.self) -> GPT<E> {
        var random = Random(seed: 5)
        let configuration = GPTConfiguration(
            vocabulary: 50, positions: 24, layers: 2, features: 32, heads: 4, tied: tied)
        let model = GPT<E>(configuration, random: &random)
        model.positions.value = random.normal(model.positions.shape, deviation: 0.02)
        return model
    }

    @Test("GPT has L(12 d² + 13 d) + 2 V d + B d + 2 d parameters; tied, V d fewer")
    func gptSize() {
        let expected = 2 * (12 * 32 * 32 + 13 * 32) + 2 * 50 * 32 + 24 * 32 + 2 * 32
        #expect(smallGPT(tied: false, Float.self).parameterCount == expected)
        #expect(smallGPT(tied: true, Float.self).parameterCount == expected - 50 * 32)
    }

    @Test("Decoding with caches gives the logits of the whole sequence, with a prefix too", arguments: [true, false])
    func decoding(_ tied: Bool) {
        let model: GPT<Double> = smallGPT(tied: tied)
        var random = Random(seed: 6)
        let prefix: Tensor<Double> = random.normal([2, 3, 32])
        let tokens = random.integers(2 * 20, below: 50).map { Int32($0) }
        let whole = withoutGradients { model(tokens, batch: 2, prefix: prefix) }
        let decoder = GPTDecoder(model, batch: 2)
        func expectLogits(_ logits: Tensor<Double>, at position: Int) {
            let row = whole.slice(axis: 1, position..<position + 1).reshaped([2, 50])
            #expect((logits - row).sumOfSquares < 1e-24 * row.sumOfSquares)
        }
        let first = [tokens[0], tokens[1], tokens[20], tokens[21]]
        expectLogits(decoder.append(first, prefix: prefix), at: 4)
        for t in 2..<20 { expectLogits(decoder.append([tokens[t], tokens[20 + t]]), at: 3 + t) }
        decoder.truncate(to: 5)
        expectLogits(decoder.append([tokens[2], tokens[22]]), at: 5)
        #expect(decoder.count == 6)
    }

    @Test("The loss reads each token's logits one position earlier; the prefix is not predicted")
    func loss() {
        let model: GPT<Double> = smallGPT(tied: false)
        var random = Random(seed: 7)
        let tokens = random.integers(2 * 9, below: 50).map { Int32($0) }
        func expected(_ logits: Tensor<Double>, skipping first: Int, from position: Int) -> Double {
            var total = 0.0
            for b in 0..<2 {
                for t in first..<9 {
                    let row = (0..<50).map { logits[b, position + t - first, $0] }
                    let top = row.max()!
                    let sum = Tensor(row.map { $0 - top }).exp().sum().item
                    total += Tensor(sum).log().item + top - row[Int(tokens[b * 9 + t])]
                }
            }
            return total / Double(2 * (9 - first))
        }
        let plain = withoutGradients { model(tokens, batch: 2) }
        #expect((model.loss(tokens, batch: 2).item - expected(plain, skipping: 1, from: 0)).magnitude < 1e-12)
        let prefix: Tensor<Double> = random.normal([2, 2, 32])
        let behind = withoutGradients { model(tokens, batch: 2, prefix: prefix) }
        let loss = model.loss(tokens, batch: 2, prefix: prefix).item
        #expect((loss - expected(behind, skipping: 0, from: 1)).magnitude < 1e-12)
    }

    @Test("Recomputing blocks leaves the gradients' bytes as they are")
    func recomputing() {
        let model: GPT<Float> = smallGPT(tied: true)
        var random = Random(seed: 8)
        let tokens = random.integers(2 * 24, below: 50).map { Int32($0) }
        func gradients(_ recomputing: Bool) -> [[Float]] {
            for p in model.parameters { p.gradient = nil }
            model.loss(tokens, batch: 2, recomputing: recomputing).backward()
            return model.parameters.map { $0.gradient!.values }
        }
        let same = gradients(true) == gradients(false)
        #expect(same)
    }

    @Test("Batch norm inside a recomputed part moves its running statistics once")
    func batchNormOnce() {
        let (a, b) = (BatchNorm1d<Double>(channels: 3), BatchNorm1d<Double>(channels: 3))
        let x = ramp([4, 3, 5], 1).requiringGradient()
        a(x).square().sum().backward()
        recomputed(x) { b($0) }.square().sum().backward()
        #expect(a.runningMean.value.values == b.runningMean.value.values)
        #expect(a.runningVariance.value.values == b.runningVariance.value.values)
    }

    @Test("A tiny GPT learns a sequence by heart")
    func learning() {
        let model: GPT<Float> = smallGPT(tied: false)
        let tokens = (0..<20).map { Int32(($0 * 7) % 11) }
        let optimiser = AdamW(model.namedParameters, decay: 0)
        for _ in 0..<60 {
            optimiser.clearGradients()
            model.loss(tokens, batch: 1).backward()
            optimiser.step(rate: 3e-3)
        }
        #expect(model.loss(tokens, batch: 1).item < 0.1)
        let decoder = GPTDecoder(model, project: halfProjection(model.linears))
        var logits = decoder.append([tokens[0]])
        for t in 1..<20 {
            let best = logits.values.indices.max { logits.values[$0] < logits.values[$1] }!
            #expect(best == Int(tokens[t]))
            logits = decoder.append([Int32(best)])
        }
    }

    @Test("BERT in bf16 is within 1e-2 of f32")
    func bert() {
        var random = Random(seed: 9)
        let configuration = TransformerConfiguration(
            layers: 2, features: 64, heads: 4, hidden: 128, causal: false, normFirst: false, eps: 1e-12)
        let model = BERT<Float>(configuration, vocabulary: 100, positions: 32, random: &random)
        let tokens = random.integers(17, below: 100).map { Int32($0) }
        let full = model.infer(tokens)
        let half = model.infer(tokens, halfProjection(model.transformer.linears))
        #expect(full.shape == [1, 17, 64])
        let error = ((full - half).sumOfSquares / full.sumOfSquares).squareRoot()
        #expect(error < 1e-2 && error > 0, "\(error)")
    }
}
