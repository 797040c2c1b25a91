import Adapters
import Files
import Tensor

/// Adapters as GGUF files for llama.cpp (`llama_adapter_lora_init`, `llama-server --lora`, llama-cpp-python's `lora_path`).
///
/// llama.cpp multiplies with alpha / r, alpha being one number for the file. The portable form has alpha = r and the
/// scale inside lora_B; the other is possible where all modules come to one alpha.
public enum GGUFAdapter {
    static let headsKey = "loragen.attention.head_count"
    static let keyValueHeadsKey = "loragen.attention.head_count_kv"

    /// Writes one file for the base model that `options.base` names. Throws `.invalidArgument` without one,
    /// `.unsupported` for modules that llama.cpp does not adapt and for Q8_0 where its blocks do not divide the rows,
    /// `.mismatch` for an adapter that is not of that base model, `.io` and `.nonFinite`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        guard let text = options.base else {
            throw LoragenError(
                .invalidArgument,
                "GGUF needs the base model, whose architecture decides names and order of rows: give its GGUF file, its "
                    + "config.json, or 'architecture=llama,heads=32,kv-heads=8'")
        }
        let base = try BaseModel(text)
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        var writer = GGUFWriter()
        writer.set("general.architecture", .string(base.architecture))
        writer.set("general.type", .string("adapter"))
        writer.set("adapter.type", .string("lora"))
        writer.set("adapter.lora.alpha", .f32(try alpha(of: image.layout)))
        if let name = image.layout.baseModel {
            writer.set("general.base_model.count", .u32(1))
            writer.set("general.base_model.0.name", .string(name))
        }
        if base.permutesHeads {
            writer.set(headsKey, .u32(UInt32(base.heads)))
            writer.set(keyValueHeadsKey, .u32(UInt32(base.keyValueHeads)))
        }
        writer.set(AdapterFile.layoutKey, .string(try image.layout.json.text()))
        for (key, value) in adapter.metadata.sorted(by: { precedes($0.key, $1.key) })
        where key.hasPrefix("loragen.") || key.hasPrefix("peft.") {
            writer.set(key, .string(value))
        }
        let type = options.quantized ? GGUFType.q8 : GGUFType(image.type)
        guard let type else { throw LoragenError(.internalError, "\(image.type.rawValue) is not written to GGUF") }
        for group in try groups(of: image.layout, base) { try add(group, of: image, type, base, to: &writer) }
        try writer.write(to: path)
    }

    /// The one alpha with which `alpha / r` is every module's scale.
    private static func alpha(of layout: Layout) throws(LoragenError) -> Float {
        let wanted = layout.modules.map { Float($0.scale * Double($0.rank)) }
        guard let first = wanted.first, let other = zip(layout.modules, wanted).first(where: { $0.1 != first }) else {
            return wanted.first ?? 1
        }
        throw LoragenError(
            .unsupported,
            "GGUF has one alpha, but module '\(layout.modules[0].name)' needs \(first) and '\(other.0.name)' \(other.1); "
                + "write without keeping alpha, which puts the scale into lora_B")
    }

    /// The modules of one GGUF tensor: a single one, or all experts in their order.
    private struct Group {
        let tensor: String
        var modules: [Int]
    }

    private static func groups(of layout: Layout, _ base: BaseModel) throws(LoragenError) -> [Group] {
        var groups: [Group] = []
        var experts: [String: [Int: Int]] = [:]
        for (i, module) in layout.modules.enumerated() {
            let place = try GGUFNames.place(of: module.name)
            try check(module, place, base)
            guard let expert = place.expert else {
                groups.append(Group(tensor: place.tensor, modules: [i]))
                continue
            }
            if experts[place.tensor, default: [:]].updateValue(i, forKey: expert) != nil {
                throw LoragenError(.unsupported, "two modules become expert \(expert) of '\(place.tensor)'")
            }
        }
        for (tensor, modules) in experts.sorted(by: { precedes($0.key, $1.key) }) {
            let count = max(base.experts, (modules.keys.max() ?? 0) + 1)
            var ordered: [Int] = []
            for expert in 0..<count {
                guard let module = modules[expert] else {
                    throw LoragenError(
                        .unsupported,
                        "GGUF has all experts of '\(tensor)' in one tensor, but expert \(expert) of \(count) is not in "
                            + "the adapter; add it with a lora_B of zeros")
                }
                let (shape, first) = (layout.modules[module], layout.modules[ordered.first ?? module])
                if shape.rank != first.rank || shape.inputs != first.inputs || shape.outputs != first.outputs {
                    throw LoragenError(
                        .unsupported,
                        "GGUF has all experts of '\(tensor)' in one tensor, but module '\(shape.name)' has another rank "
                            + "or size than '\(first.name)'")
                }
                ordered.append(module)
            }
            groups.append(Group(tensor: tensor, modules: ordered))
        }
        return groups
    }

    /// What llama.cpp would refuse, or abort at.
    private static func check(
        _ module: ModuleShape, _ place: GGUFNames.Place, _ base: BaseModel
    ) throws(LoragenError) {
        let isTable = place.tensor == "token_embd.weight"
        if module.hasMagnitude || module.kind != (isTable ? .embedding : .linear) {
            throw LoragenError(
                .unsupported,
                "module '\(module.name)' is \(module.hasMagnitude ? "DoRA" : "of the kind \(module.kind.rawValue)"), which "
                    + "llama.cpp does not load; merge it into the base model instead")
        }
        if base.tiesEmbeddings && (place.tensor == "output.weight" || place.tensor == "token_embd.weight") {
            throw LoragenError(
                .unsupported,
                "module '\(module.name)': \(base.source) has tied embeddings, with which llama.cpp "
                    + (place.expert == nil && place.tensor == "output.weight"
                        ? "has no tensor 'output.weight'" : "aborts at an adapter of 'token_embd.weight'")
                    + "; leave the module out, or merge it into the base model")
        }
        guard let shapes = base.shapes else { return }
        guard let shape = shapes[place.tensor] else {
            throw LoragenError(
                .mismatch, "module '\(module.name)': \(base.source) has no tensor '\(place.tensor)'")
        }
        let weight = isTable ? [module.inputs, module.outputs] : [module.outputs, module.inputs]
        let expected = (place.expert == nil ? [] : [base.experts]) + weight
        if shape != expected {
            throw LoragenError(
                .mismatch,
                "module '\(module.name)' is \(expected), but tensor '\(place.tensor)' of \(base.source) is \(shape); is "
                    + "it the adapter's base model?")
        }
    }

    private static func add(
        _ group: Group, of image: AdapterImage, _ type: GGUFType, _ base: BaseModel, to writer: inout GGUFWriter
    ) throws(LoragenError) {
        let layout = image.layout
        guard let first = group.modules.first.map({ layout.modules[$0] }) else { return }
        let isStacked = try GGUFNames.place(of: first.name).expert != nil
        let heads = try base.permutedHeads(of: first.name, rows: first.outputs)
        // A of an embedding is read by rows, one for each token.
        let isTable = first.kind == .embedding
        for (side, suffix) in [".lora_a", ".lora_b"].enumerated() {
            let a = isTable ? [first.inputs, first.rank] : [first.rank, first.inputs]
            let shape = side == 0 ? a : [first.outputs, first.rank]
            try writer.add(
                group.tensor + suffix, type: type, shape: (isStacked ? [group.modules.count] : []) + shape
            ) { (sink) throws(LoragenError) in
                for module in group.modules {
                    let index = layout.parts[module].a + side
                    let tensor = image.adapter.tensor(at: index)
                    let scale = image.factor(of: index)
                    let changed: [Float]
                    if let heads, side == 1 {
                        changed = HeadOrder.toGGUF(tensor.values, columns: first.rank, heads: heads)
                    } else if isTable, side == 0 {
                        changed = transposed(tensor.values, rows: first.rank, columns: first.inputs)
                    } else {
                        try encode(tensor.values, image, type, scale, tensor.name, to: sink)
                        continue
                    }
                    try changed.withUnsafeBufferPointer { values in
                        Result { () throws(LoragenError) in
                            try encode(values, image, type, scale, tensor.name, to: sink)
                        }
                    }.get()
                }
            }
        }
    }

    private static func encode(
        _ values: UnsafeBufferPointer<Float>, _ image: AdapterImage, _ type: GGUFType, _ scale: Double, _ name: String,
        to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        if type == .q8 { return try GGUFBlocks.encode(values, scale: scale, name: name, to: sink) }
        try FloatEncoder(type: image.type, scale: scale, name: name).encode(values, to: sink)
    }
}

/// The order of the rows of q_proj and k_proj. Hugging Face has a head's first rotary halves before its second ones,
/// GGUF of some architectures has them in turns.
enum HeadOrder {
    static func toGGUF(_ values: UnsafeBufferPointer<Float>, columns: Int, heads: Int) -> [Float] {
        reordered(values, columns: columns, heads: heads, toGGUF: true)
    }

    static func fromGGUF(_ values: UnsafeBufferPointer<Float>, columns: Int, heads: Int) -> [Float] {
        reordered(values, columns: columns, heads: heads, toGGUF: false)
    }

    /// The rows are a whole number of heads, each of two halves.
    private static func reordered(
        _ values: UnsafeBufferPointer<Float>, columns: Int, heads: Int, toGGUF: Bool
    ) -> [Float] {
        let half = values.count / columns / heads / 2
        precondition(values.count == columns * heads * half * 2)
        var result = [Float](repeating: 0, count: values.count)
        for head in 0..<heads {
            for part in 0..<2 {
                for i in 0..<half {
                    let apart = (head * 2 + part) * half + i
                    let inTurns = (head * half + i) * 2 + part
                    let (from, to) = toGGUF ? (apart, inTurns) : (inTurns, apart)
                    for column in 0..<columns { result[to * columns + column] = values[from * columns + column] }
                }
            }
        }
        return result
    }
}
