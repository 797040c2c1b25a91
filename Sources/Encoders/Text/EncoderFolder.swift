import Files
import Tensor

extension TextEncoder {
    /// Opens a folder with config.json, safetensors and tokenizer files; `tokenizer` is another folder that has the latter.
    /// Weights are mapped. Throws `.io`, `.format`, `.unsupported` and `.mismatch`, naming file and tensor.
    public static func open(_ folder: String, tokenizer: String? = nil) throws(LoragenError) -> TextEncoder {
        try TextEncoder(EncoderFolder(FolderFiles(folder), tokenizer: tokenizer))
    }
}

/// What a folder of an encoder says, in the words of transformers, sentence-transformers and Model2Vec.
struct EncoderFolder {
    let files: FolderFiles
    private(set) var family = ""
    private(set) var tokenizer: Tokenizer
    private(set) var tower: any TextTower
    private(set) var weights: EncoderWeights
    private(set) var pooling = Pooling.mean
    private(set) var poolingIsStated = false
    private(set) var isNormalized = false
    private(set) var limit: Int?
    private(set) var dense: [DenseLayer] = []
    private(set) var lowercases = false
    private(set) var prompt = ""
    private(set) var dropsUnknown: Int32?
    private(set) var longestText: Int?
    private var isModel2Vec = false

    init(_ files: FolderFiles, tokenizer folder: String?) throws(LoragenError) {
        self.files = files
        let modules = try SentenceModules(files)
        // sentence-transformers keeps the network at the top or in a folder of its own.
        let inner = FolderFiles(modules.network.isEmpty ? files.folder : files.path(modules.network))
        let here = inner.has("config.json") || inner.has("model.safetensors") ? inner : files
        let config = try here.json("config.json")
        // Newer folders of Model2Vec do not name it, and have what sentence-transformers' own have not.
        isModel2Vec =
            config?["model_type"]?.string == "model2vec" || modules.isStatic && config?["normalize"]?.bool != nil
        if modules.isStatic || isModel2Vec {
            (weights, tower, family) = try Self.staticTower(here)
        } else {
            guard let config else {
                throw LoragenError(.io, "\(here.path("config.json")): it is missing; expected an encoder's folder")
            }
            (weights, tower, family) = try Self.network(here, EncoderConfig(config, path: here.path("config.json")))
        }
        let names = [folder, here.folder, files.folder].compactMap { $0 }
        let found = names.first { Tokenizer.isIn($0) } ?? names[0]
        tokenizer = try Tokenizer.open(folder: folder ?? found)
        try pool(modules, config)
        try cut(here, modules)
        for name in modules.dense { try addDense(name) }
        if family == "clip", let projection = try Self.projection(weights, here, tower.width) {
            dense.append(projection)
        }
        if isModel2Vec {
            dropsUnknown = tokenizer.unknown
            let longest = (limit ?? 0).multipliedReportingOverflow(by: tokenizer.medianTokenLength())
            if limit != nil, !longest.overflow { longestText = longest.partialValue }
        }
        try readPrompt()
    }

    // MARK: - Networks

    private static func network(
        _ files: FolderFiles, _ config: EncoderConfig
    ) throws(LoragenError) -> (EncoderWeights, any TextTower, String) {
        let type = config.text("model_type") ?? ""
        if BERTTower.types.contains(type) {
            let weights = try EncoderWeights(
                files, prefixes: ["", "\(type).", "bert.", "roberta."], probe: "embeddings.word_embeddings.weight")
            return (weights, try BERTTower(weights, config), type)
        }
        switch type {
        case "clip", "clip_text_model":
            var own = config
            if let inner = config.json["text_config"] {
                own = EncoderConfig(inner, path: "\(config.path), text_config")
            }
            let weights = try EncoderWeights(
                files, prefixes: ["text_model.", ""], probe: "embeddings.token_embedding.weight")
            return (weights, try CLIPTextTower(weights, own), "clip")
        case "t5", "mt5":
            let weights = try EncoderWeights(files, prefixes: [""], probe: "encoder.final_layer_norm.weight")
            return (weights, try T5Tower(weights, config), type)
        default:
            throw LoragenError(
                .unsupported,
                "\(config.path): model_type is \"\(shortened(type))\"; of texts, bert, roberta, xlm-roberta, camembert, clip, "
                    + "t5, mt5 and model2vec are read")
        }
    }

    private static func staticTower(
        _ files: FolderFiles
    ) throws(LoragenError) -> (EncoderWeights, any TextTower, String) {
        let names = ["embeddings", "embedding.weight"]
        var failure: LoragenError?
        for name in names {
            do throws(LoragenError) {
                let weights = try EncoderWeights(files, prefixes: [""], probe: name)
                return (weights, try StaticTower(weights, name: name), "static")
            } catch { failure = failure ?? error }
        }
        throw failure ?? LoragenError(.format, "\(files.folder): no table of embeddings")
    }

    /// CLIP's projection of the text's state, where the folder has it.
    private static func projection(
        _ weights: EncoderWeights, _ files: FolderFiles, _ width: Int
    ) throws(LoragenError) -> DenseLayer? {
        for file in weights.files {
            guard let tensor = file.tensor("text_projection.weight") else { continue }
            guard tensor.shape.count == 2, tensor.shape[1] == width, EncoderConfig.widths.contains(tensor.shape[0])
            else {
                throw LoragenError(
                    .format,
                    "\(file.path): tensor 'text_projection.weight' has shape \(tensor.shape); expected [numbers, \(width)]"
                )
            }
            let values = Tensor(try file.floats(tensor.name), shape: tensor.shape)
            return DenseLayer(linear: EncoderLinear(weight: values, bias: nil), isTanh: false)
        }
        return nil
    }

    private mutating func addDense(_ name: String) throws(LoragenError) {
        let inner = FolderFiles(files.path(name))
        guard let json = try inner.json("config.json") else {
            throw LoragenError(.io, "\(inner.path("config.json")): it is missing")
        }
        let config = EncoderConfig(json, path: inner.path("config.json"))
        let inputs = dense.last.map { $0.linear.weight.shape[0] } ?? tower.width
        let width = try config.integer("in_features", in: EncoderConfig.widths)
        guard width == inputs else {
            throw LoragenError(.format, "\(config.path): in_features is \(width); the layer before it gives \(inputs)")
        }
        let outputs = try config.integer("out_features", in: EncoderConfig.widths)
        let function = config.text("activation_function") ?? "torch.nn.modules.activation.Tanh"
        guard function.hasSuffix(".Tanh") || function.hasSuffix(".Identity") else {
            throw LoragenError(
                .unsupported,
                "\(config.path): activation_function is \"\(shortened(function))\"; expected Tanh or Identity")
        }
        let own = try EncoderWeights(inner, prefixes: [""], probe: "linear.weight")
        let layer = try own.linear("linear", inputs, outputs, bias: config.json["bias"]?.bool ?? true)
        dense.append(DenseLayer(linear: layer, isTanh: function.hasSuffix(".Tanh")))
    }

    // MARK: - Pooling, length, prompt

    private mutating func pool(_ modules: SentenceModules, _ config: JSON?) throws(LoragenError) {
        isNormalized = modules.isNormalized
        if family == "clip" { (pooling, poolingIsStated) = (.end, true) }
        if family == "static" {
            poolingIsStated = true
            // Model2Vec says it in its config.
            if let flag = config?["normalize"]?.bool { isNormalized = isNormalized || flag }
        }
        guard let name = modules.pooling else { return }
        guard let json = try files.json(name + "/config.json") else { return }
        let path = files.path(name + "/config.json")
        var modes: [String] = []
        if let mode = json["pooling_mode"]?.string { modes = [mode] }
        if let several = json["pooling_mode"]?.array { modes = several.compactMap { $0.string } }
        let flags = [
            ("pooling_mode_cls_token", "cls"), ("pooling_mode_mean_tokens", "mean"), ("pooling_mode_max_tokens", "max"),
            ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
            ("pooling_mode_weightedmean_tokens", "weightedmean"), ("pooling_mode_lasttoken", "lasttoken"),
        ]
        if modes.isEmpty { modes = flags.filter { json[$0.0]?.bool == true }.map { $0.1 } }
        guard modes.count == 1, let pooling = Pooling(rawValue: modes[0]) else {
            throw LoragenError(
                .unsupported,
                "\(path): it asks for the pooling \(shortened(modes.joined(separator: ", "))); expected one of cls, mean, max, "
                    + "lasttoken, weightedmean and mean_sqrt_len_tokens")
        }
        (self.pooling, poolingIsStated) = (pooling, true)
    }

    /// The longest text: what sentence-transformers' file says, or the tokenizer's config, within the network's positions.
    /// What tokenizer.json says of it is how it was last used, not what the network takes.
    private mutating func cut(_ here: FolderFiles, _ modules: SentenceModules) throws(LoragenError) {
        var limits: [Int] = []
        for name in ["sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json"] {
            for place in [here, files] {
                guard let json = try place.json(name) else { continue }
                lowercases = lowercases || json["do_lower_case"]?.bool == true
                if let length = json["max_seq_length"]?.integer { limits.append(length) }
            }
        }
        if limits.isEmpty, family != "static" {
            for place in [here, files] {
                if let length = try place.json("tokenizer_config.json")?["model_max_length"]?.integer,
                    length < 1 << 30
                {
                    limits.append(length)
                }
            }
        }
        if isModel2Vec {
            // Its own limit, unless its file says another, or with null that there is none.
            let stated = try here.json("config.json")?["max_length"]
            if stated.map({ !$0.isNull }) ?? true { limits.append(stated?.integer ?? 512) }
        }
        if let positions = tower.positions { limits.append(positions) }
        limit = limits.min()
        let own = tokenizer.before.count + tokenizer.after.count
        if let limit, limit < (family == "static" ? 1 : own + 1) {
            throw LoragenError(
                .format, "\(files.folder): texts may have \(limit) tokens, of which the tokenizer's own are \(own)")
        }
    }

    private mutating func readPrompt() throws(LoragenError) {
        guard let json = try files.json("config_sentence_transformers.json"),
            let name = json["default_prompt_name"]?.string, let text = json["prompts"]?[name]?.string
        else { return }
        prompt = text
    }
}

/// modules.json of sentence-transformers: what comes behind the network.
struct SentenceModules {
    private(set) var network = ""
    private(set) var pooling: String?
    private(set) var dense: [String] = []
    private(set) var isNormalized = false
    private(set) var isStatic = false

    init(_ files: FolderFiles) throws(LoragenError) {
        guard let json = try files.json("modules.json") else {
            // Older folders have the pooling alone.
            if files.has("1_Pooling/config.json") { pooling = "1_Pooling" }
            return
        }
        let path = files.path("modules.json")
        guard let entries = json.array else {
            throw LoragenError(.format, "\(path): it holds \(json.kind); expected an array")
        }
        for entry in entries {
            let (type, place) = (entry["type"]?.string ?? "", entry["path"]?.string ?? "")
            guard !place.hasPrefix("/"), !place.contains(".."), !place.contains("\0") else {
                throw LoragenError(.format, "\(path): the path \"\(shortened(place))\" leads out of the folder")
            }
            switch type.split(separator: ".").last.map(String.init) ?? "" {
            case "Transformer": network = place
            case "StaticEmbedding": (network, isStatic) = (place, true)
            case "Pooling": pooling = place
            case "Dense": dense.append(place)
            case "Normalize": isNormalized = true
            case "Dropout": break
            default:
                throw LoragenError(
                    .unsupported, "\(path): the module \"\(shortened(type))\" is not read; the vectors would differ")
            }
        }
    }
}
