import Tensor

/// Keys of diffusion models' files whose modules are paths with dots: diffusers' of all years, ComfyUI's
/// ("diffusion_model." before the original code's path) and XLabs' for Flux.
struct PathName {
    enum Side { case a, b, alpha }

    enum Place {
        case module(DiffusionName)
        /// A matrix that diffusers has in parts; `prefix` stands before their paths.
        case fused(prefix: String, FluxNames.Fusion)
    }

    let place: Place
    let side: Side

    private static let endings: [(text: String, side: Side)] = [
        (".lora_A.weight", .a), (".lora_B.weight", .b), (".lora_A.default.weight", .a), (".lora_B.default.weight", .b),
        (".lora.down.weight", .a), (".lora.up.weight", .b), (".lora_down.weight", .a), (".lora_up.weight", .b),
        (".lora_linear_layer.down.weight", .a), (".lora_linear_layer.up.weight", .b),
        (".lora_layer.down.weight", .a), (".lora_layer.up.weight", .b), (".alpha", .alpha),
    ]
    private static let oldEndings: [(text: String, side: Side)] = [(".down.weight", .a), (".up.weight", .b)]

    /// `nil` for a key that is none of these.
    init?(_ key: String) {
        let processor = ForeignTensor.has(key, ".processor.")
        guard let ending = (Self.endings + (processor ? Self.oldEndings : [])).first(where: { key.hasSuffix($0.text) })
        else { return nil }
        side = ending.side
        let path = String(key.dropLast(ending.text.utf8.count))
        guard let place = processor ? Self.processor(path) : Self.place(path) else { return nil }
        self.place = place
    }

    /// What modules are gathered by.
    var key: String {
        switch place {
        case .module(let name): name.text
        case .fused(let prefix, let fusion): "transformer." + prefix + fusion.original
        }
    }

    private static func place(_ path: String) -> Place? {
        let original = "diffusion_model."
        if path.hasPrefix(original) { return comfy(String(path.dropFirst(original.count))) }
        guard let name = DiffusionName(path), path.hasPrefix(name.component.rawValue + ".") else { return nil }
        return .module(name)
    }

    // MARK: - Attention processors

    /// diffusers of 2023 kept LoRA in attention's processors, and so does XLabs.
    private static func processor(_ path: String) -> Place? {
        var parts = path.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        if parts.first == "diffusion_model" { parts.removeFirst() }
        guard parts.count > 2, parts[parts.count - 2] == "processor", let last = parts.last else { return nil }
        let start = parts.dropLast(2)
        if start.count == 2, let index = nameIndex(start[1]) { return xLabs(start[0], index, last) }
        guard last.hasSuffix("_lora") else { return nil }
        let layer = String(last.dropLast("_lora".count))
        guard ["to_q", "to_k", "to_v", "to_out", "add_k_proj", "add_v_proj"].contains(layer) else { return nil }
        return place((start + [layer == "to_out" ? "to_out.0" : layer]).joined(separator: "."))
    }

    private static func xLabs(_ block: String, _ index: Int, _ name: String) -> Place? {
        let names = [
            "qkv_lora1": "img_attn_qkv", "proj_lora1": "img_attn_proj", "qkv_lora2": "txt_attn_qkv",
            "proj_lora2": "txt_attn_proj",
        ]
        if block == "double_blocks", let original = names[name] {
            return FluxNames.parse("double_blocks_\(index)_\(original)").map { .fused(prefix: $0.prefix, $0.fusion) }
        }
        guard block == "single_blocks", name == "qkv_lora" || name == "proj_lora" else { return nil }
        let paths = name == "qkv_lora" ? ["attn.to_q", "attn.to_k", "attn.to_v"] : ["proj_out"]
        return .fused(
            prefix: "single_transformer_blocks.\(index).", FluxNames.Fusion(original: name, paths: paths))
    }

    // MARK: - ComfyUI

    /// A path of the original code: Wan's, Flux' and HunyuanVideo's, the UNets'; others are often diffusers' own.
    private static func comfy(_ path: String) -> Place? {
        let parts = path.split(separator: ".", maxSplits: 2).map(String.init)
        if parts.count == 3, parts[0] == "blocks", let index = nameIndex(parts[1]), let own = wan[parts[2]] {
            return .module(DiffusionName(.transformer, "blocks.\(index).\(own)"))
        }
        if let fused = FluxNames.parse(FlatName.flat(path)[...]) {
            return .fused(prefix: fused.prefix, fused.fusion)
        }
        if UNetNames.isOriginal(path) {
            return UNetNames.diffusers(path).map { .module(DiffusionName(.unet, $0)) }
        }
        guard let name = DiffusionName("transformer." + path) else { return nil }
        return .module(name)
    }

    private static let wan = [
        "self_attn.q": "attn1.to_q", "self_attn.k": "attn1.to_k", "self_attn.v": "attn1.to_v",
        "self_attn.o": "attn1.to_out.0", "cross_attn.q": "attn2.to_q", "cross_attn.k": "attn2.to_k",
        "cross_attn.v": "attn2.to_v", "cross_attn.o": "attn2.to_out.0", "cross_attn.k_img": "attn2.add_k_proj",
        "cross_attn.v_img": "attn2.add_v_proj", "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2",
    ]
}
