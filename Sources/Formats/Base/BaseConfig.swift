import Files
import Tensor

/// What a Hugging Face `config.json` says of a model's linear layers.
struct BaseConfig {
    let modelType: String?
    let layerCount: Int?
    let tiesEmbeddings: Bool?
    private let json: JSON

    init(_ json: JSON) {
        let text = json["text_config"] ?? json
        self.json = text
        modelType = json["model_type"]?.string
        func count(_ name: String) -> Int? { text[name]?.integer.flatMap { (1...1 << 14).contains($0) ? $0 : nil } }
        layerCount = count("num_hidden_layers") ?? count("n_layer")
        tiesEmbeddings = json["tie_word_embeddings"]?.bool ?? text["tie_word_embeddings"]?.bool
    }

    /// Model types whose layers are named and sized as LLaMA's.
    private static let likeLlama: Set<String> = [
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "granite",
    ]

    /// Names of weights and their shapes; `nil` for a model type that is not known, or a config that lacks a size.
    func shapes() -> [(String, [Int])]? {
        func size(_ name: String) -> Int? { json[name]?.integer.flatMap { (1...1 << 24).contains($0) ? $0 : nil } }
        guard let modelType, let layerCount else { return nil }
        if modelType == "gpt2" {
            guard let width = size("n_embd"), let vocabulary = size("vocab_size") else { return nil }
            let inner = size("n_inner") ?? 4 * width
            var result = [("transformer.wte.weight", [vocabulary, width])]
            for layer in 0..<layerCount {
                for (name, shape) in [
                    ("attn.c_attn", [width, 3 * width]), ("attn.c_proj", [width, width]), ("mlp.c_fc", [width, inner]),
                    ("mlp.c_proj", [inner, width]),
                ] {
                    result.append(("transformer.h.\(layer).\(name).weight", shape))
                }
            }
            return result
        }
        guard Self.likeLlama.contains(modelType) || modelType == "phi3", let width = size("hidden_size"),
            let heads = size("num_attention_heads"), let inner = size("intermediate_size"),
            let vocabulary = size("vocab_size")
        else { return nil }
        // Where these types do not write it, it is the width over the heads, save for Gemma and Qwen 3.
        guard
            let head = size("head_dim") ?? (modelType.hasPrefix("gemma") || modelType == "qwen3" ? nil : width / heads)
        else { return nil }
        let (query, pair) = (heads * head, (size("num_key_value_heads") ?? heads) * head)
        var layer: [(String, [Int])] = [("self_attn.o_proj", [width, query]), ("mlp.down_proj", [width, inner])]
        if modelType == "phi3" {
            layer += [("self_attn.qkv_proj", [query + 2 * pair, width]), ("mlp.gate_up_proj", [2 * inner, width])]
        } else {
            layer += [
                ("self_attn.q_proj", [query, width]), ("self_attn.k_proj", [pair, width]),
                ("self_attn.v_proj", [pair, width]), ("mlp.gate_proj", [inner, width]),
                ("mlp.up_proj", [inner, width]),
            ]
        }
        var result = [("model.embed_tokens.weight", [vocabulary, width]), ("lm_head.weight", [vocabulary, width])]
        for index in 0..<layerCount {
            result += layer.map { ("model.layers.\(index).\($0.0).weight", $0.1) }
        }
        return result
    }
}
