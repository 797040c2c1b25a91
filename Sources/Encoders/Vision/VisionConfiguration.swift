import Files
import NN
import Tensor

/// The sizes of a vision tower, from a folder's `config.json`, with the defaults of `transformers` where it says nothing.
struct VisionConfiguration: Sendable, Equatable {
    /// Architectures that differ in names and in how they begin and end.
    enum Family: String, Sendable { case vit, dinov2, clip, siglip }

    var family: Family
    var features: Int
    var layers: Int
    var heads: Int
    /// Width of the perceptron; for a gated one, of each of its halves.
    var hidden: Int
    var isGated = false
    var activation: VisionActivation
    var eps: Double
    /// Pixels a side of the pictures that the positions were learned for, and of a patch.
    var imageSize: Int
    var patch: Int
    var hasHead = true

    /// Patches a side.
    var grid: Int { imageSize / patch }
    /// A class token stands before the patches.
    var hasClassToken: Bool { family != .siglip }
    /// DINOv2 fits its positions to any size, as `transformers` does without being asked.
    var interpolatesPositions: Bool { family == .dinov2 }

    /// Everything that changes results, for the identity.
    var summary: String {
        "\(family.rawValue) \(features) \(layers) \(heads) \(hidden) \(isGated) \(activation.rawValue) \(eps) \(imageSize) "
            + "\(patch) \(hasHead)"
    }

    init(_ json: JSON, source: String) throws(LoragenError) {
        guard let type = json["model_type"]?.string else {
            throw LoragenError(.format, "\(source): model_type is missing; expected the config.json of a model")
        }
        let whole: JSON = json["vision_config"] ?? .object([:])
        let members: JSON
        switch type {
        case "vit": (family, members) = (.vit, json)
        case "dinov2": (family, members) = (.dinov2, json)
        case "clip_vision_model": (family, members) = (.clip, json)
        case "siglip_vision_model": (family, members) = (.siglip, json)
        case "clip": (family, members) = (.clip, whole)
        case "siglip": (family, members) = (.siglip, whole)
        default:
            throw LoragenError(
                .unsupported,
                "\(source): model_type is '\(shortened(type))'; as encoders of pictures vit, dinov2, clip, clip_vision_model, "
                    + "siglip and siglip_vision_model are known")
        }
        let reader = Reader(json: members, source: source)
        features = try reader.size("hidden_size", 768, in: 1...16_384)
        layers = try reader.size("num_hidden_layers", 12, in: 1...512)
        heads = try reader.size("num_attention_heads", 12, in: 1...1024)
        guard features % heads == 0 else {
            throw LoragenError(.format, "\(source): hidden_size is \(features) for \(heads) heads; expected a multiple")
        }
        imageSize = try reader.side("image_size", 224, in: 1...4096)
        patch = try reader.side(
            "patch_size", [.vit: 16, .dinov2: 14, .clip: 32, .siglip: 16][family] ?? 16, in: 1...512)
        guard imageSize >= patch else {
            throw LoragenError(.format, "\(source): image_size is \(imageSize), less than a patch of \(patch)")
        }
        let channels = try reader.size("num_channels", 3, in: 1...64)
        guard channels == 3 else {
            throw LoragenError(.unsupported, "\(source): num_channels is \(channels); pictures have 3")
        }
        let name =
            members["hidden_act"]?.string
            ?? (family == .clip ? "quick_gelu" : family == .siglip ? "gelu_pytorch_tanh" : "gelu")
        activation = try VisionActivation(name, source: source)
        eps = try reader.number("layer_norm_eps", family == .vit ? 1e-12 : family == .clip ? 1e-5 : 1e-6, in: 0...1)
        hidden = try reader.size("intermediate_size", 3072, in: 1...131_072)
        if family == .dinov2 {
            hidden = Int(saturating: Double(features) * (try reader.number("mlp_ratio", 4, in: 0.01...64)))
            isGated = members["use_swiglu_ffn"]?.bool ?? false
            // Two thirds, rounded up to a multiple of 8.
            if isGated { hidden = (Int(saturating: Double(hidden) * 2 / 3) + 7) / 8 * 8 }
            guard hidden > 0 else { throw LoragenError(.format, "\(source): mlp_ratio leaves no hidden features") }
        }
        hasHead = members["vision_use_head"]?.bool ?? true
    }

    private struct Reader {
        let json: JSON
        let source: String

        func size(_ name: String, _ standard: Int, in range: ClosedRange<Int>) throws(LoragenError) -> Int {
            guard let value = json[name], !value.isNull else { return standard }
            guard let number = value.integer, range.contains(number) else {
                throw LoragenError(
                    .format, "\(source): \(name) is \(value.kind); expected \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }

        /// A side of a square; some files give both.
        func side(_ name: String, _ standard: Int, in range: ClosedRange<Int>) throws(LoragenError) -> Int {
            guard let both = json[name]?.array else { return try size(name, standard, in: range) }
            guard both.count == 2, let side = both[0].integer, both[1].integer == side, range.contains(side) else {
                throw LoragenError(
                    .unsupported,
                    "\(source): \(name) is \(shortened(json[name].flatMap { try? $0.text() } ?? "")); only squares are read"
                )
            }
            return side
        }

        func number(_ name: String, _ standard: Double, in range: ClosedRange<Double>) throws(LoragenError) -> Double {
            guard let value = json[name], !value.isNull else { return standard }
            guard let number = value.double, range.contains(number) else {
                throw LoragenError(
                    .format, "\(source): \(name) is \(value.kind); expected \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
    }
}

/// The functions of perceptrons by the names that `transformers` gives them.
enum VisionActivation: String, CaseIterable, Sendable {
    case gelu, relu, silu, tanh
    case geluTanh = "gelu_pytorch_tanh"
    /// x sigmoid(1.702 x)
    case quickGELU = "quick_gelu"

    init(_ name: String, source: String) throws(LoragenError) {
        switch name {
        case "gelu_new": self = .geluTanh
        case "swish": self = .silu
        default:
            guard let known = VisionActivation(rawValue: name) else {
                let known = VisionActivation.allCases.map(\.rawValue).joined(separator: ", ")
                throw LoragenError(
                    .unsupported, "\(source): the activation is '\(shortened(name))'; expected one of \(known)")
            }
            self = known
        }
    }

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> {
        switch self {
        case .gelu: x.gelu()
        case .relu: x.relu()
        case .silu: x.silu()
        case .tanh: x.tanh()
        case .geluTanh: x.geluTanh()
        case .quickGELU: (x * 1.702).silu() * (1 / 1.702)
        }
    }
}
