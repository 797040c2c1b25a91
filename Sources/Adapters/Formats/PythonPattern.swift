import Tensor

/// A regular expression of Python's `re`, as PEFT's configs hold them, matched against whole names. Everything that says
/// only whether a name matches is understood: alternatives, groups, classes, repetitions, `^` and `$`. Look-around, back
/// references, flags, and possessive repetition are not. Thompson's construction: the time is linear in pattern and name.
struct PythonPattern {
    /// What one character may be.
    fileprivate struct Characters {
        var ranges: [ClosedRange<UInt32>]
        var isNegated = false

        func contains(_ scalar: Unicode.Scalar) -> Bool {
            ranges.contains { $0.contains(scalar.value) } != isNegated
        }
    }

    fileprivate enum Instruction {
        case one(Characters)
        case split(Int, Int)
        case atStart, atEnd
    }

    private let program: [Instruction]

    /// `nil` for an expression that is not understood, or that is too large to be a name's.
    init?(_ text: String) {
        var parser = PatternParser(text)
        guard let program = parser.parse() else { return nil }
        self.program = program
    }

    /// Whether the whole text matches, as `re.fullmatch` says.
    func matches(_ text: String) -> Bool {
        let text = Array(text.unicodeScalars)
        var current = reached(from: [0], at: 0, of: text.count)
        for (place, scalar) in text.enumerated() {
            var next: [Int] = []
            for state in current where state < program.count {
                if case .one(let characters) = program[state], characters.contains(scalar) { next.append(state + 1) }
            }
            current = reached(from: next, at: place + 1, of: text.count)
            if current.isEmpty { return false }
        }
        return current.contains(program.count)
    }

    /// The states that wait for a character, or the end, after all steps that need none.
    private func reached(from states: [Int], at place: Int, of count: Int) -> [Int] {
        var seen = [Bool](repeating: false, count: program.count + 1)
        var result: [Int] = []
        var open = states
        while let state = open.popLast() {
            if seen[state] { continue }
            seen[state] = true
            guard state < program.count else {
                result.append(state)
                continue
            }
            switch program[state] {
            case .one: result.append(state)
            case .split(let a, let b): open += [b, a]
            case .atStart: if place == 0 { open.append(state + 1) }
            case .atEnd: if place == count { open.append(state + 1) }
            }
        }
        return result
    }
}

/// Reads a pattern into a program whose jumps are relative to its parts, so that parts can be repeated by copying.
private struct PatternParser {
    private typealias Instruction = PythonPattern.Instruction
    private typealias Characters = PythonPattern.Characters

    private let text: [Unicode.Scalar]
    private var place = 0
    private var depth = 0

    private static let sizeLimit = 20_000
    private static let depthLimit = 50

    init(_ text: String) { self.text = Array(text.unicodeScalars) }

    mutating func parse() -> [PythonPattern.Instruction]? {
        guard let program = alternatives(), place == text.count else { return nil }
        return program
    }

    private var next: Unicode.Scalar? { place < text.count ? text[place] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        if next != scalar { return false }
        place += 1
        return true
    }

    private mutating func alternatives() -> [Instruction]? {
        guard var program = sequence() else { return nil }
        while take("|") {
            guard let other = sequence() else { return nil }
            // split(first, other); first; jump over other; other
            program = [.split(1, program.count + 2)] + Self.shifted(program, by: 1)
            let end = program.count + 1 + other.count
            program.append(.split(end, end))
            program += Self.shifted(other, by: program.count)
            if program.count > Self.sizeLimit { return nil }
        }
        return program
    }

    private mutating func sequence() -> [Instruction]? {
        var program: [Instruction] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            guard let item = item(), let repeated = repetition(of: item) else { return nil }
            program += Self.shifted(repeated, by: program.count)
            if program.count > Self.sizeLimit { return nil }
        }
        return program
    }

    private mutating func item() -> [Instruction]? {
        guard let scalar = next else { return nil }
        place += 1
        switch scalar {
        case "(": return group()
        case "[": return characterClass().map { [.one($0)] }
        case ".": return [.one(Characters(ranges: [10...10], isNegated: true))]
        case "^": return [.atStart]
        case "$": return [.atEnd]
        case "\\": return escape().map { [.one($0)] }
        case "*", "+", "?": return nil
        default: return [.one(Characters(ranges: [scalar.value...scalar.value]))]
        }
    }

    private mutating func group() -> [Instruction]? {
        if take("?") {
            if take("P") {
                guard take("<") else { return nil }
                while let scalar = next, scalar != ">" {
                    guard scalar.properties.isAlphabetic || scalar == "_" || ("0"..."9").contains(scalar) else {
                        return nil
                    }
                    place += 1
                }
                guard take(">") else { return nil }
            } else if !take(":") {
                return nil
            }
        }
        depth += 1
        guard depth < Self.depthLimit, let inner = alternatives(), take(")") else { return nil }
        depth -= 1
        return inner
    }

    /// After a backslash.
    private mutating func escape() -> Characters? {
        guard let scalar = next else { return nil }
        place += 1
        let digits: [ClosedRange<UInt32>] = [0x30...0x39]
        let words = digits + [0x41...0x5a, 0x5f...0x5f, 0x61...0x7a]
        let spaces: [ClosedRange<UInt32>] = [0x09...0x0d, 0x20...0x20]
        switch scalar {
        case "d": return Characters(ranges: digits)
        case "D": return Characters(ranges: digits, isNegated: true)
        case "w": return Characters(ranges: words)
        case "W": return Characters(ranges: words, isNegated: true)
        case "s": return Characters(ranges: spaces)
        case "S": return Characters(ranges: spaces, isNegated: true)
        default:
            // \b, \A, back references and the like; and \w beyond ASCII differs from Python's.
            if scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) { return nil }
            return Characters(ranges: [scalar.value...scalar.value])
        }
    }

    private mutating func characterClass() -> Characters? {
        var result = Characters(ranges: [], isNegated: take("^"))
        var isFirst = true
        while let scalar = next {
            if scalar == "]" && !isFirst {
                place += 1
                return result
            }
            isFirst = false
            guard let low = member(), !low.isNegated else { return nil }
            guard next == "-", place + 1 < text.count, text[place + 1] != "]" else {
                result.ranges += low.ranges
                continue
            }
            place += 1
            guard let high = member(), let from = single(low), let to = single(high), from <= to else { return nil }
            result.ranges.append(from...to)
        }
        return nil
    }

    private mutating func member() -> Characters? {
        guard let scalar = next else { return nil }
        place += 1
        return scalar == "\\" ? escape() : Characters(ranges: [scalar.value...scalar.value])
    }

    private func single(_ characters: Characters) -> UInt32? {
        guard characters.ranges.count == 1, let range = characters.ranges.first, range.count == 1 else { return nil }
        return range.lowerBound
    }

    private mutating func repetition(of item: [Instruction]) -> [Instruction]? {
        guard let (least, most) = bounds() else { return item }
        // A lazy repetition matches the same texts, a possessive one does not.
        if !take("?"), next == "+" { return nil }
        if let scalar = next, "*+?".unicodeScalars.contains(scalar) || scalar == "{" && bounds() != nil { return nil }
        guard least <= most ?? least, (most ?? least) < 1000, item.count * max(1, most ?? least + 1) <= Self.sizeLimit
        else {
            return nil
        }
        var program: [Instruction] = []
        for _ in 0..<least { program += Self.shifted(item, by: program.count) }
        if let most {
            for _ in least..<most {
                let end = program.count + 1 + item.count
                program.append(.split(program.count + 1, end))
                program += Self.shifted(item, by: program.count)
            }
        } else {
            // L: split(item, end); item; jump L
            let start = program.count
            program.append(.split(start + 1, start + 2 + item.count))
            program += Self.shifted(item, by: program.count)
            program.append(.split(start, start))
        }
        return program
    }

    /// The numbers of a repetition that stands here, `nil` if none does; no second number is "any".
    private mutating func bounds() -> (least: Int, most: Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        // A brace that is no repetition is a brace.
        let start = place
        guard take("{") else { return nil }
        let least = number()
        let hasComma = take(",")
        let most = hasComma ? number() : least
        guard take("}"), least != nil || hasComma else {
            place = start
            return nil
        }
        return (least ?? 0, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let scalar = next, ("0"..."9").contains(scalar) {
            value = min((value ?? 0) * 10 + Int(scalar.value - 0x30), 1_000_000)
            place += 1
        }
        return value
    }

    private static func shifted(_ program: [Instruction], by offset: Int) -> [Instruction] {
        program.map { instruction in
            if case .split(let a, let b) = instruction { return .split(a + offset, b + offset) }
            return instruction
        }
    }
}
