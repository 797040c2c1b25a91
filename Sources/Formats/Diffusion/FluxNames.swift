import Tensor

/// Flux in diffusers and in Black Forest Labs' code, where attention's projections are one matrix.
enum FluxNames {
    /// Paths in diffusers after the block's index, and the name that stands for all of them together.
    struct Fusion {
        let original: String
        let paths: [String]
    }

    static let double: [Fusion] = [
        Fusion(original: "img_attn_qkv", paths: ["attn.to_q", "attn.to_k", "attn.to_v"]),
        Fusion(original: "txt_attn_qkv", paths: ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
        Fusion(original: "img_attn_proj", paths: ["attn.to_out.0"]),
        Fusion(original: "txt_attn_proj", paths: ["attn.to_add_out"]),
        Fusion(original: "img_mlp_0", paths: ["ff.net.0.proj"]), Fusion(original: "img_mlp_2", paths: ["ff.net.2"]),
        Fusion(original: "txt_mlp_0", paths: ["ff_context.net.0.proj"]),
        Fusion(original: "txt_mlp_2", paths: ["ff_context.net.2"]),
        Fusion(original: "img_mod_lin", paths: ["norm1.linear"]),
        Fusion(original: "txt_mod_lin", paths: ["norm1_context.linear"]),
    ]
    static let single: [Fusion] = [
        Fusion(original: "linear1", paths: ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]),
        Fusion(original: "linear2", paths: ["proj_out"]), Fusion(original: "modulation_lin", paths: ["norm.linear"]),
    ]

    /// Rows of one part of a fused matrix: attention is as wide as the model, the hidden layer four times.
    static func rows(_ path: String, width: Int) -> Int { path == "proj_mlp" ? 4 * width : width }

    /// A place in the model: the block, and what is fused there. `nil` when kohya's files have no name for the path.
    static func place(of path: String) -> (block: String, fusion: Fusion, part: Int)? {
        let parts = path.split(separator: ".", maxSplits: 2)
        guard parts.count == 3, let index = nameIndex(parts[1]) else { return nil }
        let (list, name): ([Fusion], String)
        switch parts[0] {
        case "transformer_blocks": (list, name) = (double, "double_blocks")
        case "single_transformer_blocks": (list, name) = (single, "single_blocks")
        default: return nil
        }
        for fusion in list {
            if let part = fusion.paths.firstIndex(of: String(parts[2])) { return ("\(name)_\(index)_", fusion, part) }
        }
        return nil
    }

    /// Of a name without "lora_unet_": the start of the paths in diffusers, and what is fused.
    static func parse(_ flat: Substring) -> (prefix: String, fusion: Fusion)? {
        for (name, list, prefix) in [
            ("double_blocks_", double, "transformer_blocks"), ("single_blocks_", single, "single_transformer_blocks"),
        ] where flat.hasPrefix(name) {
            let rest = flat.dropFirst(name.count)
            let digits = rest.prefix { ("0"..."9").contains($0) }
            guard let index = nameIndex(digits), rest.dropFirst(digits.count).first == "_" else { return nil }
            var original = String(rest.dropFirst(digits.count + 1))
            // HunyuanVideo is made alike.
            for (own, flux) in [
                ("mlp_fc1", "mlp_0"), ("mlp_fc2", "mlp_2"), ("mod_linear", "mod_lin"),
                ("modulation_linear", "modulation_lin"),
            ]
            where original.hasSuffix(own) { original = String(original.dropLast(own.count)) + flux }
            return list.first { $0.original == original }.map { ("\(prefix).\(index).", $0) }
        }
        return nil
    }
}
