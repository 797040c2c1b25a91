import Files
import Tensor

/// CLIP's text tower (Radford et al. 2021): norms before, causal.
struct CLIPTextTower: TextTower {
    private struct Block: Sendable {
        let norm1: EncoderNorm
        let attention: EncoderLinear
        let output: EncoderLinear
        let norm2: EncoderNorm
        let up: EncoderLinear
        let down: EncoderLinear
    }

    let width: Int
    let positions: Int?
    /// The token whose state stands for the text; `nil` in old folders, where it is the largest id.
    let endToken: Int32?
    private let words: EmbeddingTable
    private let places: EmbeddingTable
    private let blocks: [Block]
    private let finalNorm: EncoderNorm
    private let heads: Int
    private let hidden: Int
    private let activation: EncoderActivation

    var layers: Int { blocks.count }
    var vocabulary: Int { words.rows }
    var bytesPerToken: Int { 4 * (10 * width + 4 * hidden) }

    init(_ weights: EncoderWeights, _ config: EncoderConfig) throws(LoragenError) {
        let width = try config.integer("hidden_size", in: EncoderConfig.widths, standard: 512)
        let layers = try config.integer("num_hidden_layers", in: EncoderConfig.counts, standard: 12)
        let hidden = try config.integer("intermediate_size", in: EncoderConfig.widths, standard: 2048)
        let eps = try config.number("layer_norm_eps", standard: 1e-5)
        (self.width, self.hidden) = (width, hidden)
        heads = config.json["num_attention_heads"] == nil ? 8 : try config.heads("num_attention_heads", of: width)
        guard width % heads == 0 else {
            throw LoragenError(.format, "\(config.path): num_attention_heads is missing")
        }
        activation = try config.activation("hidden_act", standard: "quick_gelu")
        let end = try config.integer("eos_token_id", in: 0...(1 << 20), standard: 49407)
        // Folders of before 2023 say 2, which never was the token's id.
        endToken = end == 2 ? nil : Int32(clamping: end)
        words = try weights.table("embeddings.token_embedding.weight", width: width)
        places = try weights.table("embeddings.position_embedding.weight", width: width)
        positions = places.rows
        var blocks: [Block] = []
        for index in 0..<layers {
            let name = "encoder.layers.\(index)."
            blocks.append(
                Block(
                    norm1: try weights.norm("\(name)layer_norm1", width, eps: eps),
                    attention: try weights.packedAttention(
                        "\(name)self_attn.", ["q_proj", "k_proj", "v_proj"], width: width),
                    output: try weights.linear("\(name)self_attn.out_proj", width, width),
                    norm2: try weights.norm("\(name)layer_norm2", width, eps: eps),
                    up: try weights.linear("\(name)mlp.fc1", width, hidden),
                    down: try weights.linear("\(name)mlp.fc2", hidden, width)))
        }
        self.blocks = blocks
        finalNorm = try weights.norm("final_layer_norm", width, eps: eps)
    }

    func states(_ ids: [Int32], lengths: [Int], layer: Int) throws(LoragenError)
        -> (chosen: Tensor<Float>, last: Tensor<Float>)
    {
        let positions = lengths.flatMap { (0..<$0).map { Int32(clamping: $0) } }
        var x = try words.gather(ids) + places.gather(positions)
        var chosen = x
        for (index, block) in blocks.enumerated() {
            if index == layer { chosen = x }
            let attended = selfAttention(block.attention(block.norm1(x)), lengths: lengths, heads: heads, causal: true)
            let middle = x + block.output(attended)
            x = middle + block.down(activation(block.up(block.norm2(middle))))
        }
        let last = finalNorm(x)
        return (layer == layers ? last : chosen, last)
    }

    /// The place of the state that stands for a text.
    func end(of ids: ArraySlice<Int32>) -> Int {
        guard let endToken else {
            let largest = ids.max()
            return (ids.firstIndex { $0 == largest } ?? ids.startIndex) - ids.startIndex
        }
        return (ids.firstIndex(of: endToken) ?? ids.startIndex) - ids.startIndex
    }
}
