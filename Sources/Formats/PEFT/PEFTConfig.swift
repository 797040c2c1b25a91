import Adapters
import Files
import Tensor

/// What `adapter_config.json` says, as far as it bears on the numbers. PEFT 0.21.2, LoraConfig.
public struct PEFTConfig {
    public static let fileName = "adapter_config.json"

    let source: String
    public let rank: Int
    public let alpha: Double
    public let scaling: ModuleScaling
    let baseModel: String?
    let taskType: String?
    let targets: PEFTTargets
    /// Parameters that are adapted without a module of their own: experts.
    let targetParameters: [String]
    /// Of the PEFT that wrote the file.
    let version: (major: Int, minor: Int)?
    /// DoRA.
    let usesMagnitudes: Bool
    /// `fan_in_fan_out`: layers that are Conv1D keep their weights transposed. PEFT looks at each layer and resets the flag
    /// where it is none, and so does `isConv1D`.
    let isTransposed: Bool
    private let rankPattern: PEFTPatterns
    private let alphaPattern: PEFTPatterns
    /// What it asks for beside the factors, and is not read.
    let beside: [String]
    /// Of the config, what a written adapter should carry on.
    let metadata: [String: String]

    /// Reads the file. Throws `.io`, `.format`, and `.unsupported` for what goes beyond LoRA and DoRA, unless `part` allows
    /// what stands beside them.
    public init(path: String, part: LoRAPart = LoRAPart()) throws(LoragenError) {
        try self.init(json: JSON.read(path: path), source: path, part: part)
    }

    public init(json: JSON, source: String, part: LoRAPart = LoRAPart()) throws(LoragenError) {
        guard json.object != nil else {
            throw LoragenError(.format, "\(source): found \(json.kind), expected an object")
        }
        self.source = source
        beside = try Self.refuseOtherMethods(json, source, part)
        guard let rank = json["r"]?.integer, rank >= 1, rank <= ModuleShape.rankLimit else {
            throw Self.wrong(json, "r", "a whole number from 1 to \(ModuleShape.rankLimit)", source)
        }
        guard let alpha = json["lora_alpha"]?.double, alpha != 0 else {
            throw Self.wrong(json, "lora_alpha", "a number other than 0", source)
        }
        self.rank = rank
        self.alpha = alpha
        scaling = try Self.flag(json, "use_rslora", source) ? .rankStabilised : .standard
        rankPattern = try PEFTPatterns(json["rank_pattern"], field: "rank_pattern", source: source)
        alphaPattern = try PEFTPatterns(json["alpha_pattern"], field: "alpha_pattern", source: source)
        switch json["base_model_name_or_path"] ?? .null {
        case .null: baseModel = nil
        case .string(let name): baseModel = name
        default: throw Self.wrong(json, "base_model_name_or_path", "a string or null", source)
        }
        switch json["target_parameters"] ?? .null {
        case .null: targetParameters = []
        case .array(let list) where list.allSatisfy({ $0.string?.isEmpty == false }):
            targetParameters = list.compactMap(\.string)
        default: throw Self.wrong(json, "target_parameters", "a list of names", source)
        }
        let numbers = json["peft_version"]?.string?.split(separator: ".").prefix(2).map { Int($0) } ?? []
        if numbers.count == 2, let major = numbers[0], let minor = numbers[1] {
            version = (major, minor)
        } else {
            version = nil
        }
        targets = try PEFTTargets(json, isOptional: !targetParameters.isEmpty, source: source)
        usesMagnitudes = try Self.flag(json, "use_dora", source)
        isTransposed = try Self.flag(json, "fan_in_fan_out", source)
        switch json["task_type"] ?? .null {
        case .null: taskType = nil
        case .string(let task) where Layout.taskTypes.contains(task): taskType = task
        default:
            throw Self.wrong(json, "task_type", "null or one of \(Layout.taskTypes.joined(separator: " "))", source)
        }
        var metadata: [String: String] = [:]
        if let revision = json["revision"]?.string { metadata["peft.revision"] = revision }
        self.metadata = metadata
    }

    /// Rank and alpha of a module, by the patterns or the general values.
    func rankAndAlpha(of module: String) throws(LoragenError) -> (rank: Int, alpha: Double) {
        var rank = rank
        if let value = try rankPattern.value(for: module) {
            guard let whole = Int(exactly: value), whole >= 1, whole <= ModuleShape.rankLimit else {
                throw LoragenError(
                    .format,
                    "\(source): 'rank_pattern' gives module '\(module)' the rank \(value); expected a whole number from "
                        + "1 to \(ModuleShape.rankLimit)")
            }
            rank = whole
        }
        return (rank, try alphaPattern.value(for: module) ?? alpha)
    }

    /// Whether a module is transformers' Conv1D by its name: GPT-2 and its kin (openai-gpt, imagegpt, decision transformer,
    /// CLVP) alone have them, under these.
    public static func isConv1D(_ module: String) -> Bool {
        let last = module.utf8.lastIndex(of: UInt8(ascii: ".")).map { module[module.utf8.index(after: $0)...] }
        return ["c_attn", "q_attn", "c_proj", "c_fc"].contains(last ?? module[...])
    }

    public static func wrong(_ json: JSON, _ field: String, _ expected: String, _ source: String) -> LoragenError {
        LoragenError(.format, "\(source): '\(field)' is \(json[field]?.kind ?? "missing"); expected \(expected)")
    }

    private static func flag(_ json: JSON, _ field: String, _ source: String) throws(LoragenError) -> Bool {
        switch json[field] ?? .null {
        case .null: return false
        case .bool(let value): return value
        default: throw wrong(json, field, "true or false", source)
        }
    }

    /// Refuses everything that would make the adapter more than `scale · B · A` and magnitudes; gives what stands beside
    /// them, where `part` allows it.
    private static func refuseOtherMethods(
        _ json: JSON, _ source: String, _ part: LoRAPart
    ) throws(LoragenError) -> [String] {
        guard let method = json["peft_type"]?.string else {
            if MLXFolder.isConfig(json) {
                throw LoragenError(
                    .unsupported,
                    "\(source): a config of mlx-lm, where PEFT's is expected; convert the adapter to a PEFT folder first"
                )
            }
            throw wrong(json, "peft_type", "\"LORA\"", source)
        }
        if method != "LORA" {
            let methods = [
                "LOHA": "LoHa", "LOKR": "LoKr", "OFT": "OFT", "BOFT": "BOFT", "VERA": "VeRA", "IA3": "(IA)3",
                "ADALORA": "AdaLoRA", "HRA": "HRA", "PROMPT_TUNING": "prompt tuning", "P_TUNING": "p-tuning",
                "PREFIX_TUNING": "prefix tuning", "MULTITASK_PROMPT_TUNING": "multitask prompt tuning",
                "ADAPTION_PROMPT": "adaption prompts", "POLY": "Poly", "XLORA": "X-LoRA", "FOURIERFT": "FourierFT",
                "VBLORA": "VB-LoRA", "LN_TUNING": "LayerNorm tuning", "RANDLORA": "RandLoRA", "BONE": "Bone",
                "MISS": "MiSS", "SHIRA": "SHiRA", "C3A": "C3A", "ROAD": "RoAd", "TRAINABLE_TOKENS": "trained tokens",
            ]
            throw LoragenError(
                .unsupported,
                "\(source): 'peft_type' is \"\(shortened(method))\"\(methods[method].map { ", which is \($0)" } ?? ""); this "
                    + "library reads \"LORA\"")
        }
        let bias = json["bias"] ?? "none"
        if bias != "none" && !bias.isNull && !(part.allowsMore && bias.string != nil) {
            throw LoragenError(
                .unsupported,
                "\(source): 'bias' is \(bias.kind); this library reads adapters with bias \"none\". \(LoRAPart.advice)")
        }
        // What stands beside the factors, and what changes their meaning.
        let beside: [(field: String, means: String)] = [
            ("lora_bias", "a bias in lora_B"), ("modules_to_save", "fully trained modules"),
            ("trainable_token_indices", "trained tokens"),
        ]
        var leftOut: [String] = []
        let switches: [(field: String, means: String)] = [
            ("layer_replication", "replicated layers"), ("use_qalora", "QALoRA"), ("use_bdlora", "BD-LoRA"),
            ("alora_invocation_tokens", "activated LoRA"), ("kasa_config", "KaSA"), ("velora_config", "VeLoRA"),
            ("monteclora_config", "MonteCLoRA"), ("arrow_config", "Arrow"),
        ]
        for (i, (field, means)) in (beside + switches).enumerated() {
            switch json[field] ?? .null {
            case .null, .bool(false): continue
            case .array(let list) where list.isEmpty: continue
            case .object(let object) where object.count == 0: continue
            default:
                let isBeside = i < beside.count
                if isBeside && part.allowsMore {
                    leftOut.append("'\(field)' asks for \(means)")
                    continue
                }
                throw LoragenError(
                    .unsupported,
                    "\(source): '\(field)' asks for \(means), which this library does not read"
                        + (isBeside ? ". \(LoRAPart.advice)" : ""))
            }
        }
        switch json["init_lora_weights"] ?? .null {
        case .null, .bool, "gaussian", "eva", "orthogonal", "mica": break
        default:
            throw LoragenError(
                .unsupported,
                "\(source): 'init_lora_weights' is \(json["init_lora_weights"]?.kind ?? "missing"), which changes the base "
                    + "weights; convert the adapter with PEFT's path_initial_model_for_weight_conversion first")
        }
        return leftOut
    }
}
