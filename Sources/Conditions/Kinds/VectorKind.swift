import Tensor

/// Numbers, whatever they mean: labels, or an embedding that the host has computed.
public struct VectorKind: ConditionKind {
    public static let name = "vector"
    public var name: String { Self.name }
    public var code: Int32 { 1 }
    public var isPooled: Bool { true }

    public func phrase(_ length: Int) -> String { "a vector of \(length) numbers" }
}
