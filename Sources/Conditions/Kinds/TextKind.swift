import Encoders
import Files
import Tensor

/// Words, which an encoder turns into a vector; several texts of a part become the mean of theirs.
public struct TextKind: ConditionKind {
    public static let name = "text"

    public init() {}

    public var name: String { Self.name }
    public var isEncoded: Bool { true }
    public var isPooled: Bool { true }

    public func phrase(_ length: Int) -> String { "a text" }
}

extension TextEncoder: ConditionEncoder {
    public func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]] {
        try encode(try Self.texts(values)).map(\.pooled)
    }

    public func states(_ values: [ConditionValue], _ tokens: TokenFeatures) throws(LoragenError) -> [[Float]] {
        try encode(try Self.texts(values), layer: tokens.layer).map { tokens.block($0.states) }
    }

    private static func texts(_ values: [ConditionValue]) throws(LoragenError) -> [String] {
        var texts: [String] = []
        for value in values {
            guard case .bytes(let bytes) = value, let text = String(validating: bytes, as: UTF8.self) else {
                throw LoragenError(.invalidArgument, "a text of the condition is not valid UTF-8")
            }
            texts.append(text)
        }
        return texts
    }
}
