import Files
import Tensor

/// Names of Hugging Face modules and of the GGUF tensors that their weights become.
public enum GGUFNames {
    /// Where a module's weight is: a tensor, or one expert of a tensor of three dimensions.
    public struct Place: Hashable {
        /// "blk.0.attn_q.weight"
        public let tensor: String
        public let expert: Int?
    }

    private static let plain: [(module: String, tensor: String)] = [
        ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"), ("self_attn.qkv_proj", "attn_qkv"), ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"), ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.gate", "ffn_gate_inp"), ("block_sparse_moe.gate", "ffn_gate_inp"),
        ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"), ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
        ("mlp.shared_expert.down_proj", "ffn_down_shexp"), ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
        ("per_layer_input_gate", "inp_gate"), ("per_layer_projection", "proj"),
    ]
    private static let experts = ["gate": "ffn_gate_exps", "up": "ffn_up_exps", "down": "ffn_down_exps"]
    private static let prefixes = ["model.language_model.", "language_model.model.", "model."]

    /// Where the weight of a module is. Throws `.unsupported` for a module that the table does not have.
    public static func place(of module: String) throws(LoragenError) -> Place {
        if module == "lm_head" || module == "language_model.lm_head" {
            return Place(tensor: "output.weight", expert: nil)
        }
        for prefix in prefixes where module.hasPrefix(prefix) {
            let rest = module.dropFirst(prefix.count)
            if rest == "embed_tokens" { return Place(tensor: "token_embd.weight", expert: nil) }
            let parts = rest.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[0] == "layers", let layer = number(parts[1]) else { continue }
            if let tensor = plain.first(where: { $0.module == parts[2] })?.tensor {
                return Place(tensor: "blk.\(layer).\(tensor).weight", expert: nil)
            }
            for names in [Architecture.Experts.qwen, .mixtral] where parts[2].hasPrefix(names.path + ".") {
                let last = parts[2].dropFirst(names.path.count + 1).split(
                    separator: ".", omittingEmptySubsequences: false)
                let kinds = [names.gate: "gate", names.up: "up", names.down: "down"]
                if last.count == 2, let expert = number(last[0]), let kind = kinds[String(last[1])],
                    let tensor = experts[kind]
                {
                    return Place(tensor: "blk.\(layer).\(tensor).weight", expert: expert)
                }
            }
        }
        throw LoragenError(
            .unsupported,
            "module '\(shortened(module))' has no name in GGUF that this library knows; llama.cpp takes adapters of the "
                + "attention, feed-forward and expert projections of model.layers.N, of lm_head and of embed_tokens")
    }

    /// The module whose weight a tensor is, in the names that the base model's architecture has in Hugging Face.
    static func module(of tensor: String, expert: Int?, base: BaseModel) -> String? {
        if tensor == "output.weight" { return "lm_head" }
        if tensor == "token_embd.weight" { return "\(base.root)embed_tokens" }
        let parts = tensor.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0] == "blk", parts[3] == "weight", let layer = number(parts[1]) else {
            return nil
        }
        let name = String(parts[2])
        let start = "\(base.root)layers.\(layer)."
        if let expert {
            let names = base.expertNames
            let kinds = ["ffn_gate_exps": names.gate, "ffn_up_exps": names.up, "ffn_down_exps": names.down]
            return kinds[name].map { start + "\(names.path).\(expert).\($0)" }
        }
        if name == "ffn_up" && base.architecture == "phi3" { return start + "mlp.gate_up_proj" }
        if name == "ffn_gate_inp" && base.expertNames == .mixtral { return start + "block_sparse_moe.gate" }
        return plain.first { $0.tensor == name }.map { start + $0.module }
    }

    private static func number(_ text: Substring) -> Int? {
        guard let value = nameIndex(text), String(value) == text else { return nil }
        return value
    }
}
