import Adapters
import Files
import Tensor

/// A folder that mlx-lm trained: `adapters.safetensors` with `lora_a` [in, r] and `lora_b` [r, out], a layer computing
/// `x W + scale · (x lora_a) lora_b`, and a config without `peft_type` that has the scale under `lora_parameters`.
enum MLXFolder {
    static let weightsName = "adapters.safetensors"

    static func isConfig(_ json: JSON) -> Bool {
        json["peft_type"] == nil && (json["lora_parameters"]?.object != nil || json["fine_tune_type"] != nil)
    }

    /// Whether the folder's config is mlx-lm's; false also where it cannot be read, which PEFT's reader reports.
    static func isOne(_ path: String) throws(LoragenError) -> Bool {
        let json = try attempt { () throws(LoragenError) in try JSON.read(path: joinPath(path, PEFTConfig.fileName)) }
        return json.map(isConfig) ?? false
    }

    /// Throws `.io`; `.format` for a config or tensors that are not mlx-lm's, `.unsupported` for its other kinds of training;
    /// `.mismatch` where shapes and rank disagree; `.nonFinite`.
    static func read(path: String) throws(LoragenError) -> Adapter {
        let source = joinPath(path, PEFTConfig.fileName)
        let json = try JSON.read(path: source)
        let kind = json["fine_tune_type"]?.string ?? "lora"
        guard kind == "lora" else {
            throw LoragenError(
                .unsupported,
                "\(source): an adapter of mlx-lm whose 'fine_tune_type' is \"\(shortened(kind))\"; this library reads \"lora\""
            )
        }
        guard let scale = json["lora_parameters"]?["scale"]?.double, scale.isFinite, scale != 0 else {
            throw LoragenError(
                .format,
                "\(source): an adapter of mlx-lm without a number 'scale' in its 'lora_parameters', by which it multiplies"
            )
        }
        let file = try SafetensorsFile(path: joinPath(path, weightsName))
        var pairs: [ByteKey: (a: SafetensorsTensor?, b: SafetensorsTensor?)] = [:]
        for tensor in file.tensors {
            let isA = tensor.name.hasSuffix(".lora_a")
            guard isA || tensor.name.hasSuffix(".lora_b") else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): tensor '\(shortened(tensor.name))' is not mlx-lm's LoRA; expected keys that end in "
                        + ".lora_a or .lora_b")
            }
            let key = ByteKey(String(tensor.name.dropLast(".lora_a".count)))
            if isA { pairs[key, default: (nil, nil)].a = tensor } else { pairs[key, default: (nil, nil)].b = tensor }
        }
        var gathered = GatheredModules(file)
        for (key, pair) in pairs.sorted(by: { precedes($0.key.text, $1.key.text) }) {
            guard let a = pair.a, let b = pair.b else {
                throw LoragenError(
                    .format,
                    "\(file.path): module '\(shortened(key.text))' has no \(pair.a == nil ? "lora_a" : "lora_b")")
            }
            try add(key.text, a, b, scale, to: &gathered)
        }
        return try gathered.adapter(
            baseModel: json["model"]?.string, taskType: "CAUSAL_LM", metadata: [:])
    }

    private static func add(
        _ name: String, _ a: SafetensorsTensor, _ b: SafetensorsTensor, _ scale: Double,
        to gathered: inout GatheredModules
    ) throws(LoragenError) {
        let source = gathered.file.path
        guard a.shape.count == 2, b.shape.count == 2, a.shape[1] == b.shape[0] else {
            throw LoragenError(
                a.shape.count == 3 && b.shape.count == 3 ? .unsupported : .mismatch,
                "\(source): '\(shortened(a.name))' is \(a.shape) and '\(shortened(b.name))' is \(b.shape); expected [in, r] "
                    + "and [r, out]\(a.shape.count == 3 ? ", for experts are not read from mlx-lm" : "")")
        }
        let last = name.split(separator: ".").last
        let shape: ModuleShape
        do throws(LoragenError) {
            // A table's pair is added to its rows, which is the same product turned round.
            shape = try ModuleShape(
                name: name, kind: last == "embed_tokens" || last == "wte" ? .embedding : .linear, inputs: a.shape[0],
                outputs: b.shape[1], rank: a.shape[1], alpha: scale * Double(a.shape[1]))
        } catch {
            throw LoragenError(.unsupported, "\(source): \(error.message)")
        }
        func turned(_ tensor: SafetensorsTensor) throws(LoragenError) -> [Float] {
            try Memory.require(2 * tensor.count, of: Float.self, for: "\(source): '\(shortened(tensor.name))'")
            return try gathered.file.floats(tensor.name).withUnsafeBufferPointer {
                transposed($0, rows: tensor.shape[0], columns: tensor.shape[1])
            }
        }
        try gathered.add(shape, a: .values(try turned(a)), b: .values(try turned(b)))
    }
}
