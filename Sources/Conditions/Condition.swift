import Tensor

/// What is given for one part of a condition.
public enum ConditionValue: Hashable, Sendable {
    /// The numbers themselves, which any kind takes.
    case numbers([Float])
    /// A text in UTF-8, or the bytes of a file.
    case bytes([UInt8])
    /// A file that is read when it is needed.
    case file(String)

    public static func text(_ text: String) -> ConditionValue { .bytes(Array(text.utf8)) }
}

/// What a host asks for, or a manifest says of an adapter: a value for each part of a schema, or several, of which the mean
/// counts, for parts of kinds that are pooled.
public struct Condition: Hashable, Sendable {
    public struct Part: Hashable, Sendable {
        /// nil: the only part there is, or the only one of its kind.
        public var name: String?
        /// A name of `conditionKinds`.
        public var kind: String
        public var value: ConditionValue

        public init(_ name: String? = nil, kind: String, _ value: ConditionValue) {
            (self.name, self.kind, self.value) = (name, kind, value)
        }
    }

    public var parts: [Part]

    public init(_ parts: [Part] = []) { self.parts = parts }

    public static func vector(_ numbers: [Float]) -> Condition {
        Condition([Part(kind: VectorKind.name, .numbers(numbers))])
    }

    public static func bits(_ text: String) -> Condition {
        Condition([Part(kind: BitsKind.name, .text(text))])
    }

    public static func text(_ text: String) -> Condition {
        Condition([Part(kind: TextKind.name, .text(text))])
    }

    /// Label bits, where they are all of it.
    public var bits: String? {
        guard parts.count == 1, parts[0].kind == BitsKind.name, case .bytes(let bytes) = parts[0].value else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
