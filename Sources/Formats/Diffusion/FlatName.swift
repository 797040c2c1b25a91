import Tensor

/// Kohya's names have '_' where paths have '.', and names have '_' too. This takes them apart again by the words that
/// occur in the models, the longest that fits first.
enum FlatName {
    private static let words: [[UInt8]] = [
        // UNet and transformer, diffusers
        "down_blocks", "up_blocks", "mid_block", "attentions", "resnets", "transformer_blocks", "attn1", "attn2",
        "to_q",
        "to_k", "to_v", "to_out", "ff", "net", "proj", "proj_in", "proj_out", "conv_in", "conv_out", "conv1", "conv2",
        "conv_shortcut", "time_emb_proj", "time_embedding", "add_embedding", "linear_1", "linear_2", "downsamplers",
        "upsamplers", "conv",
        // Transformers, diffusers
        "single_transformer_blocks", "attn", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "ff_context",
        "norm",
        "norm1", "norm1_context", "norm_out", "linear", "proj_mlp", "x_embedder", "context_embedder", "time_text_embed",
        "timestep_embedder", "guidance_embedder", "text_embedder", "pos_embed", "blocks", "ffn", "condition_embedder",
        // UNet, as in the original code
        "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers", "skip_connection",
        "time_embed", "label_emb", "op", "out",
        // CLIP
        "text_model", "encoder", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "mlp", "fc1", "fc2",
        "text_projection",
    ].map { Array($0.utf8) }.sorted { $0.count > $1.count }

    static func flat(_ path: String) -> String { String(path.map { $0 == "." ? "_" : $0 }) }

    /// `nil` when a part is none of the words and no number.
    static func path(_ flat: Substring) -> String? {
        var rest = Array(flat.utf8)[...]
        var parts: [String] = []
        while !rest.isEmpty {
            let digits = rest.prefix { (0x30...0x39).contains($0) }
            let word = words.first {
                rest.starts(with: $0) && ($0.count == rest.count || rest[rest.startIndex + $0.count] == 0x5f)
            }
            guard let part = word.map({ $0[...] }) ?? (digits.isEmpty ? nil : digits) else { return nil }
            parts.append(String(decoding: part, as: UTF8.self))
            rest = rest.dropFirst(part.count)
            if rest.isEmpty { break }
            guard rest.first == 0x5f, rest.count > 1 else { return nil }
            rest = rest.dropFirst()
        }
        return parts.isEmpty ? nil : parts.joined(separator: ".")
    }
}
