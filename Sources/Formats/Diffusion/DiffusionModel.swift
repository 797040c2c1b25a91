import Adapters
import Tensor

/// A family of diffusion models, as far as the names in files depend on it.
public enum DiffusionModel: String, CaseIterable, Sendable {
    /// Stable Diffusion 1.x
    case stableDiffusion1 = "sd1"
    case stableDiffusionXL = "sdxl"
    case flux
    case pixart

    /// What the modules, or the name of the base model, say; `nil` when they leave it open.
    public static func of(_ layout: Layout, _ names: [DiffusionName]) -> DiffusionModel? {
        let paths = names.map(\.path)
        if names.contains(where: { $0.component == .transformer }) {
            if paths.contains(where: { $0.hasPrefix("single_transformer_blocks.") }) { return .flux }
            // Other models have such names too, but PixArt alone no files with the component before them.
            if zip(names, layout.modules).contains(where: { name, module in
                name.component == .transformer && name.path == module.name
                    && name.path.hasPrefix("transformer_blocks.") && name.path.split(separator: ".").contains("attn1")
            }) {
                return .pixart
            }
            return (layout.baseModel?.lowercased()).flatMap { has($0, "flux") ? .flux : nil }
        }
        if names.contains(where: { $0.component == .textEncoder2 || $0.path.hasPrefix("add_embedding.") }) {
            return .stableDiffusionXL
        }
        // The width of the text that cross-attention reads.
        for (module, path) in zip(layout.modules, paths)
        where path.hasSuffix(".attn2.to_k") || path.hasSuffix(".attn2.to_v") {
            if module.inputs == 2048 { return .stableDiffusionXL }
            if module.inputs == 768 { return .stableDiffusion1 }
        }
        guard let base = layout.baseModel?.lowercased() else { return nil }
        if has(base, "xl") { return .stableDiffusionXL }
        return ["v1-4", "v1-5", "sd1", "sd-1", "1.5"].contains { has(base, $0) } ? .stableDiffusion1 : nil
    }

    private static func has(_ text: String, _ part: String) -> Bool {
        text.utf8.indices.contains { text.utf8[$0...].starts(with: part.utf8) }
    }

    /// ss_base_model_version, modelspec.architecture and modelspec.implementation of kohya's files.
    var labels: (version: String, architecture: String, implementation: String)? {
        switch self {
        case .stableDiffusion1: ("sd_v1", "stable-diffusion-v1/lora", "diffusers")
        case .stableDiffusionXL:
            ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "https://github.com/Stability-AI/generative-models")
        case .flux: ("flux1", "flux-1-dev/lora", "https://github.com/black-forest-labs/flux")
        case .pixart: nil
        }
    }
}
