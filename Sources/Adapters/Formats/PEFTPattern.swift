import Tensor

/// A key of PEFT's `rank_pattern` or `alpha_pattern`. PEFT (0.21.2) matches `re.match(r"(.*\.)?(KEY)$", module)` and takes
/// the first key that matches; here the keys that are names or suffixes are understood, which is what PEFT's users
/// and PEFT itself write, and any other regular expression is refused rather than guessed.
struct PEFTPattern {
    /// A character of the key; `nil` is the regular expression's '.', which stands for any.
    private let characters: [Unicode.Scalar?]
    private enum Start { case anywhere, afterDot, atStart }
    private let start: Start

    /// `nil` when the key is a regular expression beyond `^`, `.*` or `.+` at the start, `$` at the end, '.' and
    /// escaped punctuation.
    init?(_ key: String) {
        var rest = Substring(key)
        if rest.hasPrefix("^") {
            rest.removeFirst()
            start = .atStart
        } else if rest.hasPrefix(".*") {
            rest.removeFirst(2)
            start = .anywhere
        } else {
            start = .afterDot
        }
        if rest.hasSuffix("$"), !rest.hasSuffix("\\$") { rest.removeLast() }
        var characters: [Unicode.Scalar?] = []
        var isEscaped = false
        for scalar in rest.unicodeScalars {
            if isEscaped {
                // \d, \w, \b and the like mean something else than the letter.
                if scalar.properties.isAlphabetic || scalar.value >= 0x30 && scalar.value <= 0x39 { return nil }
                characters.append(scalar)
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else if scalar == "." {
                characters.append(nil)
            } else if "^$*+?{}[]()|".unicodeScalars.contains(scalar) {
                return nil
            } else {
                characters.append(scalar)
            }
        }
        if isEscaped || characters.isEmpty { return nil }
        self.characters = characters
    }

    func matches(_ module: String) -> Bool {
        let name = Array(module.unicodeScalars)
        let offset = name.count - characters.count
        if offset < 0 { return false }
        for (i, expected) in characters.enumerated() where expected != nil && expected != name[offset + i] {
            return false
        }
        switch start {
        case .anywhere: return true
        case .afterDot: return offset == 0 || name[offset - 1] == "."
        case .atStart: return offset == 0
        }
    }
}

/// `rank_pattern` or `alpha_pattern`: the first key that matches a module wins.
struct PEFTPatterns {
    private let patterns: [(PEFTPattern, Double)]

    init(_ json: JSON?, field: String, source: String) throws(LoragenError) {
        var patterns: [(PEFTPattern, Double)] = []
        if let json, !json.isNull {
            guard let object = json.object else {
                throw LoragenError(.format, "\(source): '\(field)' is \(json.kind); expected an object")
            }
            for member in object.members {
                guard let value = member.value.double else {
                    throw LoragenError(
                        .format,
                        "\(source): '\(field)' gives '\(shortened(member.name))' \(member.value.kind); expected a number"
                    )
                }
                guard let pattern = PEFTPattern(member.name) else {
                    throw LoragenError(
                        .unsupported,
                        "\(source): the key '\(shortened(member.name))' of '\(field)' is a regular expression that this "
                            + "library does not read; write module names or their endings there")
                }
                patterns.append((pattern, value))
            }
        }
        self.patterns = patterns
    }

    func value(for module: String) -> Double? { patterns.first { $0.0.matches(module) }?.1 }
}
