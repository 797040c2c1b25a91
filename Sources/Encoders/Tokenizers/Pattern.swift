import CPCRE2
import Files
import Tensor

/// A regular expression of a tokenizer, in the syntax of Oniguruma that `tokenizers` is built with, matched by PCRE2.
/// What means another thing in PCRE2 is put into its words, what is not known to mean the same is refused. Patterns come
/// from files: steps and memory of a match are bounded, and machine code is never made.
final class Pattern: @unchecked Sendable {
    // Safe to share: a compiled expression is never changed, and PCRE2 allows it to many threads at once.

    private let code: OpaquePointer
    private let source: String

    private static let (steps, heapKiB): (UInt32, UInt32) = (10_000_000, 64 << 10)

    /// `source` says where the pattern stands. Throws `.format` for what is no expression, `.unsupported` for what is not
    /// read.
    init(_ text: String, source: String) throws(LoragenError) {
        self.source = "\(source): the regular expression \"\(shortened(text))\""
        var translated = try PatternSyntax(text, source: self.source).translated
        let context = pcre2_compile_context_create_8(nil)
        defer { pcre2_compile_context_free_8(context) }
        pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF))
        let options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C
        var (failure, place) = (Int32(0), 0)
        let code = translated.withUTF8 { bytes in
            pcre2_compile_8(bytes.baseAddress, bytes.count, options, &failure, &place, context)
        }
        guard let code else {
            throw LoragenError(.format, "\(self.source) cannot be read (PCRE2's error \(failure))")
        }
        self.code = code
    }

    deinit { pcre2_code_free_8(code) }

    /// The matches from left to right; empty ones are left out. Throws `.unsupported` when the pattern takes more steps
    /// than it may.
    func matches(in text: UTF8Text) throws(LoragenError) -> [Range<Int>] {
        let (context, data) = (pcre2_match_context_create_8(nil), pcre2_match_data_create_8(1, nil))
        defer {
            pcre2_match_data_free_8(data)
            pcre2_match_context_free_8(context)
        }
        pcre2_set_match_limit_8(context, Self.steps)
        pcre2_set_heap_limit_8(context, Self.heapKiB)
        var found: [Range<Int>] = []
        var start = 0
        while start < text.count {
            let result = text.withUnsafeBufferPointer { bytes in
                pcre2_match_8(code, bytes.baseAddress, bytes.count, start, PCRE2_NO_UTF_CHECK, data, context)
            }
            if result == PCRE2_ERROR_NOMATCH { break }
            guard result > 0, let ends = pcre2_get_ovector_pointer_8(data) else {
                throw LoragenError(.unsupported, "\(source) takes too many steps on a text of \(text.count) bytes")
            }
            let range = (ends[0], ends[1])
            if range.1 > range.0, range.0 >= start, range.1 <= text.count {
                found.append(range.0..<range.1)
                start = range.1
            } else {
                start = max(start, range.0)
                start += scalar(text, at: start).length
            }
        }
        return found
    }
}

/// Oniguruma's words for PCRE2.
private struct PatternSyntax {
    private(set) var translated = ""
    private let text: [Unicode.Scalar]
    private var place = 0
    private let source: String

    /// Unicode's White_Space; PCRE2's own `\s` has U+180E too.
    private static let space =
        #"\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"#
    private static let word =
        #"\p{L}\p{M}\p{N}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"#

    init(_ text: String, source: String) throws(LoragenError) {
        self.text = Array(text.unicodeScalars)
        self.source = source
        while place < self.text.count { try next() }
    }

    private func peek(_ offset: Int = 0) -> Unicode.Scalar? {
        place + offset < text.count ? text[place + offset] : nil
    }

    private func refused(_ what: String) -> LoragenError {
        LoragenError(.unsupported, "\(source), at character \(place): \(what) is not read")
    }

    private mutating func copy(_ count: Int = 1) {
        for scalar in text[place..<min(text.count, place + count)] { translated.unicodeScalars.append(scalar) }
        place += count
    }

    private mutating func next() throws(LoragenError) {
        guard let scalar = peek() else { return }
        switch scalar {
        case "\\": try escape(inClass: false)
        case "[": try characterClass()
        case "(":
            if peek(1) == "?" { try group() } else { copy() }
        case "}":
            if peek(1) == "+" { throw refused("a possessive count") }
            copy()
        default: copy()
        }
    }

    private mutating func group() throws(LoragenError) {
        let allowed = ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"]
        for start in allowed {
            let scalars = Array(start.unicodeScalars)
            if place + scalars.count <= text.count, Array(text[place..<place + scalars.count]) == scalars {
                return copy(scalars.count)
            }
        }
        throw refused("the group (\(peek(1).map { String($0) } ?? "")\(peek(2).map { String($0) } ?? "")")
    }

    private mutating func characterClass() throws(LoragenError) {
        copy()
        if peek() == "^" { copy() }
        if peek() == "]" { throw refused("an empty class") }
        while let scalar = peek(), scalar != "]" {
            if scalar == "[" { throw refused("a class within a class") }
            if scalar == "&", peek(1) == "&" { throw refused("an intersection of classes") }
            if scalar == "\\" { try escape(inClass: true) } else { copy() }
        }
        copy()
    }

    private mutating func escape(inClass: Bool) throws(LoragenError) {
        guard let letter = peek(1) else { throw refused("a \\ at the end") }
        switch letter {
        case "s": replace(inClass ? Self.space : "[\(Self.space)]")
        case "S" where !inClass: replace("[^\(Self.space)]")
        case "d": replace(#"\p{Nd}"#)
        case "D": replace(#"\P{Nd}"#)
        case "w": replace(inClass ? Self.word : "[\(Self.word)]")
        case "W" where !inClass: replace("[^\(Self.word)]")
        case "p", "P": try property()
        case "n", "r", "t", "f": copy(2)
        case "A", "z":
            if inClass { throw refused("\\\(letter) in a class") }
            copy(2)
        case "x":
            guard peek(2) == "{" || hex(2).map({ $0 < 8 }) == true && hex(3) != nil else {
                throw refused("\\x of a byte")
            }
            copy(2)
        default:
            let value = letter.value
            let isLetter = (0x41...0x5a).contains(value & 0xdf) || (0x30...0x39).contains(value)
            if isLetter || value >= 0x80 { throw refused("\\\(letter)") }
            copy(2)
        }
    }

    private func hex(_ offset: Int) -> Int? { peek(offset).flatMap { Int(String($0), radix: 16) } }

    private mutating func replace(_ words: String) {
        translated += words
        place += 2
    }

    private mutating func property() throws(LoragenError) {
        guard peek(2) == "{", let end = text[place...].firstIndex(of: "}") else { throw refused("\\p without a name") }
        copy(end - place + 1)
    }
}
