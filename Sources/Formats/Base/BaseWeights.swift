import Files
import Tensor

/// Names and shapes of a base model's weights, from headers and configs alone.
public struct BaseWeights {
    public struct Weight {
        public let name: String
        /// `nil` when only the name is known.
        public let shape: [Int]?
        /// Quantised: the shape is that of the codes.
        public let isPacked: Bool
    }

    /// What was read, for messages.
    public let source: String
    /// The weights by their names in Hugging Face, or in diffusers with the component before them; `nil` when the base says
    /// nothing about them.
    public private(set) var weights: [ByteKey: Weight]?
    /// `nil` when it is not known.
    public var layerCount: Int?
    var tiesEmbeddings: Bool?
    public var modelType: String?
    /// Files that have their own naming.
    public var gguf: GGUFFile?
    public var onnx: (graph: ONNXGraph, layers: [ONNXLayer])?

    /// Reads a model's folder, `config.json`, `.safetensors` file or index of shards, GGUF or ONNX file, or a diffusers
    /// pipeline's folder. Throws `.io`, `.format`, and `.unsupported` when it says nothing that could be checked.
    public init(_ path: String) throws(LoragenError) {
        source = path
        switch try PathKind.of(path) {
        case nil: throw LoragenError(.io, "\(path): there is no such file or folder; expected the base model")
        case .folder: try readFolder(path, prefix: "")
        default:
            if path.hasSuffix(".json") {
                let json = try JSON.read(path: path)
                if json["weight_map"] != nil {
                    try readIndex(json, path, prefix: "")
                } else {
                    try readConfig(json, path)
                }
            } else if path.hasSuffix(".onnx") {
                let graph = try ONNXGraph(path: path)
                onnx = (graph, try graph.layers())
            } else {
                let file = try MappedFile(path: path)
                if GGUFFile.isOne(file.bytes) {
                    try readGGUF(GGUFFile(file: file))
                } else {
                    add(try SafetensorsFile(file: file), prefix: "")
                }
            }
        }
        if weights == nil && gguf == nil && onnx == nil && layerCount == nil {
            throw LoragenError(
                .unsupported,
                "\(path): it says nothing about the model's weights that this library understands; give its .safetensors "
                    + "file, its folder, or its GGUF or ONNX file")
        }
        layerCount = layerCount ?? deepest.map { $0 + 1 }
    }

    private var deepest: Int? {
        weights?.keys.compactMap { key in
            key.text.split(separator: ".").lazy.compactMap { nameIndex($0) }.first
        }.max()
    }

    private static let files = ["model", "diffusion_pytorch_model"]

    private mutating func readFolder(_ path: String, prefix: String) throws(LoragenError) {
        let pipeline = joinPath(path, "model_index.json")
        if prefix.isEmpty, try PathKind.of(pipeline) != nil {
            for component in DiffusionName.Component.allCases {
                let folder = joinPath(path, component.rawValue)
                if try PathKind.of(folder) == .folder { try readFolder(folder, prefix: component.rawValue + ".") }
            }
            return
        }
        let config = joinPath(path, "config.json")
        let hasConfig = try PathKind.of(config) != nil
        for name in Self.files {
            let index = joinPath(path, name + ".safetensors.index.json")
            let single = joinPath(path, name + ".safetensors")
            if try PathKind.of(index) != nil {
                try readIndex(JSON.read(path: index), index, prefix: prefix)
            } else if try PathKind.of(single) != nil {
                add(try SafetensorsFile(path: single), prefix: prefix)
            }
        }
        if hasConfig, prefix.isEmpty { try readConfig(JSON.read(path: config), config) }
        if !hasConfig && weights == nil {
            throw LoragenError(
                .format, "\(path): it has neither config.json nor weights as .safetensors; expected a model's folder")
        }
    }

    private mutating func add(_ file: SafetensorsFile, prefix: String) {
        for tensor in file.tensors {
            let name = prefix + tensor.name
            note(Weight(name: name, shape: tensor.shape, isPacked: StoredWeight.hidesShape(tensor.type)))
        }
    }

    private mutating func note(_ weight: Weight) {
        var weights = self.weights ?? [:]
        self.weights = nil
        var weight = weight
        if let plain = StoredWeight.unpacked(weight.name) {
            weight = Weight(name: plain, shape: weight.shape, isPacked: true)
        }
        weights[ByteKey(weight.name)] = weight
        if let new = TransformersNames.renamed(weight.name) {
            weights[ByteKey(new)] = Weight(name: new, shape: weight.shape, isPacked: weight.isPacked)
        }
        self.weights = weights
    }

    private mutating func readIndex(_ json: JSON, _ path: String, prefix: String) throws(LoragenError) {
        guard let map = json["weight_map"]?.object else {
            throw LoragenError(.format, "\(path): it has no object 'weight_map'")
        }
        var shards: Set<String> = []
        for member in map.members {
            guard let shard = member.value.string, !shard.isEmpty, !shard.utf8.contains(UInt8(ascii: "/")) else {
                throw LoragenError(
                    .format,
                    "\(path): 'weight_map' gives '\(shortened(member.name))' \(member.value.kind); expected a file beside it"
                )
            }
            shards.insert(shard)
            let name = prefix + member.name
            note(Weight(name: name, shape: nil, isPacked: false))
        }
        let folder = splitPath(path).folder
        // Shards that are not here leave their shapes unknown.
        for shard in shards.sorted(by: precedes) {
            let file = joinPath(folder, shard)
            if try PathKind.of(file) != nil { add(try SafetensorsFile(path: file), prefix: prefix) }
        }
    }

    private mutating func readConfig(_ json: JSON, _ path: String) throws(LoragenError) {
        guard json.object != nil else {
            throw LoragenError(.format, "\(path): found \(json.kind), expected an object")
        }
        let config = BaseConfig(json)
        modelType = config.modelType
        layerCount = config.layerCount
        tiesEmbeddings = config.tiesEmbeddings
        if weights == nil, let shapes = config.shapes() {
            weights = [:]
            for (name, shape) in shapes {
                weights?[ByteKey(name)] = Weight(name: name, shape: shape, isPacked: false)
            }
        }
    }

    private mutating func readGGUF(_ file: GGUFFile) throws(LoragenError) {
        let base = try BaseModel(file.path)
        gguf = file
        modelType = base.architecture
        tiesEmbeddings = base.tiesEmbeddings
        layerCount = file.values["\(base.architecture).block_count"]?.integer.flatMap {
            (0...nameIndexLimit).contains($0) ? $0 : nil
        }
    }

    public enum Match {
        case found(Weight, isExact: Bool)
        /// One expert of a tensor `[experts, out, in]` that holds all, and how many matrices it holds one above the other.
        case expert(Weight, rows: Int)
        case missing(nearest: String?)
    }

    /// The weight of a module: by its name, else the only one whose name differs by the prefix of a class alone. The output
    /// layer of a model that ties it has its embedding table's.
    public func weight(of module: String) -> Match? {
        guard let weights else { return nil }
        let name = module + ".weight"
        if let exact = weights[ByteKey(name)] { return .found(exact, isExact: true) }
        if let fused = fusedExperts(module, weights) { return fused }
        if module == "lm_head" || module.hasSuffix(".lm_head"), tiesEmbeddings != false {
            let tables = weights.values.filter { weight in
                ["embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight"].contains {
                    weight.name == $0 || weight.name.hasSuffix("." + $0)
                }
            }
            if tables.count == 1 { return .found(tables[0], isExact: true) }
        }
        let found = weights.values.filter { weight in
            guard let prefix = Self.prefix(between: name, weight.name) else { return false }
            return StoredWeight.classPrefixes.contains(prefix)
        }
        if found.count == 1 { return .found(found[0], isExact: false) }
        let last = module.split(separator: ".").suffix(2).joined(separator: ".")
        let near = weights.values.lazy.map(\.name).filter { $0.hasSuffix("." + last + ".weight") }.min(by: precedes)
        return .missing(nearest: near.map { String($0.dropLast(".weight".count)) })
    }

    /// What one of two names has before the other, without the dot.
    private static func prefix(between a: String, _ b: String) -> String? {
        let (short, long) = a.utf8.count < b.utf8.count ? (a, b) : (b, a)
        guard long.hasSuffix("." + short) else { return nil }
        return String(decoding: long.utf8.dropLast(short.utf8.count + 1), as: UTF8.self)
    }

    private func fusedExperts(_ module: String, _ weights: [ByteKey: Weight]) -> Match? {
        let parts = module.split(separator: ".").map(String.init)
        guard parts.count > 3, parts[parts.count - 3] == "experts", nameIndex(parts[parts.count - 2]) != nil
        else {
            return nil
        }
        let experts = parts.dropLast(2).joined(separator: ".")
        let (name, rows) =
            ["down_proj", "w2"].contains(parts[parts.count - 1]) ? ("down_proj", 1) : ("gate_up_proj", 2)
        return weights[ByteKey("\(experts).\(name)")].map { .expert($0, rows: rows) }
    }

    /// Whether the output layer is the embedding table.
    public var hasTiedEmbeddings: Bool { tiesEmbeddings ?? (hasOutputLayer == false) }

    /// Whether the output layer has a weight of its own.
    private var hasOutputLayer: Bool? {
        if let gguf { return gguf.tensor("output.weight") != nil }
        return weights.map { weights in weights.values.contains { $0.name.hasSuffix("lm_head.weight") } }
    }
}
