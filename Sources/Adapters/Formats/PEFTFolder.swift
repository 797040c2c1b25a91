import Tensor

/// A PEFT adapter folder: `adapter_config.json` and `adapter_model.safetensors`, as PEFT 0.21.2 saves and loads it.
public enum PEFTFolder {
    static let weightsName = "adapter_model.safetensors"

    /// The layout alone: reads the config and the header of the weights, not the weights.
    /// Throws as `read`, save for the values.
    public static func readHeader(path: String) throws(LoragenError) -> Layout {
        try open(path).contents.layout
    }

    /// Reads and checks a folder. Throws `.io`; `.format` for files that are not what they should be; `.mismatch` when
    /// config and tensors disagree, so that PEFT would fail or silently compute something else; `.unsupported` for what
    /// is more than LoRA of linear layers; `.nonFinite` for NaN and infinity.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        let (config, contents) = try open(path)
        return try contents.adapter(metadata: config.metadata.merging(contents.origin) { config, _ in config })
    }

    static func open(_ path: String) throws(LoragenError) -> (config: PEFTConfig, contents: PEFTTensors) {
        switch try PathKind.of(path) {
        case .folder: break
        case nil: throw LoragenError(.io, "\(path): there is no such folder")
        default: throw LoragenError(.io, "\(path): it is not a folder; expected a PEFT adapter folder")
        }
        let config = try PEFTConfig(path: joinPath(path, PEFTConfig.fileName))
        let weights = joinPath(path, weightsName)
        if try PathKind.of(weights) == nil {
            let old = joinPath(path, "adapter_model.bin")
            if try PathKind.of(old) != nil {
                throw LoragenError(
                    .unsupported,
                    "\(old): a pickle; load the adapter with PEFT and save it again, which writes \(weightsName)")
            }
            throw LoragenError(.io, "\(weights): there is no such file")
        }
        let contents = try PEFTTensors(file: SafetensorsFile(path: weights), config: config)
        return (config, contents)
    }
}

/// The pairs of LoRA tensors in a safetensors file, matched with a config.
struct PEFTTensors: Sendable {
    let layout: Layout
    let file: SafetensorsFile
    /// In the order of `layout.tensors`.
    let tensors: [SafetensorsTensor]

    init(file: SafetensorsFile, config: PEFTConfig) throws(LoragenError) {
        let pairs = try Self.pairs(in: file)
        var modules: [ModuleShape] = []
        modules.reserveCapacity(pairs.count)
        for (name, pair) in pairs {
            let module = try Self.module(name.text, pair, file: file.path, config: config)
            try config.checkTargets(module)
            modules.append(module)
        }
        do throws(LoragenError) {
            layout = try Layout(
                modules: modules, baseModel: config.baseModel, targetModules: config.plainTargets)
        } catch {
            throw LoragenError(.unsupported, "\(file.path): \(error.message)")
        }
        self.file = file
        var tensors: [SafetensorsTensor] = []
        tensors.reserveCapacity(layout.tensors.count)
        for module in layout.modules {
            guard let pair = pairs[ByteKey(module.name)], let a = pair.a, let b = pair.b else {
                throw LoragenError(.internalError, "\(file.path): module '\(module.name)' was lost")
            }
            tensors += [a, b]
        }
        self.tensors = tensors
    }

    private struct Pair {
        var a: SafetensorsTensor?
        var b: SafetensorsTensor?
    }

    private static let prefix = "base_model.model."

    /// Takes the keys apart: `base_model.model.<module>.lora_A[.default].weight`.
    private static func pairs(in file: SafetensorsFile) throws(LoragenError) -> [ByteKey: Pair] {
        var pairs: [ByteKey: Pair] = [:]
        for tensor in file.tensors {
            guard tensor.name.hasPrefix(prefix) else {
                throw LoragenError(
                    .format,
                    "\(file.path): tensor '\(shortened(tensor.name))' does not begin with '\(prefix)', as PEFT's keys do"
                )
            }
            let rest = tensor.name.dropFirst(prefix.count)
            var module: Substring?
            var isA = false
            for (suffix, isFirst) in [
                (".lora_A.weight", true), (".lora_B.weight", false), (".lora_A.default.weight", true),
                (".lora_B.default.weight", false),
            ] where rest.hasSuffix(suffix) {
                module = rest.dropLast(suffix.count)
                isA = isFirst
            }
            guard let module else { throw unknown(tensor.name, rest, file.path) }
            let key = ByteKey(String(module))
            let taken = isA ? pairs[key]?.a : pairs[key]?.b
            if let taken {
                throw LoragenError(
                    .format,
                    "\(file.path): '\(shortened(taken.name))' and '\(shortened(tensor.name))' are the same tensor")
            }
            if isA { pairs[key, default: Pair()].a = tensor } else { pairs[key, default: Pair()].b = tensor }
        }
        return pairs
    }

    private static func unknown(_ name: String, _ rest: Substring, _ path: String) -> LoragenError {
        let known: [(part: String, means: String)] = [
            ("lora_magnitude_vector", "DoRA"), ("lora_embedding_", "LoRA of an embedding"),
            (".lora_B.bias", "a bias in lora_B"), ("trainable_tokens", "trained tokens"),
        ]
        for (part, means) in known where name.utf8.count >= part.utf8.count && contains(name, part) {
            return LoragenError(
                .unsupported,
                "\(path): tensor '\(shortened(name))' is \(means); this library reads LoRA of linear layers")
        }
        return LoragenError(
            .unsupported,
            "\(path): tensor '\(shortened(name))' is not a LoRA tensor (PEFT would ignore it or take it for a fully "
                + "trained module); expected keys that end in .lora_A.weight or .lora_B.weight")
    }

    private static func contains(_ text: String, _ part: String) -> Bool {
        let text = Array(text.utf8)
        let part = Array(part.utf8)
        return (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
    }

    private static func module(
        _ name: String, _ pair: Pair, file: String, config: PEFTConfig
    ) throws(LoragenError) -> ModuleShape {
        guard let a = pair.a, let b = pair.b else {
            let missing = pair.a == nil ? "lora_A" : "lora_B"
            throw LoragenError(
                .format,
                "\(file): module '\(shortened(name))' has no \(missing), which PEFT would leave at random or zero")
        }
        for tensor in [a, b] {
            if tensor.shape.count > 2 {
                throw LoragenError(
                    .unsupported,
                    "\(file): tensor '\(shortened(tensor.name))' has the shape \(tensor.shape), of a convolution; this "
                        + "library reads linear layers")
            }
            if !tensor.type.isFloat {
                throw LoragenError(
                    .unsupported,
                    "\(file): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); expected F32, F16, BF16 or "
                        + "F64")
            }
        }
        let (rank, alpha) = try config.rankAndAlpha(of: name)
        guard a.shape.count == 2, b.shape.count == 2, a.shape[0] == rank, b.shape[1] == rank else {
            throw LoragenError(
                .mismatch,
                "\(file): module '\(shortened(name))' has lora_A \(a.shape) and lora_B \(b.shape); with rank \(rank) of "
                    + "\(config.source) expected [\(rank), in] and [out, \(rank)]")
        }
        do throws(LoragenError) {
            return try ModuleShape(
                name: name, inputs: a.shape[1], outputs: b.shape[0], rank: rank, alpha: alpha,
                scaling: config.scaling)
        } catch {
            throw LoragenError(.unsupported, "\(file): \(error.message)")
        }
    }

    /// What this library noted when it wrote the weights.
    var origin: [String: String] { file.metadata.filter { $0.key.hasPrefix("loragen.") } }

    /// Reads the values. Throws `.memory` and `.nonFinite`.
    func adapter(metadata: [String: String]) throws(LoragenError) -> Adapter {
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (tensor, place) in zip(tensors, layout.tensors) {
                try file.read(tensor, into: UnsafeMutableBufferPointer(rebasing: target[place.range]))
            }
        }
        try adapter.checkFinite(source: file.path)
        return adapter
    }
}
