import Glibc

/// A JSON value. Whole numbers that fit keep their 64 bits; all other numbers are doubles.
public enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSON])
    case object(JSONObject)

    /// The deepest nesting that is read or written, as in the reference safetensors.
    public static let depthLimit = 128
}

/// The members of a JSON object in the order in which they were given; names are told apart by their UTF-8 bytes.
public struct JSONObject: Equatable, Sendable {
    /// One member.
    public struct Member: Equatable, Sendable {
        public var name: String
        public var value: JSON
    }

    public private(set) var members: [Member] = []
    private var index: [ByteKey: Int] = [:]

    public init() {}

    public var count: Int { members.count }

    /// The value of a member, `nil` if there is none. Setting `nil` removes it, a new name goes to the end.
    public subscript(name: String) -> JSON? {
        get { index[ByteKey(name)].map { members[$0].value } }
        set {
            let key = ByteKey(name)
            switch (index[key], newValue) {
            case (let place?, let value?): members[place].value = value
            case (nil, let value?):
                index[key] = members.count
                members.append(Member(name: name, value: value))
            case (let place?, nil):
                members.remove(at: place)
                index = [:]
                for (place, member) in members.enumerated() { index[ByteKey(member.name)] = place }
            case (nil, nil): break
            }
        }
    }

    /// Appends a member; `false`, and nothing changed, when there is one of that name.
    mutating func add(_ name: String, _ value: JSON) -> Bool {
        let next = members.count
        let place = index[ByteKey(name), default: next]
        if place != next { return false }
        index[ByteKey(name)] = next
        members.append(Member(name: name, value: value))
        return true
    }
}

/// A string that is equal to another when the bytes are. (Swift's own strings are equal when they look alike.)
public struct ByteKey: Hashable, Sendable {
    public let text: String

    public init(_ text: String) {
        var text = text
        text.makeContiguousUTF8()
        self.text = text
    }

    public static func == (a: ByteKey, b: ByteKey) -> Bool {
        let same = a.text.utf8.withContiguousStorageIfAvailable { a in
            b.text.utf8.withContiguousStorageIfAvailable { b in
                guard a.count == b.count else { return false }
                guard let first = a.baseAddress, let second = b.baseAddress else { return true }
                return memcmp(first, second, a.count) == 0
            }
        }
        return (same ?? nil) ?? a.text.utf8.elementsEqual(b.text.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        let done: Void? = text.utf8.withContiguousStorageIfAvailable {
            hasher.combine(bytes: UnsafeRawBufferPointer($0))
        }
        if done == nil { for byte in text.utf8 { hasher.combine(byte) } }
    }
}

/// The order of names in files: by UTF-8 bytes, as Rust and Python's `sorted` on encoded names have it.
public func precedes(_ a: String, _ b: String) -> Bool {
    let fast = a.utf8.withContiguousStorageIfAvailable { a in
        b.utf8.withContiguousStorageIfAvailable { b in
            guard let first = a.baseAddress, let second = b.baseAddress else { return a.count < b.count }
            let order = memcmp(first, second, min(a.count, b.count))
            return order == 0 ? a.count < b.count : order < 0
        }
    }
    return (fast ?? nil) ?? a.utf8.lexicographicallyPrecedes(b.utf8)
}

// MARK: - Reading values

extension JSON {
    public var isNull: Bool { self == .null }

    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    public var string: String? {
        if case .string(let value) = self { return value }
        return nil
    }

    public var array: [JSON]? {
        if case .array(let value) = self { return value }
        return nil
    }

    public var object: JSONObject? {
        if case .object(let value) = self { return value }
        return nil
    }

    /// The value as a whole number; a double such as 8.0 does not count.
    public var integer: Int? {
        if case .integer(let value) = self { return Int(exactly: value) }
        return nil
    }

    /// The value as a double, whole numbers included.
    public var double: Double? {
        switch self {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: return nil
        }
    }

    /// A member of an object; `nil` for other kinds.
    public subscript(name: String) -> JSON? { object?[name] }

    /// What the value is, for messages: "a string", "null".
    public var kind: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return "the number \(value)"
        case .number(let value): return "the number \(value)"
        case .string(let value): return "the string \"\(shortened(value))\""
        case .array(let value): return "an array of \(value.count)"
        case .object(let value): return "an object of \(value.count) members"
        }
    }
}

extension JSONObject {
    /// The same with the members of `other` in place of its own, or added.
    public func changing(_ other: JSONObject) -> JSONObject {
        var result = self
        for member in other.members { result[member.name] = member.value }
        return result
    }
}

// MARK: - Literals

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(nilLiteral: ()) { self = .null }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements)) }

    public init(_ value: Int) { self = .integer(Int64(value)) }
    public init(_ values: [String]) { self = .array(values.map { .string($0) }) }
    public init(_ values: [Int]) { self = .array(values.map { .integer(Int64($0)) }) }
    public init(_ values: [Double]) { self = .array(values.map { .number($0) }) }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    /// Of members with one name the last counts.
    public init(_ members: [(String, JSON)]) {
        for (name, value) in members { self[name] = value }
    }

    public init(dictionaryLiteral elements: (String, JSON)...) { self.init(elements) }
}
