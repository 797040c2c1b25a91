import Tensor

/// Labels that apply or don't: "0110", which becomes numbers that are 0 or 1.
public struct BitsKind: ConditionKind {
    public static let name = "bits"
    public var name: String { Self.name }
    public var code: Int32 { 2 }

    public func phrase(_ length: Int) -> String { "\(length) bits" }

    public func numbers(_ bytes: [UInt8]) throws(LoragenError) -> [Float] {
        guard bytes.allSatisfy({ $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }) else {
            let text = String(decoding: bytes.prefix(64), as: UTF8.self)
            throw LoragenError(.invalidArgument, "bits are \"\(text)\"; expected only 0 and 1")
        }
        return bytes.map { $0 == UInt8(ascii: "1") ? 1 : 0 }
    }
}
