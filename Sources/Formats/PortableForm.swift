import Adapters
import Files
import Tensor

/// What all hosts of language models load and compute alike: the linear layers that every such model has, in every layer
/// (some hosts drop a kind of module when one layer has none), no more than that, and a rank that servers provide for.
public enum PortableForm {
    static let targets: Set<String> = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    /// vLLM's values of max_lora_rank from 8.
    public static let ranks = [8, 16, 32, 64, 128, 256, 320, 512]

    /// Why a module cannot be in a portable adapter, `nil` if it can.
    static func obstacle(_ module: ModuleShape) -> String? {
        if module.hasMagnitude { return "it is DoRA, which vLLM, SGLang, llama.cpp and mistral.rs refuse" }
        switch module.kind {
        case .linear: break
        case .transposedLinear: return "its weight is transposed (Conv1D), which servers do not expect"
        case .embedding: return "it is an embedding, which SGLang and mistral.rs drop or refuse"
        case .convolution: return "it is a convolution, which no server of language models adapts"
        }
        let components = module.name.split(separator: ".")
        if components.contains("experts") { return "it is an expert, for which hosts expect different keys" }
        if module.layerIndex == nil { return "it is outside the layers, and hosts disagree on such modules" }
        guard let last = components.last.map(String.init), targets.contains(last) else {
            return "its name does not end in one of \(targets.sorted().joined(separator: ", "))"
        }
        return nil
    }
}

/// A module's name around the index of its layer: "model.layers." and ".self_attn.q_proj".
private struct LayerName: Hashable {
    let before: String
    let after: String

    init?(_ name: String) {
        let components = name.split(separator: ".", omittingEmptySubsequences: false)
        guard let place = components.firstIndex(where: { nameIndex($0) != nil }) else { return nil }
        before = components[..<place].map { $0 + "." }.joined()
        after = components[(place + 1)...].map { "." + $0 }.joined()
    }

    func name(layer: Int) -> String { "\(before)\(layer)\(after)" }
}

extension Adapter {
    /// The adapter in the portable form, save for its ranks and scales: the same modules, and zeros in the layers that
    /// have none. `layerCount` is the base model's; by default the layers are those up to the last that the adapter has.
    /// Throws `.unsupported` for what that form cannot hold, with the reason.
    func portable(layerCount: Int? = nil) throws(LoragenError) -> Adapter {
        for module in layout.modules {
            if let obstacle = PortableForm.obstacle(module) {
                throw LoragenError(
                    .unsupported,
                    "module '\(module.name)' cannot be in a portable adapter: \(obstacle). Leave it out, or write the "
                        + "adapter without portable for a host that takes it")
            }
        }
        let deepest = layout.modules.compactMap(\.layerIndex).max() ?? 0
        let count = max(layerCount ?? 0, deepest + 1)
        if let layerCount, deepest >= layerCount {
            throw LoragenError(
                .mismatch, "the adapter has a module in layer \(deepest); the base model has \(layerCount) layers")
        }
        var layers: [LayerName: [Int: ModuleShape]] = [:]
        for module in layout.modules {
            guard let layer = module.layerIndex, let name = LayerName(module.name) else { continue }
            layers[name, default: [:]][layer] = module
        }
        guard count * layers.count <= Layout.moduleLimit else {
            throw LoragenError(
                .unsupported, "a portable adapter of \(count) layers has more than \(Layout.moduleLimit) modules")
        }
        var modules = layout.modules
        let kinds = layers.sorted { precedes($0.key.name(layer: 0), $1.key.name(layer: 0)) }
        for (name, present) in kinds where present.count < count {
            guard let one = present.min(by: { $0.key < $1.key })?.value else { continue }
            if present.values.contains(where: { $0.inputs != one.inputs || $0.outputs != one.outputs }) {
                throw LoragenError(
                    .unsupported,
                    "'\(name.name(layer: 0))' and its like have several sizes and are not in every layer, so the missing ones "
                        + "cannot be filled with zeros; give all layers")
            }
            for layer in 0..<count where present[layer] == nil {
                modules.append(
                    try ModuleShape(
                        name: name.name(layer: layer), inputs: one.inputs, outputs: one.outputs, rank: one.rank,
                        alpha: one.alpha, scaling: one.scaling))
            }
        }
        if modules.count == layout.modules.count { return self }
        let whole = try layout.holding(modules, targetModules: layout.targetModules)
        return try Adapter(layout: whole, metadata: metadata) { target in
            for place in whole.tensors {
                guard let source = self[place.name] else { continue }
                _ = UnsafeMutableBufferPointer(rebasing: target[place.range]).update(fromContentsOf: source.values)
            }
        }
    }
}
