import Encoders
import Files
import Tensor

/// Pictures, which an encoder turns into a vector; several of a part become the mean of theirs.
public struct ImagesKind: ConditionKind {
    public static let name = "images"

    public init() {}

    public var name: String { Self.name }
    public var isEncoded: Bool { true }
    public var isPooled: Bool { true }

    public func phrase(_ length: Int) -> String { "a picture" }
}

extension ImageEncoder: ConditionEncoder {
    public var width: Int { pooledFeatures }

    public var stateWidth: Int { features }

    public func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]] {
        try outputs(values, layer: nil).map(\.pooled.values)
    }

    public func states(_ values: [ConditionValue], _ tokens: TokenFeatures) throws(LoragenError) -> [[Float]] {
        try outputs(values, layer: tokens.layer).map { tokens.block($0.states) }
    }

    private func outputs(_ values: [ConditionValue], layer: Int?) throws(LoragenError) -> [Output] {
        var outputs: [Output] = []
        for value in values {
            let picture: Picture
            switch value {
            case .file(let path): picture = try Picture(path: path)
            case .bytes(let bytes):
                picture = try typed {
                    try bytes.withUnsafeBytes { try Picture(file: $0, name: "a picture of the condition") }
                }
            case .numbers: throw LoragenError(.internalError, "numbers went to an encoder of pictures")
            }
            outputs += try encode([picture], layer: layer)
        }
        return outputs
    }
}
