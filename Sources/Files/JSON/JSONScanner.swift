import Glibc
import Tensor

/// Reads the tokens of a JSON text, byte by byte, and says where it stopped being one. Never reads outside `bytes`.
struct JSONScanner {
    let bytes: UnsafeRawBufferPointer
    let source: String
    /// Added to positions in messages: where the text starts inside its file.
    var origin = 0
    private(set) var position = 0

    init(bytes: UnsafeRawBufferPointer, source: String, origin: Int = 0) {
        self.bytes = bytes
        self.source = source
        self.origin = origin
    }

    var isAtEnd: Bool { position >= bytes.count }

    /// The next byte; 0, which is no part of any JSON token, at the end.
    var peek: UInt8 { position < bytes.count ? bytes[position] : 0 }

    func error(_ what: String, at place: Int) -> LoragenError {
        LoragenError(.format, "\(source): byte \(origin + place): \(what)")
    }

    /// "byte 17: found 'x', expected ','".
    func unexpected(_ expected: String) -> LoragenError {
        error("found \(found), expected \(expected)", at: position)
    }

    private var found: String {
        if isAtEnd { return "the end of the text" }
        let byte = bytes[position]
        if byte > 0x20 && byte < 0x7f { return "'\(Character(UnicodeScalar(byte)))'" }
        let hex = String(byte, radix: 16)
        return "the byte 0x" + (byte < 16 ? "0" : "") + hex
    }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0a, 0x0d, 0x09: position += 1
            default: return
            }
        }
    }

    mutating func advance() { if position < bytes.count { position += 1 } }

    /// Skips space and, if it comes next, the character.
    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == UInt8(truncatingIfNeeded: character.value) else {
            return false
        }
        position += 1
        return true
    }

    mutating func expect(_ character: Unicode.Scalar, or other: String? = nil) throws(LoragenError) {
        if !skip(character) { throw unexpected((other.map { $0 + " or " } ?? "") + "'\(character)'") }
    }

    /// An opening bracket at a depth that is still allowed.
    mutating func open(_ character: Unicode.Scalar, depth: Int) throws(LoragenError) {
        if depth >= JSON.depthLimit {
            throw error("nested more than \(JSON.depthLimit) deep", at: position)
        }
        try expect(character)
    }

    mutating func word(_ text: StaticString) throws(LoragenError) {
        let start = position
        let matches = text.withUTF8Buffer { word in
            guard bytes.count - start >= word.count else { return false }
            for i in 0..<word.count where bytes[start + i] != word[i] { return false }
            return true
        }
        if !matches { throw unexpected("'\(text)'") }
        position += text.utf8CodeUnitCount
    }

    /// Skips space and, if it comes next, this very token; the text of it must be plain ASCII.
    mutating func skip(token: StaticString) -> Bool {
        skipSpace()
        let count = token.utf8CodeUnitCount
        guard bytes.count - position >= count, let base = bytes.baseAddress,
            memcmp(base + position, token.utf8Start, count) == 0
        else { return false }
        position += count
        return true
    }

    // MARK: Numbers

    mutating func number() throws(LoragenError) -> JSON {
        let start = position
        var isWhole = true
        if peek == UInt8(ascii: "-") { position += 1 }
        if peek == UInt8(ascii: "0") {
            position += 1
            if isDigit(peek) { throw error("a number with a leading zero", at: start) }
        } else {
            try digits(start == position ? "a value" : "a digit")
        }
        if peek == UInt8(ascii: ".") {
            isWhole = false
            position += 1
            try digits("a digit")
        }
        if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
            isWhole = false
            position += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { position += 1 }
            try digits("a digit")
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        // "-0" is the double; the integer has no sign of zero.
        if isWhole, text != "-0", let value = Int64(text) { return .integer(value) }
        guard position - start <= 1100, let value = Double(text), value.isFinite else {
            throw error("the number \(shortened(text)) is out of range", at: start)
        }
        return .number(value)
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    private mutating func digits(_ expected: String) throws(LoragenError) {
        if !isDigit(peek) { throw unexpected(expected) }
        while isDigit(peek) { position += 1 }
    }

    /// A whole number from 0, without sign, fraction or exponent, that fits an Int.
    mutating func count(_ what: String) throws(LoragenError) -> Int {
        skipSpace()
        let start = position
        var value = 0
        if !isDigit(peek) { throw unexpected("\(what), a whole number from 0") }
        while isDigit(peek) {
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflow) = product.addingReportingOverflow(Int(peek) - 48)
            if tooLarge || overflow { throw error("\(what) is beyond 2^63 - 1", at: start) }
            value = sum
            position += 1
        }
        if position - start > 1, bytes[start] == UInt8(ascii: "0") {
            throw error("a number with a leading zero", at: start)
        }
        switch peek {
        case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
            throw unexpected("\(what), a whole number without '.' or exponent")
        default: return value
        }
    }

    // MARK: Strings

    mutating func string() throws(LoragenError) -> String {
        skipSpace()
        let start = position
        if peek != UInt8(ascii: "\"") || isAtEnd { throw unexpected("'\"'") }
        position += 1
        let first = position
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                let text = try utf8(bytes[first..<position], at: first)
                position += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(from: first) }
            if byte < 0x20 { throw error("a raw control character in a string; expected an escape", at: position) }
            position += 1
        }
        throw error("a string without an end", at: start)
    }

    private func utf8(_ part: Slice<UnsafeRawBufferPointer>, at place: Int) throws(LoragenError) -> String {
        let text = UnsafeRawBufferPointer(rebasing: part).withMemoryRebound(to: UInt8.self) {
            String(validating: $0, as: UTF8.self)
        }
        guard let text else { throw error("a string that is not valid UTF-8", at: place) }
        return text
    }

    private mutating func escapedString(from first: Int) throws(LoragenError) -> String {
        var text = Array(bytes[first..<position])
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                guard let result = String(validating: text, as: UTF8.self) else {
                    throw error("a string that is not valid UTF-8", at: first)
                }
                return result
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw error("a raw control character in a string; expected an escape", at: position)
            default:
                text.append(byte)
                position += 1
            }
        }
        throw error("a string without an end", at: first - 1)
    }

    private mutating func escape(into text: inout [UInt8]) throws(LoragenError) {
        let start = position
        position += 1
        let letter = peek
        if isAtEnd { throw unexpected("the rest of an escape") }
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hex4()
            if code >= 0xd800 && code < 0xdc00 {
                guard peek == UInt8(ascii: "\\") else { throw error("half of a surrogate pair", at: start) }
                position += 1
                guard peek == UInt8(ascii: "u") else { throw error("half of a surrogate pair", at: start) }
                position += 1
                let low = try hex4()
                guard low >= 0xdc00 && low < 0xe000 else { throw error("half of a surrogate pair", at: start) }
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw error("half of a surrogate pair", at: start) }
            text.append(contentsOf: Character(scalar).utf8)
        default: throw error("an escape that JSON does not have", at: start)
        }
    }

    private mutating func hex4() throws(LoragenError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            let digit: UInt8
            switch peek {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = peek - 48
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = peek - 97 + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = peek - 65 + 10
            default: throw unexpected("four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }
}
