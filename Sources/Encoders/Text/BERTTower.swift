import Files
import Tensor

/// BERT (Devlin et al. 2019) and what differs from it in the counting of positions alone: RoBERTa, XLM-RoBERTa. MiniLM,
/// BGE, GTE and E5 are BERTs or XLM-RoBERTas.
struct BERTTower: TextTower {
    private struct Block: Sendable {
        let attention: EncoderLinear
        let output: EncoderLinear
        let attentionNorm: EncoderNorm
        let up: EncoderLinear
        let down: EncoderLinear
        let norm: EncoderNorm
    }

    let width: Int
    let positions: Int?
    private let words: EmbeddingTable
    private let places: EmbeddingTable
    /// Of the first segment.
    private let segment: Tensor<Float>
    private let norm: EncoderNorm
    private let blocks: [Block]
    private let heads: Int
    private let hidden: Int
    private let activation: EncoderActivation
    /// RoBERTa counts from one behind its padding token's id, and leaves padding out.
    private let padding: Int32?

    var layers: Int { blocks.count }
    var vocabulary: Int { words.rows }
    var bytesPerToken: Int { 4 * (10 * width + 3 * hidden) }

    static let types = ["bert", "roberta", "xlm-roberta", "camembert"]

    init(_ weights: EncoderWeights, _ config: EncoderConfig) throws(LoragenError) {
        let width = try config.integer("hidden_size", in: EncoderConfig.widths)
        let layers = try config.integer("num_hidden_layers", in: EncoderConfig.counts)
        let hidden = try config.integer("intermediate_size", in: EncoderConfig.widths)
        let eps = try config.number("layer_norm_eps", standard: 1e-12)
        if let kind = config.text("position_embedding_type"), kind != "absolute" {
            throw LoragenError(
                .unsupported, "\(config.path): position_embedding_type is \"\(shortened(kind))\"; expected absolute")
        }
        if config.json["is_decoder"]?.bool == true {
            throw LoragenError(.unsupported, "\(config.path): is_decoder is true; expected an encoder")
        }
        (self.width, self.hidden) = (width, hidden)
        heads = try config.heads("num_attention_heads", of: width)
        activation = try config.activation("hidden_act", standard: "gelu")
        words = try weights.table("embeddings.word_embeddings.weight", width: width)
        places = try weights.table("embeddings.position_embeddings.weight", width: width)
        segment = try weights.table("embeddings.token_type_embeddings.weight", width: width).gather([0])
        norm = try weights.norm("embeddings.LayerNorm", width, eps: eps)
        if config.text("model_type") == "bert" {
            padding = nil
            positions = places.rows
        } else {
            let id = try config.integer("pad_token_id", in: 0...(1 << 20), standard: 1)
            padding = Int32(clamping: id)
            positions = places.rows - id - 1
            guard places.rows > id + 1 else {
                throw LoragenError(
                    .format, "\(config.path): pad_token_id is \(id), and there are \(places.rows) positions")
            }
        }
        var blocks: [Block] = []
        for index in 0..<layers {
            let name = "encoder.layer.\(index)."
            blocks.append(
                Block(
                    attention: try weights.packedAttention(
                        "\(name)attention.self.", ["query", "key", "value"], width: width),
                    output: try weights.linear("\(name)attention.output.dense", width, width),
                    attentionNorm: try weights.norm("\(name)attention.output.LayerNorm", width, eps: eps),
                    up: try weights.linear("\(name)intermediate.dense", width, hidden),
                    down: try weights.linear("\(name)output.dense", hidden, width),
                    norm: try weights.norm("\(name)output.LayerNorm", width, eps: eps)))
        }
        self.blocks = blocks
    }

    func states(_ ids: [Int32], lengths: [Int], layer: Int) throws(LoragenError)
        -> (chosen: Tensor<Float>, last: Tensor<Float>)
    {
        let rows = try words.gather(ids) + places.gather(positions(of: ids, lengths)) + segment
        var x = norm(rows)
        var chosen = x
        for (index, block) in blocks.enumerated() {
            if index == layer { chosen = x }
            let attended = selfAttention(block.attention(x), lengths: lengths, heads: heads, causal: false)
            let middle = block.attentionNorm(x + block.output(attended))
            x = block.norm(middle + block.down(activation(block.up(middle))))
        }
        return (layer == layers ? x : chosen, x)
    }

    private func positions(of ids: [Int32], _ lengths: [Int]) -> [Int32] {
        var (result, place) = ([Int32](), 0)
        result.reserveCapacity(ids.count)
        for length in lengths {
            var count: Int32 = 0
            for id in ids[place..<min(ids.count, place + length)] {
                if let padding {
                    if id != padding { count += 1 }
                    result.append(id == padding ? padding : padding + count)
                } else {
                    result.append(count)
                    count += 1
                }
            }
            place = min(ids.count, place + length)
        }
        return result
    }
}
