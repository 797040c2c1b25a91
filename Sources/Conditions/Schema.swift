import Files
import Tensor

/// Which conditions a generator takes, and how they become features.
public struct Schema: Sendable {
    public struct Part: Sendable {
        public let name: String
        public let kind: any ConditionKind
        /// Numbers that a value becomes, at least 1.
        public let length: Int

        /// What is expected of it, for messages.
        var phrase: String { kind.phrase(length) }
    }

    public let parts: [Part]
    /// Numbers of all parts, one after the other; 0 without a condition.
    public let width: Int
    /// Of the training tasks, which standardise the numbers.
    public let scale: ConditionScale

    /// The most numbers of a condition.
    public static let widthLimit = 1 << 24

    public init(_ parts: [Part], _ scale: ConditionScale) throws(LoragenError) {
        (self.parts, self.scale) = (parts, scale)
        width = parts.reduce(0) { $0 + $1.length }
        guard scale.shift.count == width else {
            throw LoragenError(.mismatch, "conditions of \(width) numbers and scales for \(scale.shift.count)")
        }
    }

    /// The parts of a condition; unnamed ones get the name of their kind.
    public static func parts(of condition: Condition) throws(LoragenError) -> [Part] {
        var parts: [Part] = []
        for given in condition.parts {
            let kind = try conditionKinds(given.kind)
            let part = Part(
                name: given.name ?? given.kind, kind: kind, length: try numbers(given.value, kind).count)
            guard part.length > 0 else { throw LoragenError(.mismatch, "\(given.kind): it is empty") }
            guard !parts.contains(where: { $0.name == part.name }) else {
                throw LoragenError(.invalidArgument, "the condition has two parts \"\(part.name)\"")
            }
            parts.append(part)
        }
        return parts
    }

    /// The numbers of a condition by itself; `place` is where a manifest gives it. Throws `.format`.
    public static func plainNumbers(_ condition: Condition, place: String) throws(LoragenError) -> [Float] {
        do throws(LoragenError) { return try numbers(condition, parts(of: condition)) } catch {
            throw LoragenError(.format, "\(place): \(error.message)")
        }
    }

    /// What a corpus' first condition is of, scaled by those of its training tasks, which have the same parts.
    public init(fitting conditions: [Condition]) throws(LoragenError) {
        let parts = try Self.parts(of: conditions.first ?? Condition())
        var rows: [[Float]] = []
        for condition in conditions { rows.append(try Self.numbers(condition, parts)) }
        try self.init(parts, ConditionScale(fitting: rows))
    }

    /// The numbers of a condition, in the order of the parts. Throws when it is not one of this schema.
    public func numbers(_ condition: Condition) throws(LoragenError) -> [Float] {
        try Self.numbers(condition, parts)
    }

    /// Numbers, standardised, `[n, width]`.
    public func features(_ numbers: [[Float]]) -> Tensor<Float> { scale(numbers) }

    /// "5 bits", "5 bits for "style" and a vector of 3 numbers for "subject"", "no condition".
    public var phrase: String { Self.phrase(parts) }

    public static func phrase(_ parts: [Part]) -> String {
        if parts.isEmpty { return "no condition" }
        // A part that the manifest did not name has the name of its kind.
        return parts.map { $0.name == $0.kind.name ? $0.phrase : "\($0.phrase) for \"\($0.name)\"" }
            .joined(separator: " and ")
    }

    /// `LORAGEN_CONDITION_...`.
    public var code: Int32 { parts.count < 2 ? parts.first?.kind.code ?? 0 : conditionOfParts }

    /// The part that a number is of, for messages: ` of "style"`; empty where there is one only.
    public func place(of number: Int) -> String {
        var start = 0
        for part in parts where parts.count > 1 {
            if number < start + part.length { return " of \"\(part.name)\"" }
            start += part.length
        }
        return ""
    }

    // MARK: Checks

    private static func numbers(_ condition: Condition, _ parts: [Part]) throws(LoragenError) -> [Float] {
        var found = [[Float]?](repeating: nil, count: parts.count)
        for given in condition.parts {
            let place = try place(of: given, parts)
            guard found[place] == nil else {
                throw LoragenError(
                    .invalidArgument, "\"\(parts[place].name)\" is given twice; this generator takes \(phrase(parts))")
            }
            found[place] = try numbers(given.value, parts[place].kind)
            guard let count = found[place]?.count, count == parts[place].length else {
                let kind = try conditionKinds(given.kind)
                throw LoragenError(
                    .mismatch, "\(kind.phrase(found[place]?.count ?? 0)); this generator takes \(phrase(parts))")
            }
        }
        if let missing = found.firstIndex(where: { $0 == nil }) {
            let name = parts.count > 1 ? "\"\(parts[missing].name)\"" : "condition"
            throw LoragenError(.invalidArgument, "the request has no \(name); this generator takes \(phrase(parts))")
        }
        return found.flatMap { $0 ?? [] }
    }

    private static func place(of given: Condition.Part, _ parts: [Part]) throws(LoragenError) -> Int {
        let kind = try conditionKinds(given.kind)
        let fitting = parts.indices.filter { i in
            (given.name == nil || parts[i].name == given.name) && takes(given, parts[i])
        }
        let own = fitting.filter { parts[$0].kind.name == kind.name }
        if fitting.count == 1 { return fitting[0] }
        if own.count == 1 { return own[0] }
        if !fitting.isEmpty {
            let names = fitting.map { "\"\(parts[$0].name)\"" }.joined(separator: ", ")
            throw LoragenError(
                .invalidArgument, "a part of the condition has no name, and could be any of \(names); give its name")
        }
        let what = given.name.map { "a part \"\($0)\" of \(kind.name)" } ?? kind.name
        throw LoragenError(.mismatch, "this generator takes \(phrase(parts)), not \(what)")
    }

    /// Whether a value may be given for a part: one of its kind, or the numbers that its kind would make.
    private static func takes(_ given: Condition.Part, _ part: Part) -> Bool {
        if case .numbers = given.value { return true }
        return given.kind == part.kind.name
    }

    private static func numbers(
        _ value: ConditionValue, _ kind: any ConditionKind
    ) throws(LoragenError) -> [Float] {
        let numbers: [Float]
        switch value {
        case .bytes(let bytes): return try kind.numbers(bytes)
        case .numbers(let given): numbers = given
        }
        if let i = numbers.firstIndex(where: { !$0.isFinite }) {
            throw LoragenError(
                .nonFinite, "element \(i) of the condition is \(numbers[i]); expected a finite number")
        }
        return numbers
    }

    // MARK: Files

    public var json: JSON {
        .array(
            parts.map {
                .object(["name": .string($0.name), "kind": .string($0.kind.name), "length": JSON($0.length)])
            })
    }

    /// Parts as a file says them; `source` names it. Throws `.format`, and `.version` for kinds that are not known.
    public static func parts(_ json: JSON, source: String) throws(LoragenError) -> [Part] {
        func wrong(_ what: String) -> LoragenError { LoragenError(.format, "\(source): \(what)") }
        guard let list = json.array, list.count <= 1024 else {
            throw wrong("the \"schema\" of its conditions is no list of parts")
        }
        var parts: [Part] = []
        for (i, item) in list.enumerated() {
            guard let name = item.object?["name"]?.string, let kind = item.object?["kind"]?.string,
                let length = item.object?["length"]?.integer, (1...widthLimit).contains(length),
                !parts.contains(where: { $0.name == name })
            else {
                throw wrong(
                    "part \(i) of its condition: its name, kind or length is missing, twice there or out of range")
            }
            guard let known = conditionKinds.find(kind) else {
                throw LoragenError(
                    .version,
                    "\(source): part \"\(name)\" of its condition is \"\(kind)\", a kind that this library "
                        + "does not know; a newer one may")
            }
            parts.append(Part(name: name, kind: known, length: length))
        }
        guard parts.reduce(0, { $0 + $1.length }) <= widthLimit else {
            throw wrong("its conditions have too many numbers")
        }
        return parts
    }
}
