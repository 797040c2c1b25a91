/// Python's syntax of regular expressions (`re`, 3.11), read and put into PCRE2's. Everything is written anew, each construct
/// in words that mean the same in both; what is Python's alone, or PCRE2's alone, is refused.
struct PythonSyntax {
    struct Failure: Error {
        let reason: String
        /// Of the pattern, from 0.
        let place: Int
        /// Whether Python refuses it too.
        var isPython = true
    }

    /// The alternatives of the outermost level, in PCRE2's syntax.
    private(set) var alternatives: [String] = []
    /// Whether any part ignores case, which is the same in both for ASCII alone.
    private(set) var ignoresCase = false

    private let text: [Unicode.Scalar]
    private var place = 0
    private var depth = 0
    private var names: Set<String> = []

    private static let lengthLimit = 1 << 16
    private static let depthLimit = 100

    /// `str.isalnum` or an underscore, `str.isspace`, `str.isdecimal`; as the inside of a class.
    private static let word = "\\p{L}\\p{N}_"
    private static let space =
        "\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
    private static let digit = "\\p{Nd}"

    /// Text in PCRE2's syntax, and how many characters it takes at least and at most: Python wants one number of them in
    /// a look-behind.
    private struct Piece {
        var text: String
        var width: ClosedRange<Int>
        /// A look-around or an anchor, which may not be repeated here.
        var isAssertion = false

        static let widthLimit = 1 << 20

        func times(_ count: ClosedRange<Int>) -> ClosedRange<Int> {
            func product(_ a: Int, _ b: Int) -> Int {
                let (value, overflow) = a.multipliedReportingOverflow(by: b)
                return overflow ? Self.widthLimit : min(value, Self.widthLimit)
            }
            return product(width.lowerBound, count.lowerBound)...product(width.upperBound, count.upperBound)
        }
    }

    init(_ pattern: String) throws(Failure) {
        text = Array(pattern.unicodeScalars)
        if text.count > Self.lengthLimit {
            throw Failure(
                reason: "it has \(text.count) characters; at most \(Self.lengthLimit) are read", place: 0,
                isPython: false)
        }
        var flags = ""
        while let own = try globalFlags() { flags += own }
        alternatives = try level().map { (flags.isEmpty ? "" : "(?\(flags))") + $0.text }
        if place < text.count { throw wrong("an unmatched ')'") }
        if ignoresCase, let foreign = text.firstIndex(where: { $0.value >= 0x80 }) {
            throw Failure(reason: "case is ignored in ASCII alone", place: foreign, isPython: false)
        }
    }

    private var next: Unicode.Scalar? { place < text.count ? text[place] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        if next != scalar { return false }
        place += 1
        return true
    }

    private func wrong(_ reason: String) -> Failure { Failure(reason: reason, place: min(place, text.count)) }
    private func unread(_ what: String) -> Failure {
        Failure(reason: "\(what) is not read", place: min(place, text.count), isPython: false)
    }

    // MARK: - Levels and groups

    /// The alternatives up to a ')' or the end.
    private mutating func level() throws(Failure) -> [Piece] {
        var result = [try sequence()]
        while take("|") { result.append(try sequence()) }
        return result
    }

    private mutating func sequence() throws(Failure) -> Piece {
        var result = Piece(text: "", width: 0...0)
        while let scalar = next, scalar != "|", scalar != ")" {
            let piece = try repeated(item())
            result.text += piece.text
            result.width =
                min(
                    result.width.lowerBound + piece.width.lowerBound, Piece.widthLimit)...min(
                    result.width.upperBound + piece.width.upperBound, Piece.widthLimit)
        }
        return result
    }

    private mutating func item() throws(Failure) -> Piece {
        guard let scalar = next else { throw wrong("the end") }
        switch scalar {
        case "*", "+", "?": throw wrong("nothing to repeat")
        case "{":
            if try bounds() != nil { throw wrong("nothing to repeat") }
        default: break
        }
        place += 1
        switch scalar {
        case "(": return try group()
        case "[": return try characterClass()
        case "\\": return try escape()
        case ".": return Piece(text: ".", width: 1...1)
        case "^": return Piece(text: "\\A", width: 0...0, isAssertion: true)
        case "$": return Piece(text: "$", width: 0...0, isAssertion: true)
        default: return Piece(text: Self.literal(scalar), width: 1...1)
        }
    }

    /// After a '('. Nothing refers to groups, so none of them captures.
    private mutating func group() throws(Failure) -> Piece {
        let start = place - 1
        depth += 1
        if depth > Self.depthLimit { throw unread("more than \(Self.depthLimit) groups inside each other") }
        defer { depth -= 1 }
        var opening = "(?:"
        var isBehind = false
        if take("?") {
            guard let kind = next else { throw wrong("an unfinished group") }
            place += 1
            switch kind {
            case ":": break
            case ">": opening = "(?>"
            case "=", "!": opening = "(?\(kind)"
            case "<":
                guard let side = next, side == "=" || side == "!" else {
                    throw wrong("Python has no group '(?<' but '(?<=', '(?<!' and '(?P<name>'")
                }
                place += 1
                (opening, isBehind) = ("(?<\(side)", true)
            case "P": try name()
            case "#": throw unread("a comment")
            case "(": throw unread("a condition on a group")
            default:
                place -= 1
                opening = "(?\(try scopedFlags()):"
            }
        }
        let pieces = try level()
        if !take(")") { throw Failure(reason: "the group is not closed", place: start) }
        let low = pieces.map(\.width.lowerBound).min() ?? 0
        let high = pieces.map(\.width.upperBound).max() ?? 0
        let text = opening + pieces.map(\.text).joined(separator: "|") + ")"
        if opening == "(?:" || opening == "(?>" || opening.hasSuffix(":") {
            return Piece(text: text, width: low...high)
        }
        if isBehind, low != high || low >= Piece.widthLimit {
            throw Failure(reason: "a look-behind needs a fixed width", place: start)
        }
        return Piece(text: text, width: 0...0, isAssertion: true)
    }

    /// After "(?P".
    private mutating func name() throws(Failure) {
        if next == "=" { throw unread("a reference to a group") }
        guard take("<") else { throw wrong("Python has no such group; expected '(?P<name>'") }
        var name = ""
        while let scalar = next, scalar != ">" {
            guard scalar == "_" || Self.isLetter(scalar) || !name.isEmpty && Self.isDigit(scalar) else {
                throw scalar.value < 0x80 ? wrong("it is no name of a group") : unread("a name with such a letter")
            }
            name.unicodeScalars.append(scalar)
            place += 1
        }
        guard take(">"), !name.isEmpty else { throw wrong("the group's name is missing or not closed") }
        if !names.insert(name).inserted { throw wrong("the group's name is there twice") }
    }

    /// "(?i)" and the like, of which Python has any number at the start and none elsewhere.
    private mutating func globalFlags() throws(Failure) -> String? {
        guard place + 2 < text.count, text[place] == "(", text[place + 1] == "?", Self.isLetter(text[place + 2]),
            text[place + 2] != "P"
        else { return nil }
        let start = place
        place += 2
        let flags = try letters()
        if take(")") { return flags }
        place = start
        return nil
    }

    /// Up to the ':' of "(?i-s:".
    private mutating func scopedFlags() throws(Failure) -> String {
        let on = try letters()
        if next == ")" { throw wrong("flags for the whole stand at its start") }
        var off = ""
        if take("-") {
            off = try letters()
            if off.isEmpty || off.contains(where: on.contains) { throw wrong("expected flags that are not also set") }
        }
        guard take(":") else { throw wrong("Python has no such group") }
        return off.isEmpty ? on : "\(on)-\(off)"
    }

    private mutating func letters() throws(Failure) -> String {
        var flags = ""
        while let scalar = next, Self.isLetter(scalar) {
            switch scalar {
            case "i":
                ignoresCase = true
                flags += "i"
            case "s": flags += "s"
            // Unicode is the default for text.
            case "u": break
            case "a", "L", "m", "x": throw unread("the flag '\(scalar)'")
            default: throw wrong("Python has no such group or flag")
            }
            place += 1
        }
        return flags
    }

    // MARK: - Repetition

    private mutating func repeated(_ piece: Piece) throws(Failure) -> Piece {
        guard let count = try bounds() else { return piece }
        if piece.isAssertion {
            throw piece.text.hasPrefix("(?") && !piece.text.hasPrefix("(?:")
                ? unread("a repeated look-around") : wrong("nothing to repeat")
        }
        for number in [count.least, count.most ?? 0] where number > 65_535 {
            throw unread("a repetition of \(number)")
        }
        if let most = count.most, most < count.least { throw wrong("the least repetition is above the most") }
        var text = piece.text + "{\(count.least),\(count.most.map { "\($0)" } ?? "")}"
        if take("?") { text += "?" } else if take("+") { text += "+" }
        if let scalar = next {
            let start = place
            if "*+?".unicodeScalars.contains(scalar) { throw wrong("a repetition of a repetition") }
            if try bounds() != nil {
                place = start
                throw wrong("a repetition of a repetition")
            }
        }
        return Piece(text: text, width: piece.times(count.least...(count.most ?? Piece.widthLimit)))
    }

    /// The numbers of a repetition that stands here, `nil` if none does; no second number is "any".
    private mutating func bounds() throws(Failure) -> (least: Int, most: Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        // A brace that is no repetition is a brace.
        let start = place
        guard take("{"), next != "}" else {
            place = start
            return nil
        }
        let least = number()
        let most = take(",") ? number() : least
        guard take("}") else {
            place = start
            return nil
        }
        return (least ?? 0, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let scalar = next, Self.isDigit(scalar) {
            value = min((value ?? 0) * 10 + Int(scalar.value - 0x30), 1_000_000)
            place += 1
        }
        return value
    }

    // MARK: - Characters

    /// After a backslash that stands outside a class.
    private mutating func escape() throws(Failure) -> Piece {
        guard let scalar = next else { throw wrong("a backslash at the end") }
        let inWord = "[\(Self.word)]"
        func boundary(_ a: String, _ b: String) -> String {
            "(?:(?<=\(inWord))(?\(a)\(inWord))|(?<!\(inWord))(?\(b)\(inWord)))"
        }
        let anchors: [Unicode.Scalar: String] = [
            "A": "\\A", "Z": "\\z", "b": boundary("!", "="),
            // Python finds none in an empty text.
            "B": "(?:(?!\\A\\z)\(boundary("=", "!")))",
        ]
        if let anchor = anchors[scalar] {
            place += 1
            return Piece(text: anchor, width: 0...0, isAssertion: true)
        }
        if let set = Self.sets[scalar] {
            place += 1
            return Piece(text: "[\(set.isNegated ? "^" : "")\(set.inside)]", width: 1...1)
        }
        return Piece(text: Self.literal(try escapedLiteral()), width: 1...1)
    }

    private static let sets: [Unicode.Scalar: (inside: String, isNegated: Bool)] = [
        "d": (digit, false), "D": (digit, true), "w": (word, false), "W": (word, true), "s": (space, false),
        "S": (space, true),
    ]

    /// After a backslash, of what is one character outside a class and inside.
    private mutating func escapedLiteral() throws(Failure) -> Unicode.Scalar {
        guard let scalar = next else { throw wrong("a backslash at the end") }
        let controls: [Unicode.Scalar: Unicode.Scalar] = [
            "a": "\u{7}", "f": "\u{c}", "n": "\n", "r": "\r", "t": "\t", "v": "\u{b}",
        ]
        if let control = controls[scalar] {
            place += 1
            return control
        }
        if Self.isDigit(scalar) { throw unread("a reference to a group, or an octal number,") }
        if scalar == "N" { throw unread("a character by its name") }
        let lengths: [Unicode.Scalar: Int] = ["x": 2, "u": 4, "U": 8]
        if let length = lengths[scalar] {
            let digits = text[(place + 1)...].prefix(length)
            let hex = String(String.UnicodeScalarView(digits))
            guard digits.count == length, digits.allSatisfy({ $0.properties.isASCIIHexDigit }),
                let value = UInt32(hex, radix: 16)
            else { throw wrong("expected \(length) hexadecimal digits") }
            guard let result = Unicode.Scalar(value) else { throw unread("such a character") }
            place += 1 + length
            // Counted with the letters for which ignoring case differs.
            if result.value >= 0x80, ignoresCase { throw unread("a letter beyond ASCII where case is ignored") }
            return result
        }
        if Self.isLetter(scalar) { throw wrong("Python has no escape '\\\(scalar)'") }
        place += 1
        return scalar
    }

    /// After a '['. Sets that stand for "all but these" become alternatives beside the class, for PCRE2 has no such part.
    private mutating func characterClass() throws(Failure) -> Piece {
        let start = place - 1
        let isNegated = take("^")
        var inside = ""
        var others: [String] = []
        var isFirst = true
        while let scalar = next {
            if scalar == "]" && !isFirst {
                place += 1
                return Piece(text: Self.joined(inside, others, isNegated), width: 1...1)
            }
            isFirst = false
            let low = try member()
            let isRange = next == "-" && place + 1 < text.count && text[place + 1] != "]"
            if case .set(let set) = low {
                if isRange { throw wrong("a range from a set of characters") }
                if set.isNegated { others.append("[^\(set.inside)]") } else { inside += set.inside }
            } else if case .one(let from) = low {
                inside += Self.literal(from)
                if !isRange { continue }
                place += 1
                guard case .one(let to) = try member() else { throw wrong("a range to a set of characters") }
                if to < from { throw wrong("a range that ends before it begins") }
                inside += "-" + Self.literal(to)
            }
        }
        throw Failure(reason: "the class of characters is not closed", place: start)
    }

    private static func joined(_ inside: String, _ others: [String], _ isNegated: Bool) -> String {
        if others.isEmpty { return "[\(isNegated ? "^" : "")\(inside)]" }
        let all = ((inside.isEmpty ? [] : ["[\(inside)]"]) + others).joined(separator: "|")
        return isNegated ? "(?:(?!\(all))(?s:.))" : "(?:\(all))"
    }

    private enum Member {
        case one(Unicode.Scalar)
        case set((inside: String, isNegated: Bool))
    }

    private mutating func member() throws(Failure) -> Member {
        guard let scalar = next else { throw wrong("the class of characters is not closed") }
        place += 1
        guard scalar == "\\" else { return .one(scalar) }
        if let letter = next, let set = Self.sets[letter] {
            place += 1
            return .set(set)
        }
        if take("b") { return .one("\u{8}") }
        return .one(try escapedLiteral())
    }

    /// A character that stands for itself, inside a class too.
    private static func literal(_ scalar: Unicode.Scalar) -> String {
        if scalar == "_" || isLetter(scalar) || isDigit(scalar) { return String(scalar) }
        return "\\x{\(String(scalar.value, radix: 16))}"
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
    }

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
}
