import NN
import Tensor

/// RPG as it is trained: two Mamba-2 blocks make a prototype of each token, the denoiser takes all tokens.
final class RecurrentDiffusion: Module {
    let recurrent: [Mamba2<Float>]
    let denoiser: Denoiser

    init(features: Int) {
        var random = Random(seed: 1)
        recurrent = (0..<2).map { _ in Mamba2(Mamba2Configuration(features: features, state: 128), random: &random) }
        denoiser = Denoiser(tokenSize: features, conditionSize: features)
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.children("recurrent", recurrent)
        visitor.child("denoiser", denoiser)
    }

    /// positions [batch, tokens, d]; x, noise [batch * tokens, d]
    func loss(_ positions: Tensor<Float>, _ x: Tensor<Float>, _ times: [Double], _ noise: Tensor<Float>)
        -> Tensor<Float>
    {
        let prototypes = recurrent[1](recurrent[0](positions))
        return mseLoss(denoiser(x, times, prototypes.reshaped(x.shape)), noise)
    }
}

extension Work {
    static func recurrentDiffusion() -> Work {
        let (batch, tokens, d) = (4, 256, 1024)
        let model = RecurrentDiffusion(features: d)
        model.setHashed()
        let positions = hashed([batch, tokens, d], seed: 1)
        let (x, noise) = (hashed([batch * tokens, d], seed: 2), hashed([batch * tokens, d], seed: 3))
        let times = (0..<batch * tokens).map { Double($0 % 1000) }
        return training(model) { model.loss(positions, x, times, noise) }
    }

    /// Token n of sequence b
    private static func token(_ n: Int, _ b: Int) -> Int32 { Int32((n * 37 + b * 101 + n * n % 89) % 512) }

    private static func gpt() -> GPT<Float> {
        var random = Random(seed: 1)
        let model = GPT<Float>(GPTConfiguration(vocabulary: 512), random: &random)
        model.setHashed()
        return model
    }

    static func gptTraining() -> Work {
        let model = gpt()
        let index = (0..<8).flatMap { b in (0..<513).map { token($0, b) } }
        return training(model) { model.loss(index, batch: 8) }
    }

    /// 256 tokens, one at a time
    static func gptDecoding() -> Work {
        let model = gpt()
        func run() -> Tensor<Float> {
            let decoder = GPTDecoder(model)
            var logits = Tensor<Float>.zeros([1])
            for n in 0..<256 { logits = decoder.append([token(n, 0)]) }
            return logits
        }
        return Work(run: { _ = run() }, result: { [run()] })
    }

    static func bert() -> Work {
        var random = Random(seed: 1)
        let model = BERT<Float>(random: &random)
        model.setHashed()
        let index = (0..<24).map { Int32(($0 * 977 + 31) % 30522) }
        return Work(run: { _ = model.infer(index) }, result: { [model.infer(index)] })
    }
}
