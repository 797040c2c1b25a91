import Tensor

extension Condition {
    /// The parts of a schema that this condition is one of. Encoded parts without an encoder have the length 0. With
    /// `tokens`, texts and pictures are the states of those instead of vectors.
    public func parts(
        _ encoders: ConditionEncoders = ConditionEncoders(), tokens: TokenFeatures? = nil
    ) throws(LoragenError) -> [Schema.Part] {
        var found: [Schema.Part] = []
        for given in parts {
            let kind = try conditionKinds(given.kind)
            let name = given.name ?? given.kind
            if let other = found.first(where: { $0.name == name }) {
                guard other.kind.name == kind.name, kind.isPooled else {
                    throw LoragenError(.invalidArgument, "the condition has two parts \"\(name)\"")
                }
                guard other.isPooled else {
                    throw LoragenError(
                        .invalidArgument,
                        "\"\(name)\" has several values; token by token, one can be read: give one, or use pooled vectors"
                    )
                }
                continue
            }
            guard kind.isEncoded else {
                let length = try given.value.numbers(kind).count
                guard length > 0 else { throw LoragenError(.mismatch, "\(given.kind): it is empty") }
                found.append(Schema.Part(name: name, kind: kind, length: length))
                continue
            }
            let encoder = encoders[kind.name]
            if let encoder, let tokens, !(0...encoder.layers).contains(tokens.layer) {
                throw LoragenError(
                    .invalidArgument, "layer \(tokens.layer) of an encoder that has the layers 0 to \(encoder.layers)")
            }
            let (length, overflow) = (encoder?.stateWidth ?? 0).multipliedReportingOverflow(by: tokens?.count ?? 1)
            guard !overflow, length <= Schema.widthLimit else {
                throw LoragenError(.invalidArgument, "\(tokens?.count ?? 0) tokens are too many")
            }
            found.append(
                Schema.Part(
                    name: name, kind: kind, length: tokens == nil ? encoder?.width ?? 0 : length,
                    encoder: try encoder.map { (encoder) throws(LoragenError) in try PartEncoder(encoder) },
                    tokens: tokens))
        }
        return found
    }

    /// The numbers of a condition by itself; nil where an encoder has to make them. `place` is where a manifest gives it.
    /// Throws `.format`.
    public func plainNumbers(place: String) throws(LoragenError) -> [Float]? {
        do throws(LoragenError) {
            let parts = try parts()
            return parts.contains { $0.kind.isEncoded } ? nil : try numbers(of: parts)
        } catch { throw LoragenError(.format, "\(place): \(error.message)") }
    }

    /// What has to be encoded, by the names of the kinds.
    public func encoded(_ parts: [Schema.Part]) throws(LoragenError) -> [String: [ConditionValue]] {
        var found: [String: [ConditionValue]] = [:]
        for given in self.parts {
            let part = parts[try Self.place(of: given, parts)]
            if case .numbers = given.value { continue }
            if part.kind.isEncoded { found[part.kind.name, default: []].append(given.value) }
        }
        return found
    }

    /// The numbers of a condition, part after part. `known` are vectors of values that were encoded before.
    public func numbers(
        of parts: [Schema.Part], known: [ConditionValue: [Float]] = [:]
    ) throws(LoragenError) -> [Float] {
        var found = [[[Float]]](repeating: [], count: parts.count)
        for given in self.parts {
            let place = try Self.place(of: given, parts)
            let part = parts[place]
            guard found[place].isEmpty || part.isPooled else {
                throw LoragenError(
                    .invalidArgument, "\"\(part.name)\" is given twice; this generator takes \(Schema.phrase(parts))")
            }
            let numbers: [Float]
            if let vector = known[given.value] { numbers = vector } else { numbers = try given.value.numbers(part) }
            guard numbers.count == part.length else {
                let kind = try conditionKinds(given.kind)
                throw LoragenError(
                    .mismatch, "\(kind.phrase(numbers.count)); this generator takes \(Schema.phrase(parts))")
            }
            found[place].append(numbers)
        }
        if let missing = found.firstIndex(where: \.isEmpty) {
            let name = parts.count > 1 ? "\"\(parts[missing].name)\"" : "condition"
            throw LoragenError(
                .invalidArgument, "the request has no \(name); this generator takes \(Schema.phrase(parts))")
        }
        return found.flatMap(Self.mean)
    }

    private static func mean(_ vectors: [[Float]]) -> [Float] {
        guard vectors.count > 1, let width = vectors.first?.count else { return vectors.first ?? [] }
        var sums = [Double](repeating: 0, count: width)
        for vector in vectors {
            for (i, x) in vector.enumerated() { sums[i] += Double(x) }
        }
        return sums.map { Float($0 / Double(vectors.count)) }
    }

    /// The part that a value is for.
    private static func place(of given: Part, _ parts: [Schema.Part]) throws(LoragenError) -> Int {
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
        throw LoragenError(.mismatch, "this generator takes \(Schema.phrase(parts)), not \(what)")
    }

    /// Whether a value may be given for a part: one of its kind, or the numbers that its kind would make.
    private static func takes(_ given: Part, _ part: Schema.Part) -> Bool {
        if case .numbers = given.value { return true }
        return given.kind == part.kind.name
    }
}

extension ConditionValue {
    /// What it becomes as a value of a part.
    fileprivate func numbers(_ part: Schema.Part) throws(LoragenError) -> [Float] {
        if case .numbers = self { return try numbers(part.kind) }
        guard part.kind.isEncoded else { return try numbers(part.kind) }
        throw LoragenError(
            .invalidArgument,
            "\(part.phrase) is given for \"\(part.name)\", which takes the encoder that the generator was trained with "
                + "(\(part.encoder?.phrase ?? "unknown")): open the generator with its folder (--encoder FOLDER, in C "
                + "loragen_generator_options), or give the \(part.length) numbers of its vector")
    }

    /// Of kinds without an encoder, and of numbers for any.
    fileprivate func numbers(_ kind: any ConditionKind) throws(LoragenError) -> [Float] {
        switch self {
        case .bytes(let bytes): return try kind.numbers(bytes)
        case .file(let path): throw LoragenError(.invalidArgument, "\(path): a file was given for \(kind.name)")
        case .numbers(let given):
            if let i = given.firstIndex(where: { !$0.isFinite }) {
                throw LoragenError(
                    .nonFinite, "element \(i) of the condition is \(given[i]); expected a finite number")
            }
            return given
        }
    }
}
