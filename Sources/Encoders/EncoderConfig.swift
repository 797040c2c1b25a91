import Files
import Tensor

/// An encoder's config.json, read within bounds: what it gives can be multiplied and allocated.
struct EncoderConfig {
    let path: String
    let json: JSON

    init(_ json: JSON, path: String) { (self.json, self.path) = (json, path) }

    /// A number in `range`. Throws when it is missing and has no `standard`, or is none of these.
    func integer(
        _ names: String..., in range: ClosedRange<Int>, standard: Int? = nil
    ) throws(LoragenError) -> Int {
        for name in names {
            guard let value = json[name], !value.isNull else { continue }
            guard let number = value.integer, range.contains(number) else {
                throw LoragenError(
                    .format,
                    "\(path): \(name) is \(value.kind); expected \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        guard let standard else { throw LoragenError(.format, "\(path): \(names.first ?? "") is missing") }
        return standard
    }

    func number(_ name: String, standard: Double) throws(LoragenError) -> Double {
        guard let value = json[name], !value.isNull else { return standard }
        guard let number = value.double, number.isFinite, number >= 0, number <= 1 else {
            throw LoragenError(.format, "\(path): \(name) is \(value.kind); expected 0 to 1")
        }
        return number
    }

    func text(_ name: String) -> String? { json[name]?.string }

    /// Widths, layers and the like are at most these.
    static let (widths, counts) = (1...(1 << 16), 1...(1 << 10))

    func heads(_ names: String..., of width: Int) throws(LoragenError) -> Int {
        for name in names {
            guard let value = json[name]?.integer else { continue }
            guard value > 0, width % value == 0 else {
                throw LoragenError(.format, "\(path): \(name) is \(value), which does not divide \(width)")
            }
            return value
        }
        throw LoragenError(.format, "\(path): \(names.first ?? "") is missing")
    }

    /// The activation that a name of transformers stands for.
    func activation(_ name: String, standard: String) throws(LoragenError) -> EncoderActivation {
        let value = json[name]?.string ?? standard
        switch value {
        case "gelu": return .gelu
        case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": return .geluTanh
        case "quick_gelu": return .quickGELU
        case "relu": return .relu
        case "silu", "swish": return .silu
        default:
            throw LoragenError(
                .unsupported,
                "\(path): \(name) is \"\(shortened(value))\"; expected gelu, gelu_new, quick_gelu, relu or silu")
        }
    }
}

/// The activations of encoders.
enum EncoderActivation: Sendable {
    case gelu, geluTanh, quickGELU, relu, silu

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> {
        switch self {
        case .gelu: return x.gelu()
        case .geluTanh: return x.geluTanh()
        case .quickGELU: return x * (x * 1.702).sigmoid()
        case .relu: return x.relu()
        case .silu: return x.silu()
        }
    }
}
