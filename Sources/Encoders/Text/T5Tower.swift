import Files
import Glibc
import Tensor

/// T5's encoder (Raffel et al. 2020): RMS norms before, positions as a bias of the scores that all blocks share, no scale.
struct T5Tower: TextTower {
    private struct Block: Sendable {
        let norm1: Tensor<Float>
        let attention: EncoderLinear
        let output: EncoderLinear
        let norm2: Tensor<Float>
        /// With a gate there are two.
        let up: [EncoderLinear]
        let down: EncoderLinear
    }

    let width: Int
    var positions: Int? { nil }
    private let words: EmbeddingTable
    private let blocks: [Block]
    private let finalNorm: Tensor<Float>
    /// [buckets, heads]
    private let bias: [Float]
    private let buckets: Int
    private let farthest: Int
    private let heads: Int
    private let headWidth: Int
    private let hidden: Int
    private let eps: Double
    private let activation: EncoderActivation

    var layers: Int { blocks.count }
    var vocabulary: Int { words.rows }
    /// Scores come beside it: `longest` tokens see each other.
    var bytesPerToken: Int { 4 * (6 * width + 8 * heads * headWidth + 4 * hidden) }

    init(_ weights: EncoderWeights, _ config: EncoderConfig) throws(LoragenError) {
        let width = try config.integer("d_model", in: EncoderConfig.widths)
        let layers = try config.integer("num_layers", in: EncoderConfig.counts)
        let hidden = try config.integer("d_ff", in: EncoderConfig.widths)
        let (heads, headWidth) = (
            try config.integer("num_heads", in: 1...4096), try config.integer("d_kv", in: 1...4096)
        )
        (self.width, self.hidden, self.heads, self.headWidth) = (width, hidden, heads, headWidth)
        eps = try config.number("layer_norm_epsilon", standard: 1e-6)
        buckets = try config.integer("relative_attention_num_buckets", in: 4...4096, standard: 32)
        farthest = try config.integer("relative_attention_max_distance", in: 4...(1 << 20), standard: 128)
        guard buckets % 4 == 0, farthest > buckets / 4 else {
            throw LoragenError(
                .unsupported,
                "\(config.path): relative_attention_num_buckets is \(buckets) and relative_attention_max_distance "
                    + "\(farthest); expected a multiple of 4, and more than a quarter of it")
        }
        let forward = config.text("feed_forward_proj") ?? "relu"
        let isGated = forward.hasPrefix("gated-")
        switch isGated ? String(forward.dropFirst("gated-".count)) : forward {
        case "relu": activation = .relu
        // T5 1.1 says gelu and means its approximation.
        case "gelu": activation = isGated ? .geluTanh : .gelu
        case "silu": activation = .silu
        default:
            throw LoragenError(
                .unsupported,
                "\(config.path): feed_forward_proj is \"\(shortened(forward))\"; expected relu or gated-gelu")
        }
        words = try weights.table(
            weights.has("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight", width: width)
        bias = try weights.tensor(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [buckets, heads]
        ).values
        var blocks: [Block] = []
        let inner = heads * headWidth
        for index in 0..<layers {
            let name = "encoder.block.\(index).layer."
            let attention = "\(name)0.SelfAttention."
            var up: [EncoderLinear] = []
            for part in isGated ? ["wi_0", "wi_1"] : ["wi"] {
                up.append(try weights.linear("\(name)1.DenseReluDense.\(part)", width, hidden, bias: false))
            }
            blocks.append(
                Block(
                    norm1: try weights.tensor("\(name)0.layer_norm.weight", [width]),
                    attention: EncoderLinear(
                        weight: try weights.stacked(
                            ["q", "k", "v"].map { "\(attention)\($0).weight" }, rows: inner, inputs: width),
                        bias: nil),
                    output: try weights.linear("\(attention)o", inner, width, bias: false),
                    norm2: try weights.tensor("\(name)1.layer_norm.weight", [width]), up: up,
                    down: try weights.linear("\(name)1.DenseReluDense.wo", hidden, width, bias: false)))
        }
        self.blocks = blocks
        finalNorm = try weights.tensor("encoder.final_layer_norm.weight", [width])
    }

    func states(_ ids: [Int32], lengths: [Int], layer: Int) throws(LoragenError)
        -> (chosen: Tensor<Float>, last: Tensor<Float>)
    {
        var x = try words.gather(ids)
        let longest = lengths.max() ?? 0
        try Memory.require(
            12 * Double(longest) * Double(longest) * Double(heads), for: "attention over \(longest) tokens",
            advice: "; give shorter texts")
        var chosen = x
        for (index, block) in blocks.enumerated() {
            if index == layer { chosen = x }
            let qkv = block.attention(rmsNorm(x, gamma: block.norm1, eps: eps))
            let middle = x + block.output(attend(qkv, lengths))
            let normed = rmsNorm(middle, gamma: block.norm2, eps: eps)
            var inner = activation(block.up[0](normed))
            if block.up.count > 1 { inner = inner * block.up[1](normed) }
            x = middle + block.down(inner)
        }
        let last = rmsNorm(x, gamma: finalNorm, eps: eps)
        return (layer == layers ? last : chosen, last)
    }

    private func attend(_ qkv: Tensor<Float>, _ lengths: [Int]) -> Tensor<Float> {
        var (parts, start) = ([Tensor<Float>](), 0)
        for length in lengths where length > 0 {
            let rows = qkv.slice(axis: 0, start..<start + length)
            // [3, heads, length, headWidth]
            let split = rows.reshaped([length, 3, heads, headWidth]).permuted([1, 2, 0, 3])
            func part(_ index: Int) -> Tensor<Float> {
                split.slice(axis: 0, index..<index + 1).reshaped([heads, length, headWidth])
            }
            let scores = Tensor.matmul(part(0), part(1), transposeB: true) + scoreBias(length)
            let out = scores.softmax().matmul(part(2))
            parts.append(out.permuted([1, 0, 2]).reshaped([length, heads * headWidth]))
            start += length
        }
        return parts.count == 1 ? parts[0] : .concatenate(parts, axis: 0)
    }

    /// [heads, length, length]
    private func scoreBias(_ length: Int) -> Tensor<Float> {
        let ofDistance = (1 - length..<length).map { bucket(of: $0) }
        return Tensor.make([heads, length, length]) { to in
            var place = 0
            for head in 0..<heads {
                for query in 0..<length {
                    for key in 0..<length {
                        to[place] = bias[ofDistance[key - query + length - 1] * heads + head]
                        place += 1
                    }
                }
            }
        }
    }

    /// Half of the buckets for keys behind; of each half, half for single distances, the rest in even steps of the logarithm.
    private func bucket(of distance: Int) -> Int {
        let half = buckets / 2
        let exact = half / 2
        let start = distance > 0 ? half : 0
        let size = abs(distance)
        if size < exact { return start + size }
        let place = logf(Float(size) / Float(exact)) / logf(Float(farthest) / Float(exact)) * Float(half - exact)
        return start + min(half - 1, exact + Int(saturating: place))
    }
}
