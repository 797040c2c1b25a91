import Tensor

/// What kind of layer an adapter's module changes. Linear layers only, so far.
public enum ModuleKind: String, Sendable {
    /// `weight [out, in] += scale · B · A`
    case linear
}

/// How alpha becomes the factor before `B · A`.
public enum ModuleScaling: String, Sendable {
    /// alpha / r, as in the LoRA paper.
    case standard
    /// alpha / √r, "rank-stabilised".
    case rankStabilised = "rslora"
}

/// One adapted module: `lora_A [rank, inputs]`, `lora_B [outputs, rank]`.
public struct ModuleShape: Equatable, Hashable, Sendable {
    /// Path inside the Hugging Face model, "vit.encoder.layer.0.attention.attention.query".
    public let name: String
    public let kind: ModuleKind
    /// The first whole number among the components of the name, 0 in the example; `nil` if there is none.
    public let layerIndex: Int?
    public let inputs: Int
    public let outputs: Int
    public let rank: Int
    public let alpha: Double
    public let scaling: ModuleScaling

    /// The largest dimension that is accepted; LAPACK counts in 32 bits.
    public static let dimensionLimit = 1 << 30
    /// The largest rank that is accepted.
    public static let rankLimit = 1 << 14

    /// Throws `.invalidArgument` for a name that no PEFT key can carry, and for sizes that are not positive or too large.
    public init(
        name: String, kind: ModuleKind = .linear, inputs: Int, outputs: Int, rank: Int, alpha: Double,
        scaling: ModuleScaling = .standard
    ) throws(LoragenError) {
        let components = name.split(separator: ".", omittingEmptySubsequences: false)
        let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != UInt8(ascii: "/") }
        if !isPlain || name.utf8.count > 1024 || components.contains("")
            || components.contains(where: { $0 == "lora_A" || $0 == "lora_B" })
        {
            throw LoragenError(
                .invalidArgument,
                "module '\(shortened(name))': expected a path of names with dots between, at most 1024 bytes, without "
                    + "spaces, '/' or the names lora_A and lora_B")
        }
        for (what, value, limit) in [
            ("inputs", inputs, Self.dimensionLimit), ("outputs", outputs, Self.dimensionLimit),
            ("rank", rank, Self.rankLimit),
        ] where value < 1 || value > limit {
            throw LoragenError(
                .invalidArgument, "module '\(name)': \(what) is \(value); expected 1 to \(limit)")
        }
        if !alpha.isFinite || alpha == 0 || abs(alpha) > 1e9 {
            throw LoragenError(
                .invalidArgument, "module '\(name)': alpha is \(alpha); expected a finite number other than 0")
        }
        self.name = name
        self.kind = kind
        layerIndex = components.lazy.compactMap { Int($0) }.first { $0 >= 0 }
        self.inputs = inputs
        self.outputs = outputs
        self.rank = rank
        self.alpha = alpha
        self.scaling = scaling
    }

    /// The factor before `B · A`.
    public var scale: Double {
        switch scaling {
        case .standard: return alpha / Double(rank)
        case .rankStabilised: return alpha / Double(rank).squareRoot()
        }
    }

    /// The PEFT key of `A [rank, inputs]`.
    public var keyA: String { "base_model.model." + name + ".lora_A.weight" }
    /// The PEFT key of `B [outputs, rank]`.
    public var keyB: String { "base_model.model." + name + ".lora_B.weight" }

    /// The same module with another rank; alpha = rank, so that the scale is 1.
    public func withRank(_ rank: Int) throws(LoragenError) -> ModuleShape {
        try ModuleShape(
            name: name, kind: kind, inputs: inputs, outputs: outputs, rank: rank, alpha: Double(rank))
    }
}
