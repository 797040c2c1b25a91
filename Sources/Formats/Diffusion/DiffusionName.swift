import Adapters
import Tensor

/// Where a module of a diffusion pipeline is: which of its models, and the path inside it as diffusers names it.
public struct DiffusionName: Hashable {
    public enum Component: String, CaseIterable, Sendable {
        case unet, transformer
        case textEncoder = "text_encoder"
        case textEncoder2 = "text_encoder_2"
    }

    public let component: Component
    /// Without the component: "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q".
    public let path: String

    var text: String { component.rawValue + "." + path }

    private static let roots: [(Component, Set<Substring>)] = [
        (
            .unet,
            [
                "conv_in", "conv_out", "time_embedding", "add_embedding", "class_embedding", "down_blocks", "mid_block",
                "up_blocks",
            ]
        ),
        (
            .transformer,
            [
                "transformer_blocks", "single_transformer_blocks", "x_embedder", "context_embedder", "time_text_embed",
                "norm_out", "proj_out", "pos_embed", "caption_projection", "adaln_single", "condition_embedder",
                "patch_embedding", "joint_transformer_blocks", "double_stream_blocks", "single_stream_blocks",
                "noise_refiner", "context_refiner", "img_in", "txt_in", "time_embed", "proj_in",
            ]
        ), (.textEncoder, ["text_model"]),
    ]

    init(_ component: Component, _ path: String) {
        self.component = component
        self.path = path
    }

    /// `nil` for a name that is none of a diffusion pipeline's. Without a component before it, as in an adapter of one
    /// model, the path says which it is.
    public init?(_ module: String) {
        let parts = module.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 2, let component = Component(rawValue: String(parts[0])) {
            var path = String(parts[1])
            switch component {
            case .unet, .transformer:
                guard Self.component(of: path) == component else { return nil }
            case .textEncoder, .textEncoder2:
                // transformers 5 has dropped "text_model."; diffusers reads both.
                if path.hasPrefix("encoder.layers.") { path = "text_model." + path }
            }
            self.init(component, path)
        } else if let component = Self.component(of: module) {
            self.init(component, module)
        } else {
            return nil
        }
    }

    private static func component(of path: String) -> Component? {
        let parts = path.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        if let root = parts.first, let found = roots.first(where: { $0.1.contains(root) }) { return found.0 }
        // Names that language models have too, but not with these inside: Wan, and Lumina's kin.
        guard parts.count == 4, nameIndex(parts[1]) != nil else { return nil }
        switch parts[0] {
        case "blocks":
            return ["attn1", "attn2"].contains(parts[2]) || parts[2] == "ffn" && parts[3].hasPrefix("net.")
                ? .transformer : nil
        case "layers":
            return ["attn", "attention"].contains(parts[2]) && parts[3].hasPrefix("to_") ? .transformer : nil
        default: return nil
        }
    }
}

extension Layout {
    /// The names of all modules in a diffusion pipeline. Throws `.unsupported` for a module of another model, and for one
    /// that the formats of diffusion models do not hold.
    func diffusionNames() throws(LoragenError) -> [DiffusionName] {
        var names: [DiffusionName] = []
        names.reserveCapacity(modules.count)
        for module in modules {
            if module.hasMagnitude || module.groups > 1 || module.kind != .linear && module.kind != .convolution {
                let what =
                    module.hasMagnitude ? "DoRA" : module.groups > 1 ? "a grouped convolution" : module.kind.rawValue
                throw LoragenError(
                    .unsupported,
                    "module '\(module.name)' is \(what), which hosts of diffusion models drop or misread; write a PEFT "
                        + "folder")
            }
            guard let name = DiffusionName(module.name) else {
                throw LoragenError(
                    .unsupported,
                    "module '\(module.name)' is not of a diffusion pipeline that this library knows; expected a name such as "
                        + "unet.down_blocks.0..., transformer.transformer_blocks.0..., or text_encoder.text_model...")
            }
            names.append(name)
        }
        var seen: Set<DiffusionName> = []
        for name in names where !seen.insert(name).inserted {
            throw LoragenError(.unsupported, "module '\(name.text)' is there under two names; leave one out")
        }
        return names
    }
}
