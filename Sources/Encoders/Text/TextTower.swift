import Files
import Tensor

/// Token ids to a state for each token. Sequences stand one after the other without padding, so that none sees another's.
protocol TextTower: Sendable {
    /// Numbers of a token's state.
    var width: Int { get }
    /// Layer 0 is what the embeddings give, this one what `transformers` calls the last hidden state.
    var layers: Int { get }
    /// The most tokens that it takes, `nil` for any number.
    var positions: Int? { get }
    /// The rows of its table of tokens.
    var vocabulary: Int { get }
    /// Bytes that a token takes while it is computed.
    var bytesPerToken: Int { get }

    /// [ids.count, width], the states after `layer` and after the last.
    func states(_ ids: [Int32], lengths: [Int], layer: Int) throws(LoragenError)
        -> (chosen: Tensor<Float>, last: Tensor<Float>)
}

/// A linear layer with its numbers where they are.
struct EncoderLinear: Sendable {
    let weight: Tensor<Float>
    let bias: Tensor<Float>?

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { linear(x, weight: weight, bias: bias) }
}

struct EncoderNorm: Sendable {
    let gamma: Tensor<Float>
    let beta: Tensor<Float>
    let eps: Double

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { layerNorm(x, gamma: gamma, beta: beta, eps: eps) }
}

extension EncoderWeights {
    func linear(_ name: String, _ inputs: Int, _ outputs: Int, bias: Bool = true) throws(LoragenError) -> EncoderLinear
    {
        EncoderLinear(
            weight: try tensor("\(name).weight", [outputs, inputs]),
            bias: bias ? try tensor("\(name).bias", [outputs]) : nil)
    }

    func norm(_ name: String, _ width: Int, eps: Double) throws(LoragenError) -> EncoderNorm {
        EncoderNorm(
            gamma: try tensor("\(name).weight", [width]), beta: try tensor("\(name).bias", [width]), eps: eps)
    }

    /// Queries, keys and values as one layer.
    func packedAttention(_ prefix: String, _ names: [String], width: Int) throws(LoragenError) -> EncoderLinear {
        EncoderLinear(
            weight: try stacked(names.map { "\(prefix)\($0).weight" }, rows: width, inputs: width),
            bias: try stacked(names.map { "\(prefix)\($0).bias" }, rows: width))
    }
}
