import Conditions
import Files
import Tensor

/// What the adapters of a corpus are asked for by, as numbers.
public struct CorpusConditions: Sendable {
    public let parts: [Schema.Part]
    /// For each entry the numbers of each way to ask for it, of which training draws one a step; held-out adapters are asked
    /// for in the first.
    public let ways: [[[Float]]]

    /// The fields of a manifest that can be chosen: "conditions" is also "bits" and "condition".
    public static let fields = ["conditions", "text", "images", "none"]

    /// - Parameters:
    ///   - field: one of `fields`; nil for "conditions" where the manifest has it, else texts and pictures.
    ///   - tokens: texts and pictures token by token, for a reader, instead of as one vector.
    ///   - progress: is told how much has been encoded.
    /// Throws `.invalidArgument` when an encoder is missing, `.mismatch` for a manifest that does not have the field in all
    /// of its lines.
    public init(
        _ corpus: Corpus, field: String? = nil, encoders: ConditionEncoders = ConditionEncoders(),
        tokens: TokenFeatures? = nil, progress: ProgressHandler? = nil
    ) throws(LoragenError) {
        let asked = try Self.asked(corpus, field, encoders)
        guard let first = asked.lazy.compactMap(\.first).first else {
            (parts, ways) = ([], corpus.entries.map { _ in [[]] })
            return
        }
        let parts = try first.parts(encoders, tokens: tokens)
        if let part = parts.first(where: { $0.kind.isEncoded && $0.encoder == nil }) {
            throw Self.missing(part.kind, corpus)
        }
        let known = try Self.encode(asked.joined(), parts, corpus, progress)
        var ways: [[[Float]]] = []
        for (entry, asked) in zip(corpus.entries, asked) {
            do throws(LoragenError) {
                var rows: [[Float]] = []
                for way in asked { rows.append(try way.numbers(of: parts, known: known)) }
                ways.append(rows)
            } catch { throw LoragenError(error.code, "\(corpus.path)/\(entry.path): \(error.message)") }
        }
        (self.parts, self.ways) = (parts, ways)
    }

    /// The ways of each entry; all empty without conditions.
    private static func asked(
        _ corpus: Corpus, _ field: String?, _ encoders: ConditionEncoders
    ) throws(LoragenError) -> [[Condition]] {
        if let field, !fields.contains(field) {
            throw LoragenError(
                .invalidArgument,
                "condition is \"\(field)\"; expected one of \(fields.map { "\"\($0)\"" }.joined(separator: ", "))")
        }
        guard let first = corpus.entries.first, field != "none" else { return corpus.entries.map { _ in [] } }
        if field == "conditions" || (field == nil && !first.ways.isEmpty) {
            return try ways(corpus, "conditions") { $0.ways }
        }
        // Where nobody chose, what there are encoders for.
        let hasBoth = !first.texts.isEmpty && !first.images.isEmpty
        let usesText = field == "text" || (field == nil && !first.texts.isEmpty)
        let usesImages = field == "images" || (field == nil && !first.images.isEmpty)
        let texts = usesText && (encoders[TextKind.name] != nil || !hasBoth || field == "text")
        let images = usesImages && (encoders[ImagesKind.name] != nil || (!hasBoth && !texts) || field == "images")
        guard texts || images else {
            if hasBoth { throw missing(TextKind(), corpus) }
            return corpus.entries.map { _ in [] }
        }
        return try ways(corpus, texts ? "text" : "images") { entry in
            let pictures = entry.images.map { Condition.Part(kind: ImagesKind.name, .file($0)) }
            if images, pictures.isEmpty { return [] }
            if !texts { return [Condition(pictures)] }
            return entry.texts.map { text in
                Condition([Condition.Part(kind: TextKind.name, .text(text))] + (images ? pictures : []))
            }
        }
    }

    private static func ways(
        _ corpus: Corpus, _ field: String, _ of: (CorpusEntry) -> [Condition]
    ) throws(LoragenError) -> [[Condition]] {
        var all: [[Condition]] = []
        for entry in corpus.entries {
            let found = of(entry)
            guard !found.isEmpty else {
                throw LoragenError(
                    .mismatch,
                    "\(corpus.path)/\(entry.path): its line has no \"\(field)\", which the generator is to be asked by; add "
                        + "it, or choose another field of the manifest (--condition)")
            }
            all.append(found.map { resolved($0, corpus) })
        }
        return all
    }

    /// Files by their paths from here.
    private static func resolved(_ condition: Condition, _ corpus: Corpus) -> Condition {
        Condition(
            condition.parts.map { part in
                guard case .file(let path) = part.value else { return part }
                return Condition.Part(part.name, kind: part.kind, .file(joinPath(corpus.path, path)))
            })
    }

    private static func missing(_ kind: any ConditionKind, _ corpus: Corpus) -> LoragenError {
        let what = kind.name == TextKind.name ? "in words" : "by pictures"
        let model =
            kind.name == TextKind.name ? "a sentence encoder such as all-MiniLM-L6-v2" : "CLIP, DINOv2 or SigLIP"
        return LoragenError(
            .invalidArgument,
            "\(corpus.path) says its tasks \(what), and no encoder of them was given: --encoder FOLDER (\(model), as "
                + "Hugging Face has it; in C the options' encoders), or --condition none for a generator that takes no "
                + "condition")
    }

    /// The vectors of all that an encoder has to read, each once; what is known from the last time is not read again.
    private static func encode(
        _ conditions: some Sequence<Condition>, _ parts: [Schema.Part], _ corpus: Corpus, _ progress: ProgressHandler?
    ) throws(LoragenError) -> [ConditionValue: [Float]] {
        var values: [String: [ConditionValue]] = [:]
        var seen: Set<ConditionValue> = []
        for condition in conditions {
            for (kind, given) in try condition.encoded(parts) {
                values[kind, default: []] += given.filter { seen.insert($0).inserted }
            }
        }
        var known: [ConditionValue: [Float]] = [:]
        var reporter = ProgressReporter(progress)
        for (kind, values) in values.sorted(by: { $0.key < $1.key }) {
            guard let part = parts.first(where: { $0.kind.name == kind }), let encoder = part.encoder,
                let reader = encoder.encoder
            else { continue }
            // States are many, and quickly made again.
            var cache = part.tokens == nil ? FeatureCache(beside: corpus.path, encoder) : FeatureCache()
            let keys = try values.map { (value) throws(LoragenError) in try FeatureCache.key(value) }
            let fresh = values.indices.filter { cache[keys[$0]] == nil }
            let start = ProgressReporter.now
            for first in stride(from: 0, to: fresh.count, by: 256) {
                let chunk = fresh[first..<min(first + 256, fresh.count)]
                let given = chunk.map { values[$0] }
                let made =
                    if let tokens = part.tokens { try reader.states(given, tokens) } else { try reader.vectors(given) }
                for (i, vector) in zip(chunk, made) { cache[keys[i]] = vector }
                let rate = Double(chunk.endIndex) / max(1e-9, ProgressReporter.now - start)
                let isCancelled = reporter.report {
                    Progress(
                        stage: "encoding", step: chunk.endIndex, steps: fresh.count, stepsPerSecond: rate)
                }
                if isCancelled { throw LoragenError(.cancelled, "training was cancelled") }
            }
            if !fresh.isEmpty { cache.write() }
            for (value, key) in zip(values, keys) { known[value] = cache[key] }
        }
        return known
    }
}
