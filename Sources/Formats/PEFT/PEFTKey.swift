import Adapters
import Files
import Tensor

/// A PEFT key taken apart: `base_model.model.<module>.<tensor>`. Keys that still have the adapter's name, as a whole model's
/// state has them, `.lora_A.ranking.weight`, are taken too.
public struct PEFTKey {
    public static let prefix = "base_model.model."

    let module: String
    let role: Layout.Role
    let isEmbedding: Bool
    /// "" where the key has none, and for PEFT's own "default".
    let adapter: String

    private static let parts: [(text: String, role: Layout.Role, isEmbedding: Bool, hasWeight: Bool?)] = [
        (".lora_A", .a, false, true), (".lora_B", .b, false, true), (".lora_embedding_A", .a, true, false),
        (".lora_embedding_B", .b, true, false), (".lora_magnitude_vector", .magnitude, false, nil),
    ]

    /// `nil` for a key that is no tensor of LoRA. Throws `.format` for one without PEFT's prefix.
    init?(_ name: String, source: String) throws(LoragenError) {
        guard name.hasPrefix(Self.prefix) else {
            let parts = name.split(separator: ".", maxSplits: 1)
            let wraps = parts.count == 2 && parts[1].hasPrefix(Self.prefix)
            let hint = wraps ? ". Take '\(parts[0]).', which a wrapped model's names begin with, off all keys" : ""
            throw LoragenError(
                .format,
                "\(source): tensor '\(shortened(name))' does not begin with '\(Self.prefix)', as PEFT's keys do; PEFT would "
                    + "leave the base model as it is\(hint)")
        }
        var rest = name.dropFirst(Self.prefix.count)
        let hasWeight = rest.hasSuffix(".weight")
        if hasWeight { rest = rest.dropLast(".weight".count) }
        func part() -> (text: String, role: Layout.Role, isEmbedding: Bool, hasWeight: Bool?)? {
            Self.parts.first { rest.hasSuffix($0.text) && $0.hasWeight ?? hasWeight == hasWeight }
        }
        var found = part()
        var adapter: Substring = ""
        if found == nil, let dot = rest.lastIndex(of: ".") {
            adapter = rest[rest.index(after: dot)...]
            rest = rest[..<dot]
            found = part()
        }
        guard let found else { return nil }
        module = String(rest.dropLast(found.text.count))
        role = found.role
        isEmbedding = found.isEmbedding
        self.adapter = adapter == "default" ? "" : String(adapter)
        if let wrapper = Self.wrapper(in: module) {
            throw LoragenError(
                .unsupported,
                "\(source): tensor '\(shortened(name))' has '\(wrapper)' in its name, which the base model has not: it was "
                    + "saved from a wrapped model, and PEFT would leave it out without a word. Save the adapter from the model "
                    + "inside (torch.compile: model._orig_mod; FSDP: the full state dict; a PeftModel inside another: the inner "
                    + "one), or take '\(wrapper).' out of all keys")
        }
    }

    /// What wraps a model, and shows in the names of what is inside. "module" is DataParallel's, outermost only: deeper down
    /// it may be a model's own.
    private static let wrappers = [
        "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module", "base_model.model",
    ]

    private static func wrapper(in module: String) -> String? {
        let dotted = "." + module + "."
        if dotted.hasPrefix(".module.model.") || dotted.hasPrefix(".module.base_model.") { return "module" }
        return wrappers.first { ForeignTensor.has(dotted, "." + $0 + ".") }
    }

    static func unknown(_ name: String, _ source: String) -> LoragenError {
        let meaning =
            ForeignTensor.meaning(of: name)
            ?? "not a LoRA tensor (PEFT would ignore it or take it for a fully trained module)"
        return LoragenError(
            .unsupported,
            "\(source): tensor '\(shortened(name))' is \(meaning); expected keys that end in .lora_A.weight, "
                + ".lora_B.weight, .lora_embedding_A, .lora_embedding_B or .lora_magnitude_vector. \(LoRAPart.advice)")
    }
}

/// The tensors of one module, as a file names and shapes them; what they stand for is the caller's.
struct PEFTParts<Value> {
    struct Part {
        let name: String
        let shape: [Int]
        let value: Value
    }

    var a: Part?
    var b: Part?
    var magnitude: Part?
    var isEmbedding = false

    /// Sorts tensors by their modules. Throws what `PEFTKey` throws, `.format` for a tensor that is there twice, and
    /// `.unsupported` for one that is not LoRA's and for several adapters in one file.
    static func sorted(
        _ tensors: [Part], source: String
    ) throws(LoragenError) -> [ByteKey: PEFTParts] {
        var modules: [ByteKey: PEFTParts] = [:]
        var first: (name: String, adapter: String)?
        for tensor in tensors {
            guard let key = try PEFTKey(tensor.name, source: source) else { throw PEFTKey.unknown(tensor.name, source) }
            if let first, first.adapter != key.adapter {
                throw LoragenError(
                    .unsupported,
                    "\(source): '\(shortened(first.name))' and '\(shortened(tensor.name))' are of two adapters; save each "
                        + "into a folder of its own")
            }
            first = first ?? (tensor.name, key.adapter)
            let place = ByteKey(key.module)
            var parts = modules[place] ?? PEFTParts()
            let taken: Part?
            switch key.role {
            case .a: (taken, parts.a) = (parts.a, tensor)
            case .b: (taken, parts.b) = (parts.b, tensor)
            case .magnitude: (taken, parts.magnitude) = (parts.magnitude, tensor)
            }
            if let taken {
                throw LoragenError(
                    .format,
                    "\(source): '\(shortened(taken.name))' and '\(shortened(tensor.name))' are the same tensor")
            }
            if key.role != .magnitude {
                let other = key.role == .a ? parts.b : parts.a
                if let other, parts.isEmbedding != key.isEmbedding {
                    throw LoragenError(
                        .format,
                        "\(source): '\(shortened(other.name))' and '\(shortened(tensor.name))' make no pair; expected both "
                            + "of an embedding or neither")
                }
                parts.isEmbedding = key.isEmbedding
            }
            modules[place] = parts
        }
        return modules
    }

    /// The module that these tensors make under a config. Throws `.format` when one is missing, `.mismatch` when the
    /// shapes are not of the config's rank, `.unsupported` for what the library does not do.
    func module(_ name: String, config: PEFTConfig, source: String) throws(LoragenError) -> ModuleShape {
        guard let a, let b else {
            throw LoragenError(
                .format,
                "\(source): module '\(shortened(name))' has no \(a == nil ? "lora_A" : "lora_B"), which PEFT would leave at "
                    + "random or zero")
        }
        if let empty = [a, b, magnitude].lazy.compactMap(\.self).first(where: { $0.shape.contains(0) }) {
            throw LoragenError(
                .format,
                "\(source): tensor '\(shortened(empty.name))' is empty, \(empty.shape): the weights were not gathered when the "
                    + "adapter was saved, as DeepSpeed ZeRO-3 and FSDP need it. Save it again from gathered weights "
                    + "(stage3_gather_16bit_weights_on_model_save, or zero_to_fp32.py)")
        }
        if config.usesMagnitudes != (magnitude != nil) {
            throw LoragenError(
                .mismatch,
                "\(source): module '\(shortened(name))' has \(magnitude == nil ? "no" : "a") lora_magnitude_vector, while "
                    + "'use_dora' of \(config.source) is \(config.usesMagnitudes); PEFT would compute something else")
        }
        let (rank, alpha) = try config.rankAndAlpha(of: name)
        let kernel = Array(a.shape.dropFirst(2))
        let hasShape =
            (2...5).contains(a.shape.count) && a.shape.count == b.shape.count && a.shape[0] == rank
            && b.shape.dropFirst(2).allSatisfy { $0 == 1 } && b.shape[1] > 0 && rank % b.shape[1] == 0
            && (b.shape[1] == rank || !kernel.isEmpty)
        if !hasShape {
            let (spots, ones) = kernel.isEmpty ? ("", "") : (", kernel...", ", 1...")
            throw LoragenError(
                .mismatch,
                "\(source): module '\(shortened(name))' has lora_A \(a.shape) and lora_B \(b.shape); with rank \(rank) of "
                    + "\(config.source) expected [\(rank), in\(spots)] and [out, \(rank)\(ones)]")
        }
        let isTransposed = config.isTransposed && PEFTConfig.isConv1D(name)
        let kind: ModuleKind =
            isEmbedding ? .embedding : !kernel.isEmpty ? .convolution : isTransposed ? .transposedLinear : .linear
        let module: ModuleShape
        do throws(LoragenError) {
            module = try ModuleShape(
                name: name, kind: kind, inputs: a.shape[1], outputs: b.shape[0], kernel: kernel,
                groups: rank / b.shape[1], rank: rank, alpha: alpha, scaling: config.scaling,
                hasMagnitude: magnitude != nil)
        } catch {
            throw LoragenError(.unsupported, "\(source): \(error.message)")
        }
        if let magnitude, magnitude.shape != module.shapeMagnitude {
            throw LoragenError(
                .mismatch,
                "\(source): '\(shortened(magnitude.name))' is \(magnitude.shape); expected \(module.shapeMagnitude)")
        }
        try config.targets.check(module)
        return module
    }
}

extension PEFTParts: Sendable where Value: Sendable {}
extension PEFTParts.Part: Sendable where Value: Sendable {}
