import Files
import Tensor

/// Tensors beside or instead of LoRA's in the files of other tools, told by their names.
enum ForeignTensor {
    /// Ends or parts of names after a dot, and what they are, as the end of "the tensor is ...". PEFT 0.21, LyCORIS 3.
    private static let kinds: [(part: String, means: String)] = methods + beside
    /// Of other methods, or a part of what their LoRA computes.
    private static let methods: [(part: String, means: String)] = [
        (".hada_w", "of LoHa, products of two low-rank matrices element by element"),
        (".hada_t", "of LoHa, products of two low-rank matrices element by element"),
        (".lokr_", "of LoKr, Kronecker products"), (".boft_", "of BOFT, butterfly rotations"),
        (".oft_", "of OFT, rotations of the weights"), (".hra_", "of HRA, reflections of the weights"),
        (".vera_lambda", "of VeRA, scales of shared random matrices"), (".ia3_", "of (IA)3, scales of activations"),
        (".on_input", "of (IA)3, scales of activations"), ("prompt_embeddings", "of prompt tuning, trained tokens"),
        ("prompt_encoder", "of prompt tuning, trained tokens"), ("adaption_prompt", "of adaption prompts"),
        (".randlora_", "of RandLoRA, scales of random matrices"), (".vblora_", "of VB-LoRA, a bank of vectors"),
        (".fourierft_", "of FourierFT, a spectrum"), (".lora_E", "of AdaLoRA, which masks its ranks"),
        (".bone_", "of Bone, blocks that are added"), (".miss_", "of MiSS, blocks that are added"),
        (".shira_", "of SHiRA, sparse updates"), (".c3a_", "of C3A, circular convolutions"),
        (".road_", "of RoAd, rotations"), (".ln_tuning", "of LayerNorm tuning"), (".a1.weight", "of GLoRA"),
        (".lora_mid.", "a Tucker core (LoCon's CP form)"), (".dora_scale", "DoRA's scale, which diffusers drops"),
    ]
    /// What a LoRA is the same without.
    private static let beside: [(part: String, means: String)] = [
        (".diff_b", "a whole change of a bias"), (".diff", "a whole change of a weight"),
        (".set_weight", "a whole weight"), (".w_norm", "a norm's weight"), (".b_norm", "a norm's bias"),
        ("trainable_tokens", "trained tokens"), (".lora_bias", "a bias in lora_B"),
        (
            ".base_layer.weight",
            "a copy of the base model's table (PEFT leaves it out with save_embedding_layers=False)"
        ),
    ]

    /// `nil` for a name that tells nothing.
    static func meaning(of name: String) -> String? {
        if has(name, ".lora_B.") && name.hasSuffix(".bias") { return "a bias in lora_B" }
        return kinds.first { has(name, $0.part) }?.means
    }

    /// Whether the LoRA is the same without it.
    static func isBeside(_ name: String) -> Bool { !methods.contains { has(name, $0.part) } }

    static func has(_ text: String, _ part: String) -> Bool {
        let (text, part) = (text.utf8, part.utf8)
        guard let first = part.first else { return true }
        var rest = text[...]
        while let start = rest.firstIndex(of: first) {
            if rest[start...].starts(with: part) { return true }
            rest = rest[rest.index(after: start)...]
        }
        return false
    }

    /// Why a safetensors file is no adapter of a layout that is read.
    static func refusal(of file: SafetensorsFile) -> LoragenError {
        let names = file.tensors.map(\.name)
        func any(_ part: String) -> String? { names.first { has($0, part) } }
        let path = file.path
        if file.metadata["format"] == "loragen.compact" {
            return LoragenError(
                .unsupported,
                "\(path): a compact adapter, numbers for the directions of a basis; expand it with the basis file of its base "
                    + "model first (loragen expand)")
        }
        if file.metadata["format"] == "loragen.basis" {
            return LoragenError(
                .unsupported,
                "\(path): a basis of a base model's weights, and no adapter; compact adapters are expanded with it")
        }
        if let name = names.first(where: { $0.hasPrefix(PEFTKey.prefix) }) {
            return LoragenError(
                .unsupported,
                "\(path): its keys, '\(shortened(name))' for one, are PEFT's, and PEFT has rank and alpha in a config "
                    + "beside it; give the folder with adapter_config.json and adapter_model.safetensors")
        }
        if let name = names.first(where: { $0.hasSuffix(".lora_a") || $0.hasSuffix(".lora_b") }) {
            return LoragenError(
                .unsupported,
                "\(path): its keys, '\(shortened(name))' for one, are mlx-lm's, which has the scale in a config beside it; "
                    + "give the folder with adapter_config.json and adapters.safetensors")
        }
        for name in names {
            guard let meaning = meaning(of: name) else { continue }
            return LoragenError(
                .unsupported, "\(path): tensor '\(shortened(name))' is \(meaning), and this library reads LoRA")
        }
        guard let name = any("lora") else {
            return LoragenError(
                .unsupported,
                "\(path): no adapter; none of its \(names.count) tensors is LoRA's "
                    + "(\(names.prefix(3).map(shortened).joined(separator: ", "))...). Is it a model, or a generator?")
        }
        return LoragenError(
            .unsupported,
            "\(path): tensor '\(shortened(name))' is named by none of the rules that are known: those of this library's own "
                + "files (with 'loragen.layout' in their metadata), diffusers ('unet.' or 'transformer.' before the "
                + "module), ComfyUI ('diffusion_model.'), kohya ('lora_unet_') or XLabs; PEFT and mlx-lm adapters are folders"
        )
    }
}
