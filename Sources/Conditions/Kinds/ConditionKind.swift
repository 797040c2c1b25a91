import Files
import Tensor

/// A kind of condition: how what is given becomes numbers.
public protocol ConditionKind: Sendable {
    var name: String { get }
    /// `LORAGEN_CONDITION_...` of a generator with one part of this kind.
    var code: Int32 { get }
    /// What is expected, for messages: "6 bits".
    func phrase(_ length: Int) -> String
    /// The numbers of a text or a file. Throws `.invalidArgument` for what it cannot be.
    func numbers(_ bytes: [UInt8]) throws(LoragenError) -> [Float]
}

/// `LORAGEN_CONDITION_PARTS`: several parts, or a kind that the header has no number for.
public let conditionOfParts: Int32 = 3

extension ConditionKind {
    public var code: Int32 { conditionOfParts }
}

public let conditionKinds = Registry<any ConditionKind>("kind of condition", [VectorKind(), BitsKind()]) { $0.name }
