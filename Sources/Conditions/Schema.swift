import Files
import Tensor

/// Makes features of standardised numbers `[n, width of the schema]`: `[n, width]`.
public protocol FeatureReader: Sendable {
    var width: Int { get }
    func features(_ numbers: Tensor<Float>) -> Tensor<Float>
}

/// Which conditions a generator takes, and how they become features.
public struct Schema: Sendable {
    public struct Part: Sendable {
        public let name: String
        public let kind: any ConditionKind
        /// Numbers that a value becomes, at least 1.
        public let length: Int
        /// Of kinds that need one.
        public internal(set) var encoder: PartEncoder?
        /// Of parts that a reader reads token by token.
        public internal(set) var tokens: TokenFeatures?
        /// Whether it may have several values, whose mean counts.
        public var isPooled: Bool { kind.isPooled && tokens == nil }

        /// What is expected of it, for messages.
        var phrase: String { kind.phrase(length) }
    }

    public private(set) var parts: [Part]
    /// Numbers of all parts, one after the other; 0 without a condition.
    public let width: Int
    /// Of the training tasks, which standardise the numbers, all but those of tokens.
    public let scale: ConditionScale
    /// What makes features of tokens; nil where the standardised numbers are the features.
    public var reader: (any FeatureReader)?

    /// The most numbers of a condition.
    public static let widthLimit = 1 << 24

    public init(_ parts: [Part], _ scale: ConditionScale) throws(LoragenError) {
        (self.parts, self.scale) = (parts, scale)
        width = parts.reduce(0) { $0 + $1.length }
        guard scale.shift.count == width else {
            throw LoragenError(.mismatch, "conditions of \(width) numbers and scales for \(scale.shift.count)")
        }
    }

    /// Parts of numbers that were encoded by them, scaled by those of the training tasks.
    public init(_ parts: [Part], fitting numbers: [[Float]]) throws(LoragenError) {
        var scale = ConditionScale(fitting: numbers)
        var start = 0
        for part in parts {
            if part.tokens != nil { scale = try scale.leaving(start..<(start + part.length)) }
            start += part.length
        }
        try self.init(parts, scale)
    }

    /// Numbers of the features.
    public var featureWidth: Int { reader?.width ?? width }

    /// Whether a request may give more values than there are parts.
    public var isPooled: Bool { parts.contains(where: \.isPooled) }

    /// Takes the encoders of a host for the parts that need them. Throws `.mismatch` for others than those of the training.
    public mutating func take(_ encoders: ConditionEncoders) throws(LoragenError) {
        for i in parts.indices {
            guard let encoder = encoders[parts[i].kind.name] else { continue }
            let name = parts[i].name
            try parts[i].encoder?.take(encoder, for: name)
        }
    }

    /// The numbers of a condition, in the order of the parts. Throws when it is not one of this schema.
    public func numbers(_ condition: Condition) throws(LoragenError) -> [Float] {
        var known: [ConditionValue: [Float]] = [:]
        for (kind, values) in try condition.encoded(parts) {
            // Without an encoder `numbers` says what is missing.
            guard let encoder = parts.first(where: { $0.kind.name == kind })?.encoder?.encoder else { continue }
            let tokens = parts.first { $0.kind.name == kind }?.tokens
            let vectors =
                if let tokens { try encoder.states(values, tokens) } else { try encoder.vectors(values) }
            for (value, vector) in zip(values, vectors) { known[value] = vector }
        }
        return try condition.numbers(of: parts, known: known)
    }

    /// Numbers, standardised and read, `[n, featureWidth]`.
    public func features(_ numbers: [[Float]]) -> Tensor<Float> {
        guard let reader else { return scale(numbers) }
        // Row by row: the same bytes, however many are asked for at once.
        let rows = numbers.map { row in withoutGradients { reader.features(scale([row])) } }
        return rows.isEmpty ? .zeros([0, featureWidth]) : .concatenate(rows, axis: 0)
    }

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

    // MARK: Files

    public var json: JSON {
        .array(
            parts.map { part in
                var object: JSONObject = [
                    "name": .string(part.name), "kind": .string(part.kind.name), "length": JSON(part.length),
                ]
                object["encoder"] = part.encoder?.description
                if let tokens = part.tokens {
                    (object["tokens"], object["layer"]) = (JSON(tokens.count), JSON(tokens.layer))
                }
                return .object(object)
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
            let encoder = item.object?["encoder"].flatMap { PartEncoder($0) }
            guard known.isEncoded == (encoder != nil) else {
                throw wrong(
                    "part \"\(name)\" of its condition is of kind \"\(kind)\": its \"encoder\" is missing or not one")
            }
            var part = Part(name: name, kind: known, length: length, encoder: encoder)
            if let count = item.object?["tokens"]?.integer {
                guard encoder != nil, (1...length).contains(count), length % count == 0,
                    let layer = item.object?["layer"]?.integer, (0...1000).contains(layer)
                else { throw wrong("the \"tokens\" or the \"layer\" of part \"\(name)\" are out of range") }
                part.tokens = TokenFeatures(count: count, layer: layer)
            }
            parts.append(part)
        }
        guard parts.reduce(0, { $0 + $1.length }) <= widthLimit else {
            throw wrong("its conditions have too many numbers")
        }
        return parts
    }
}
