import Tensor

extension JSON {
    /// The most bytes of text that are parsed unless told otherwise: a parsed value takes up to 50 times its text.
    public static let sizeLimit = 64 << 20

    /// Parses one JSON text (RFC 8259, strictly: UTF-8, no comments, no trailing commas, no NaN, no lone surrogates, no
    /// name twice in an object). Throws `.format` with the byte at which the text stops being JSON; `source` is named
    /// in messages, a path or "metadata of x.safetensors".
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, source: String, sizeLimit: Int = JSON.sizeLimit
    ) throws(LoragenError) -> JSON {
        if bytes.count > sizeLimit {
            throw LoragenError(.format, "\(source): \(bytes.count) bytes of JSON; expected at most \(sizeLimit)")
        }
        if bytes.count >= 1 << 20 { try Memory.require(50 * Double(bytes.count), for: source) }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            throw LoragenError(
                .format, "\(source): byte 0: a byte order mark before the JSON; save the text as UTF-8 without one")
        }
        var parser = JSONParser(scanner: JSONScanner(bytes: bytes, source: source))
        return try parser.document()
    }

    /// Parses the JSON text in a string.
    public static func parse(_ text: String, source: String) throws(LoragenError) -> JSON {
        let bytes = Array(text.utf8)
        return try bytes.withUnsafeBytes { raw in
            Result { () throws(LoragenError) in try parse(raw, source: source) }
        }.get()
    }

    /// Reads and parses a file. Throws `.io` and `.format`.
    public static func read(path: String) throws(LoragenError) -> JSON {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        return try parse(file.bytes, source: path)
    }
}

private struct JSONParser {
    var scanner: JSONScanner

    mutating func document() throws(LoragenError) -> JSON {
        let value = try value(depth: 0)
        scanner.skipSpace()
        if !scanner.isAtEnd { throw scanner.unexpected("the end of the text") }
        return value
    }

    private mutating func value(depth: Int) throws(LoragenError) -> JSON {
        scanner.skipSpace()
        switch scanner.peek {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try scanner.string())
        case UInt8(ascii: "t"):
            try scanner.word("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try scanner.word("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try scanner.word("null")
            return .null
        default: return try scanner.number()
        }
    }

    private mutating func object(depth: Int) throws(LoragenError) -> JSONObject {
        try scanner.open("{", depth: depth)
        var result = JSONObject()
        if scanner.skip("}") { return result }
        repeat {
            scanner.skipSpace()
            let position = scanner.position
            let name = try scanner.string()
            try scanner.expect(":")
            if !result.add(name, try value(depth: depth + 1)) {
                throw scanner.error("the name \"\(shortened(name))\" a second time in one object", at: position)
            }
        } while scanner.skip(",")
        try scanner.expect("}", or: "','")
        return result
    }

    private mutating func array(depth: Int) throws(LoragenError) -> [JSON] {
        try scanner.open("[", depth: depth)
        var result: [JSON] = []
        if scanner.skip("]") { return result }
        repeat { result.append(try value(depth: depth + 1)) } while scanner.skip(",")
        try scanner.expect("]", or: "','")
        return result
    }
}
