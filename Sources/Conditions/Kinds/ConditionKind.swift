import Files
import Tensor

/// A kind of condition: how what is given becomes numbers.
public protocol ConditionKind: Sendable {
    var name: String { get }
    /// `LORAGEN_CONDITION_...` of a generator with one part of this kind.
    var code: Int32 { get }
    /// What is expected, for messages: "6 bits".
    func phrase(_ length: Int) -> String
    /// Whether an encoder makes the numbers, and `numbers` is not asked.
    var isEncoded: Bool { get }
    /// Whether a part may have several values; the mean of their numbers counts.
    var isPooled: Bool { get }
    /// The numbers of a text or a file. Throws `.invalidArgument` for what it cannot be.
    func numbers(_ bytes: [UInt8]) throws(LoragenError) -> [Float]
}

/// `LORAGEN_CONDITION_PARTS`: several parts, or a kind that the header has no number for.
public let conditionOfParts: Int32 = 3

extension ConditionKind {
    public var code: Int32 { conditionOfParts }
    public var isEncoded: Bool { false }
    public var isPooled: Bool { false }

    public func numbers(_ bytes: [UInt8]) throws(LoragenError) -> [Float] {
        throw LoragenError(.invalidArgument, "a \(name) was given as a text or a file; expected numbers")
    }
}

public let conditionKinds = Registry<any ConditionKind>(
    "kind of condition", [VectorKind(), BitsKind(), TextKind(), ImagesKind()]
) { $0.name }
