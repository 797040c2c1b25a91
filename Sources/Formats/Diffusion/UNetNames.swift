import Tensor

/// The paths of a UNet in diffusers and in the original code (sgm, LDM), two resnets to a level as in SD 1.x and SDXL.
enum UNetNames {
    private static let single: [(diffusers: String, original: String)] = [
        ("conv_in", "input_blocks.0.0"), ("conv_out", "out.2"),
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
    ]
    private static let resnet: [(diffusers: String, original: String)] = [
        ("conv1", "in_layers.2"), ("conv2", "out_layers.3"), ("time_emb_proj", "emb_layers.1"),
        ("conv_shortcut", "skip_connection"),
    ]

    /// `nil` for a path that has no name there. Upsamplers follow attention, as they do in SDXL.
    static func original(_ path: String) -> String? {
        if let found = single.first(where: { $0.diffusers == path }) { return found.original }
        let parts = path.split(separator: ".")
        func rest(_ start: Int) -> String { parts[start...].joined(separator: ".") }
        func resnetRest(_ start: Int) -> String? { resnet.first { $0.diffusers == rest(start) }?.original }
        guard parts.count >= 4 else { return nil }
        switch parts[0] {
        case "mid_block":
            guard let j = nameIndex(parts[2]) else { return nil }
            if parts[1] == "attentions", j == 0 { return "middle_block.1." + rest(3) }
            guard parts[1] == "resnets", j < 2, let inner = resnetRest(3) else { return nil }
            return "middle_block.\(2 * j).\(inner)"
        case "down_blocks", "up_blocks":
            guard parts.count >= 5, let i = nameIndex(parts[1]), i < 16, let j = nameIndex(parts[3]), j < 3
            else { return nil }
            let isUp = parts[0] == "up_blocks"
            let block = isUp ? "output_blocks.\(3 * i + j)" : "input_blocks.\(3 * i + j + 1)"
            switch parts[2] {
            case "resnets": return resnetRest(4).map { "\(block).0.\($0)" }
            case "attentions": return "\(block).1." + rest(4)
            case "downsamplers": return !isUp && j == 0 && rest(4) == "conv" ? "input_blocks.\(3 * (i + 1)).0.op" : nil
            case "upsamplers":
                guard isUp, j == 0, rest(4) == "conv" else { return nil }
                return "output_blocks.\(3 * i + 2).2.conv"
            default: return nil
            }
        default: return nil
        }
    }

    static func isOriginal(_ path: String) -> Bool {
        let root = path.prefix { $0 != "." }
        return ["input_blocks", "middle_block", "output_blocks", "time_embed", "label_emb", "out"].contains(root)
    }

    static func diffusers(_ original: String) -> String? {
        if let found = single.first(where: { $0.original == original }) { return found.diffusers }
        let parts = original.split(separator: ".")
        func rest(_ start: Int) -> String { parts[start...].joined(separator: ".") }
        func resnetRest(_ start: Int) -> String? { resnet.first { $0.original == rest(start) }?.diffusers }
        guard parts.count >= 3, let n = nameIndex(parts[1]), n < 48 else { return nil }
        if parts[0] == "middle_block" {
            if n == 1 { return "mid_block.attentions.0." + rest(2) }
            guard n == 0 || n == 2, let inner = resnetRest(2) else { return nil }
            return "mid_block.resnets.\(n / 2).\(inner)"
        }
        guard parts.count >= 4, let sub = nameIndex(parts[2]) else { return nil }
        switch parts[0] {
        case "input_blocks":
            guard n > 0 else { return nil }
            let (i, j) = ((n - 1) / 3, (n - 1) % 3)
            if j == 2 { return sub == 0 && rest(3) == "op" ? "down_blocks.\(i).downsamplers.0.conv" : nil }
            if sub == 1 { return "down_blocks.\(i).attentions.\(j)." + rest(3) }
            guard sub == 0, let inner = resnetRest(3) else { return nil }
            return "down_blocks.\(i).resnets.\(j).\(inner)"
        case "output_blocks":
            let (i, j) = (n / 3, n % 3)
            if j == 2, sub == 1 || sub == 2, rest(3) == "conv" { return "up_blocks.\(i).upsamplers.0.conv" }
            if sub == 1 { return "up_blocks.\(i).attentions.\(j)." + rest(3) }
            guard sub == 0, let inner = resnetRest(3) else { return nil }
            return "up_blocks.\(i).resnets.\(j).\(inner)"
        default: return nil
        }
    }
}
