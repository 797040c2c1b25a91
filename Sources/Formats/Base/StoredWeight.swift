import Files

/// How checkpoints name a module's weight where it is not the plain `<module>.weight`.
public enum StoredWeight {
    /// Endings of the codes of quantised weights: GPTQ, AWQ and EETQ; compressed-tensors; HQQ; Quanto; AQLM and VPTQ.
    private static let packed = [".qweight", ".weight_packed", ".W_q", ".weight._data", ".codes", ".weight.qdata"]

    /// The name that the weight would have in full precision; `nil` for what is no packed weight.
    public static func unpacked(_ name: String) -> String? {
        packed.first { name.hasSuffix($0) }.map { String(name.dropLast($0.count)) + ".weight" }
    }

    /// Whether a stored shape is that of the codes and not of the matrix: integers wider or narrower than the weights that
    /// they hold. (INT8 and FP8 keep a number each.)
    public static func hidesShape(_ type: ElementType) -> Bool {
        ![.f64, .f32, .f16, .bf16, .i8].contains(type) && !type.rawValue.hasPrefix("F8")
    }

    /// Between the checkpoint of a class of transformers and that of a larger one around it: the classes'
    /// `base_model_prefix`, and the towers of models with several.
    public static let classPrefixes: Set<String> = [
        "model", "transformer", "language_model", "model.language_model", "language_model.model", "text_model",
        "model.text_model", "vision_model", "vision_tower", "model.vision_tower", "backbone", "encoder", "decoder",
        "model.decoder", "model.encoder", "bert", "roberta", "distilbert", "albert", "electra", "deberta", "vit",
        "deit",
        "beit", "dinov2", "dinov2_with_registers", "swin", "swinv2", "convnext", "convnextv2", "segformer", "gpt_neox",
        "longformer", "layoutlm", "layoutlmv2", "layoutlmv3", "esm", "wav2vec2", "hubert", "wavlm", "mobilebert",
        "funnel",
        "xlnet", "camembert", "flaubert", "rwkv",
    ]
}
