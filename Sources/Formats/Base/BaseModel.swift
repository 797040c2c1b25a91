import Files
import Tensor

/// What a file format must know of the base model that an adapter belongs to. None of its weights are read.
public struct BaseModel: Sendable {
    /// `general.architecture` of its GGUF file: "llama", "qwen2", ...
    public let architecture: String
    /// Attention heads, and those of keys and values.
    public let heads: Int
    public let keyValueHeads: Int
    /// Whether GGUF has the rows of q_proj and k_proj in another order than Hugging Face.
    public let permutesHeads: Bool
    public let tiesEmbeddings: Bool
    /// Experts of a layer; 0 when it is no mixture.
    public let experts: Int
    /// File or text that this was read from, for messages.
    public let source: String
    /// Row-major shapes of the tensors, when the base is a GGUF file.
    let shapes: [String: [Int]]?
    let expertNames: Architecture.Experts
    /// What stands before "layers" in the names of its modules.
    let root: String

    /// Reads a GGUF file, a `config.json`, a folder with one, or a text such as
    /// `architecture=llama,heads=32,kv-heads=8,permute=yes,tied=no,experts=0`.
    /// Throws `.io`, `.format`, and `.unsupported` for an architecture that is not known.
    public init(_ text: String) throws(LoragenError) {
        switch try PathKind.of(text) {
        case .folder: try self.init(config: joinPath(text, "config.json"))
        case .some:
            let file = try MappedFile(path: text)
            if GGUFFile.isOne(file.bytes) {
                try self.init(gguf: GGUFFile(file: file))
            } else {
                try self.init(config: text)
            }
        case nil where text.utf8.contains(UInt8(ascii: "=")): try self.init(settings: text)
        case nil:
            throw LoragenError(
                .io,
                "\(text): there is no such file; expected the base model's GGUF file, its config.json or folder, or "
                    + "'architecture=llama,heads=32,kv-heads=8'")
        }
    }

    private init(gguf file: GGUFFile) throws(LoragenError) {
        let name = try file.text("general.architecture")
        if file.values["general.type"]?.string == "adapter" {
            throw LoragenError(.invalidArgument, "\(file.path): an adapter; expected the base model")
        }
        let known = try Self.known(name, file.path)
        func count(_ key: String) throws(LoragenError) -> Int {
            guard let value = file.values["\(name).\(key)"] else { return 0 }
            guard let number = value.integer, number >= 0, number < 1 << 20 else {
                throw LoragenError(.format, "\(file.path): '\(name).\(key)' is not a number of heads or experts")
            }
            return number
        }
        architecture = name
        heads = try count("attention.head_count")
        let keyValue = try count("attention.head_count_kv")
        keyValueHeads = keyValue == 0 ? heads : keyValue
        permutesHeads = known.permutesHeads
        tiesEmbeddings = file.tensor("output.weight") == nil
        experts = try count("expert_count")
        expertNames = name == "llama" ? .mixtral : known.experts
        root = known.root
        source = file.path
        shapes = Dictionary(file.tensors.map { ($0.name, $0.shape) }) { first, _ in first }
    }

    private init(config path: String) throws(LoragenError) {
        let json = try JSON.read(path: path)
        guard let type = json["model_type"]?.string else {
            throw LoragenError(.format, "\(path): it has no 'model_type'; expected a model's config.json")
        }
        guard let known = Architecture.all.first(where: { $0.modelType == type }) else {
            throw LoragenError(
                .unsupported,
                "\(path): GGUF names of the model type '\(shortened(type))' are not known; known are: "
                    + Architecture.names)
        }
        let text = json["text_config"] ?? json
        func count(_ names: String...) throws(LoragenError) -> Int {
            for name in names {
                guard let value = text[name], !value.isNull else { continue }
                guard let number = value.integer, number >= 0, number < 1 << 20 else {
                    throw LoragenError(.format, "\(path): '\(name)' is \(value.kind); expected a number")
                }
                return number
            }
            return 0
        }
        architecture = known.gguf
        heads = try count("num_attention_heads")
        let keyValue = try count("num_key_value_heads")
        keyValueHeads = keyValue == 0 ? heads : keyValue
        permutesHeads = known.permutesHeads
        tiesEmbeddings =
            json["tie_word_embeddings"]?.bool ?? text["tie_word_embeddings"]?.bool ?? known.tiesEmbeddings
        experts = try count("num_local_experts", "num_experts", "n_routed_experts")
        expertNames = known.experts
        root = known.root
        source = path
        shapes = nil
    }

    private init(settings text: String) throws(LoragenError) {
        var fields: [String: String] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, fields.updateValue(pair[1], forKey: pair[0]) == nil,
                ["architecture", "heads", "kv-heads", "permute", "tied", "experts"].contains(pair[0])
            else {
                throw LoragenError(
                    .invalidArgument,
                    "'\(shortened(String(part)))' of the base model: expected each of architecture, heads, kv-heads, "
                        + "permute, tied and experts at most once, with '=' and a value")
            }
        }
        func count(_ name: String) throws(LoragenError) -> Int? {
            guard let text = fields[name] else { return nil }
            guard let number = Int(text), number >= 0, number < 1 << 20 else {
                throw LoragenError(.invalidArgument, "\(name)=\(shortened(text)): expected a number")
            }
            return number
        }
        func flag(_ name: String) throws(LoragenError) -> Bool? {
            guard let text = fields[name] else { return nil }
            guard text == "yes" || text == "no" else {
                throw LoragenError(.invalidArgument, "\(name)=\(shortened(text)): expected yes or no")
            }
            return text == "yes"
        }
        guard let name = fields["architecture"] else {
            throw LoragenError(.invalidArgument, "'\(shortened(text))' does not say 'architecture='")
        }
        let known = try Self.known(name, "the base model")
        architecture = known.gguf
        heads = try count("heads") ?? 0
        keyValueHeads = try count("kv-heads") ?? heads
        permutesHeads = try flag("permute") ?? known.permutesHeads
        tiesEmbeddings = try flag("tied") ?? known.tiesEmbeddings
        experts = try count("experts") ?? 0
        expertNames = experts > 0 && known.gguf == "llama" ? .mixtral : known.experts
        root = known.root
        source = "the base model '\(text)'"
        shapes = nil
    }

    private static func known(_ name: String, _ source: String) throws(LoragenError) -> Architecture {
        guard let known = Architecture.named(name) else {
            throw LoragenError(
                .unsupported,
                "\(source): the architecture '\(shortened(name))' is not known; known are: \(Architecture.names)")
        }
        return known
    }

    /// The heads that the rows of a module are permuted by in GGUF; `nil` when they stay.
    /// Throws `.invalidArgument` when the number of heads is not known, `.mismatch` when it does not divide the rows.
    func permutedHeads(of module: String, rows: Int) throws(LoragenError) -> Int? {
        let isQuery = module.hasSuffix("self_attn.q_proj")
        if !permutesHeads || !(isQuery || module.hasSuffix("self_attn.k_proj")) { return nil }
        let count = isQuery ? heads : keyValueHeads
        if count == 0 {
            throw LoragenError(
                .invalidArgument, "\(source): the number of attention heads is missing, which '\(module)' needs")
        }
        if rows % (2 * count) != 0 {
            throw LoragenError(
                .mismatch,
                "\(source) has \(count) heads for module '\(module)', which do not divide its \(rows) outputs into "
                    + "halves; is it the adapter's base model?")
        }
        return count
    }
}
