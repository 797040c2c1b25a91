import Cutf8proc

/// UTF-8 that is known to be valid. Tokenizers work on its bytes and its Unicode scalars. Never on Swift's characters: one
/// of those may be a whole cluster, of Thai or Devanagari letters, of an emoji and its parts, of CR and LF.
typealias UTF8Text = [UInt8]

/// The scalar that begins at a byte, and how many bytes it takes. At the end, and where the text is cut, 0xfffd and 1.
@inline(__always)
func scalar(_ text: UTF8Text, at place: Int) -> (value: UInt32, length: Int) {
    guard place >= 0, place < text.count else { return (0xfffd, 1) }
    let first = UInt32(text[place])
    if first < 0x80 { return (first, 1) }
    let length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1
    guard length > 1, place + length <= text.count else { return (0xfffd, 1) }
    var value = first & (0x7f >> UInt32(length))
    for offset in 1..<length { value = value << 6 | UInt32(text[place + offset] & 0x3f) }
    return (value, length)
}

extension UTF8Text {
    /// Appends a scalar's bytes; nothing for what is no scalar.
    mutating func append(scalar value: UInt32) {
        if value < 0x80 { return append(UInt8(truncatingIfNeeded: value)) }
        guard let scalar = Unicode.Scalar(value), let bytes = UTF8.encode(scalar) else { return }
        append(contentsOf: bytes)
    }

    var isASCII: Bool { allSatisfy { $0 < 0x80 } }

    func starts(with prefix: UTF8Text) -> Bool { count >= prefix.count && self[..<prefix.count].elementsEqual(prefix) }
}

/// Ranges of scalars in ascending order.
struct ScalarSet {
    private let bounds: [(UInt32, UInt32)]

    init(_ bounds: [(UInt32, UInt32)]) { self.bounds = bounds }

    func contains(_ value: UInt32) -> Bool {
        var (low, high) = (0, bounds.count)
        while low < high {
            let middle = (low + high) / 2
            if bounds[middle].1 < value { low = middle + 1 } else { high = middle }
        }
        return low < bounds.count && bounds[low].0 <= value
    }
}

/// What tokenizers ask of a scalar, answered as the crates do that `tokenizers` is built with: their tables are older than
/// those linked here, and `ScalarSet`'s of Exceptions.swift hold the difference.
enum Scalars {
    /// Unicode's White_Space.
    static func isSpace(_ c: UInt32) -> Bool {
        if c < 0x80 { return c == 0x20 || (9...13).contains(c) }
        switch c {
        case 0x85, 0xa0, 0x1680, 0x2000...0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000: return true
        default: return false
        }
    }

    /// What BERT removes: control, format and private characters but tab, line feed and carriage return.
    static func isControl(_ c: UInt32) -> Bool {
        if c < 0x80 { return (c < 0x20 || c == 0x7f) && c != 9 && c != 10 && c != 13 }
        switch category(c) {
        case UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CF, UTF8PROC_CATEGORY_CO: return !Exceptions.notControl.contains(c)
        default: return false
        }
    }

    /// A non-spacing mark (Mn).
    static func isNonspacingMark(_ c: UInt32) -> Bool {
        if c < 0x300 { return false }
        if c == 0x1734 { return true }
        return category(c) == UTF8PROC_CATEGORY_MN && !Exceptions.notNonspacing.contains(c)
    }

    /// A mark of any kind (M).
    static func isMark(_ c: UInt32) -> Bool {
        if c < 0x300 { return false }
        if c == 0x1cf2 || c == 0x1cf3 { return true }
        return isAnyMark(c) && !Exceptions.notMark.contains(c)
    }

    private static func isAnyMark(_ c: UInt32) -> Bool {
        switch category(c) {
        case UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MC, UTF8PROC_CATEGORY_ME: return true
        default: return false
        }
    }

    /// Punctuation as BERT has it: of Unicode, and all of ASCII that is neither letter, digit nor space.
    static func isPunctuation(_ c: UInt32) -> Bool {
        if c < 0x80 {
            switch c {
            case 0x21...0x2f, 0x3a...0x40, 0x5b...0x60, 0x7b...0x7e: return true
            default: return false
            }
        }
        if c == 0x166d || c == 0x111c9 { return true }
        switch category(c) {
        case UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PD, UTF8PROC_CATEGORY_PS, UTF8PROC_CATEGORY_PE,
            UTF8PROC_CATEGORY_PI, UTF8PROC_CATEGORY_PF, UTF8PROC_CATEGORY_PO:
            return !Exceptions.notPunctuation.contains(c)
        default: return false
        }
    }

    /// `\w` of Rust's regular expressions: letters, marks, numbers that are letters, digits, connectors, joiners.
    static func isWord(_ c: UInt32) -> Bool {
        if c < 0x80 { return c == 0x5f || (0x30...0x39).contains(c) || (0x41...0x5a).contains(c & 0xdf) }
        switch category(c) {
        case UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LT, UTF8PROC_CATEGORY_LM,
            UTF8PROC_CATEGORY_LO, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MC, UTF8PROC_CATEGORY_ME,
            UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_PC:
            return true
        default: break
        }
        switch c {
        case 0x200c, 0x200d, 0x24b6...0x24e9, 0x1f130...0x1f149, 0x1f150...0x1f169, 0x1f170...0x1f189: return true
        default: return false
        }
    }

    /// Numbers of every kind (N).
    static func isNumeric(_ c: UInt32) -> Bool {
        if c < 0x80 { return (0x30...0x39).contains(c) }
        switch category(c) {
        case UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_NO: return true
        default: return false
        }
    }

    /// The ideographs around which BERT puts spaces; Japanese kana and Korean are none.
    static func isIdeograph(_ c: UInt32) -> Bool {
        switch c {
        case 0x4e00...0x9fff, 0x3400...0x4dbf, 0x20000...0x2a6df, 0x2a700...0x2b73f, 0x2b740...0x2b81f,
            0x2b920...0x2ceaf, 0xf900...0xfaff, 0x2f800...0x2fa1f:
            return true
        default: return false
        }
    }

    /// Appends the scalar in lower case.
    static func appendLowercase(_ c: UInt32, to text: inout UTF8Text) {
        if c < 0x80 { return text.append(UInt8(truncatingIfNeeded: (0x41...0x5a).contains(c) ? c + 32 : c)) }
        text.append(scalar: UInt32(bitPattern: utf8proc_tolower(Int32(bitPattern: c))))
        // The one letter that becomes two.
        if c == 0x130 { text.append(scalar: 0x307) }
    }

    private static func category(_ c: UInt32) -> utf8proc_category_t { utf8proc_category(Int32(bitPattern: c)) }
}
