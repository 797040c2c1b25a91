import Files

/// A kind of language model: what Hugging Face and llama.cpp call it, and how its files differ between them.
/// Source: the converters of llama.cpp as of ggml 0.25.3 (convert_hf_to_gguf.py); docs/hosts.md says which were run.
struct Architecture: Equatable, Sendable {
    /// `model_type` of config.json.
    let modelType: String
    /// `general.architecture` of GGUF.
    let gguf: String
    /// Whether the rows of q_proj and k_proj are in another order in GGUF (rotary halves interleaved).
    let permutesHeads: Bool
    /// `tie_word_embeddings` where config.json does not say.
    let tiesEmbeddings: Bool
    /// How the experts of a mixture are called inside a layer, and their three projections.
    var experts = Experts.qwen
    /// What stands before "layers" in the names of its language model's modules in Hugging Face.
    var root = "model."

    struct Experts: Equatable, Sendable {
        let path: String
        let gate: String
        let up: String
        let down: String

        static let qwen = Experts(path: "mlp.experts", gate: "gate_proj", up: "up_proj", down: "down_proj")
        static let mixtral = Experts(path: "block_sparse_moe.experts", gate: "w1", up: "w3", down: "w2")
    }

    private init(
        _ modelType: String, _ gguf: String, permutes: Bool, ties: Bool = false, experts: Experts = .qwen,
        root: String = "model."
    ) {
        self.modelType = modelType
        self.gguf = gguf
        permutesHeads = permutes
        tiesEmbeddings = ties
        self.experts = experts
        self.root = root
    }

    private static let multimodal = "model.language_model."

    static let all: [Architecture] = [
        Architecture("llama", "llama", permutes: true),
        Architecture("mistral", "llama", permutes: true),
        Architecture("mixtral", "llama", permutes: true, experts: .mixtral),
        Architecture("mistral3", "mistral3", permutes: true),
        Architecture("ministral3", "mistral3", permutes: true),
        Architecture("smollm3", "smollm3", permutes: true, ties: true),
        Architecture("granite", "granite", permutes: true),
        Architecture("arcee", "arcee", permutes: true),
        Architecture("qwen2", "qwen2", permutes: false),
        Architecture("qwen2_moe", "qwen2moe", permutes: false),
        Architecture("qwen3", "qwen3", permutes: false),
        Architecture("qwen3_moe", "qwen3moe", permutes: false),
        Architecture("qwen3_5_text", "qwen35", permutes: false),
        Architecture("qwen3_5", "qwen35", permutes: false, root: multimodal),
        Architecture("qwen3_5_moe_text", "qwen35moe", permutes: false),
        Architecture("qwen3_5_moe", "qwen35moe", permutes: false, root: multimodal),
        Architecture("qwen2_vl", "qwen2vl", permutes: false, root: multimodal),
        Architecture("qwen2_5_vl", "qwen2vl", permutes: false, root: multimodal),
        Architecture("qwen3_vl", "qwen3vl", permutes: false, root: multimodal),
        Architecture("qwen3_vl_moe", "qwen3vlmoe", permutes: false, root: multimodal),
        Architecture("gemma", "gemma", permutes: false, ties: true),
        Architecture("gemma2", "gemma2", permutes: false, ties: true),
        Architecture("gemma3_text", "gemma3", permutes: false, ties: true),
        Architecture("gemma3", "gemma3", permutes: false, ties: true, root: multimodal),
        Architecture("gemma4_text", "gemma4", permutes: false, ties: true),
        Architecture("gemma4", "gemma4", permutes: false, ties: true, root: multimodal),
        Architecture("phi3", "phi3", permutes: false),
        Architecture("apertus", "apertus", permutes: false),
    ]

    /// By `model_type`, else by GGUF's name, of which the first in the list counts.
    static func named(_ name: String) -> Architecture? {
        all.first { $0.modelType == name } ?? all.first { $0.gguf == name }
    }

    static func gguf(_ name: String) -> Architecture? { all.first { $0.gguf == name } }

    static var names: String { Set(all.map(\.gguf)).sorted(by: precedes).joined(separator: ", ") }
}
