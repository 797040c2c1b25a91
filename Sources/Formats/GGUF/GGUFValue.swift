/// A value of a GGUF file's key. Numbers keep the type that they have in the file, which llama.cpp insists on.
public enum GGUFValue: Equatable, Sendable {
    case integer(Int64, GGUFKind)
    /// Beyond Int64.
    case large(UInt64)
    case float(Double, GGUFKind)
    case bool(Bool)
    case string(String)
    /// Not read: where its elements begin in the file.
    case array(of: GGUFKind, count: Int, start: Int)

    static func u32(_ value: UInt32) -> GGUFValue { .integer(Int64(value), .u32) }
    static func f32(_ value: Float) -> GGUFValue { .float(Double(value), .f32) }

    var kind: GGUFKind {
        switch self {
        case .integer(_, let kind), .float(_, let kind): kind
        case .large: .u64
        case .bool: .bool
        case .string: .string
        case .array: .array
        }
    }

    var string: String? {
        if case .string(let text) = self { return text }
        return nil
    }

    public var integer: Int? {
        if case .integer(let value, _) = self { return Int(value) }
        return nil
    }
}

/// The types of values, by their numbers.
public enum GGUFKind: UInt32, Sendable {
    case u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64

    /// Bytes of one; strings begin with their length.
    var size: Int {
        switch self {
        case .u8, .i8, .bool: 1
        case .u16, .i16: 2
        case .u32, .i32, .f32: 4
        case .u64, .i64, .f64, .string, .array: 8
        }
    }
}
