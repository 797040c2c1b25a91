import Files
import Tensor

/// tokenizer.json. What it asks for and is not read is refused by its name: ids that are almost right help nobody.
struct TokenizerFile {
    let path: String
    let root: JSON

    init(path: String) throws(LoragenError) {
        try self.init(try JSON.read(path: path), path: path)
    }

    init(_ root: JSON, path: String) throws(LoragenError) {
        guard root.object != nil else {
            throw LoragenError(.format, "\(path): it holds \(root.kind); expected an object")
        }
        (self.root, self.path) = (root, path)
    }

    func tokenizer() throws(LoragenError) -> Tokenizer {
        guard let model = root["model"] else { throw wrong("model", "is missing") }
        let normalizer = try part("normalizer").map { json throws(LoragenError) in try self.normalizer(json) }
        let preTokenizer = try part("pre_tokenizer").map { json throws(LoragenError) in try self.preTokenizer(json) }
        let (tokenModel, kind, count) = try self.model(model)
        var (raw, normalized, names): ([AddedToken], [AddedToken], [ByteKey: Int32]) = ([], [], [:])
        var (idCount, texts) = (count, [Int32: String]())
        for (index, entry) in (root["added_tokens"]?.array ?? []).enumerated() {
            let (text, token) = try added(entry, "added_tokens[\(index)]")
            idCount = max(idCount, Int(token.id) + 1)
            names[ByteKey(text)] = token.id
            texts[token.id] = text
            if token.isNormalized {
                var token = token
                if let normalizer { token.text = try normalizer(token.text) }
                normalized.append(token)
            } else {
                raw.append(token)
            }
        }
        var result = Tokenizer(
            normalizer: normalizer, preTokenizer: preTokenizer, model: tokenModel,
            rawTokens: try AddedTokens(raw, source: path), normalizedTokens: try AddedTokens(normalized, source: path))
        (result.kind, result.idCount, result.names) = (kind, idCount, names)
        switch tokenModel {
        case .wordPiece(let model): result.unknown = model.unknown
        case .wordLevel(let model): result.unknown = model.unknown
        case .bytePair(let model): result.unknown = model.options.unknown
        case .unigram(let model): result.unknown = model.unknown
        }
        if let processor = part("post_processor") { try post(processor, &result) }
        for id in result.before + result.after { result.idCount = max(result.idCount, Int(id) + 1) }
        if let truncation = part("truncation") {
            result.truncatesLeft = truncation["direction"]?.string == "Left"
            result.fileLimit = truncation["max_length"]?.integer
        }
        if let padding = part("padding"), let id = padding["pad_id"]?.integer { result.padding = Int32(exactly: id) }
        return result
    }

    // MARK: - Small things

    private func part(_ name: String) -> JSON? {
        guard let value = root[name], !value.isNull else { return Optional<JSON>.none }
        return value
    }

    private func wrong(_ place: String, _ what: String) -> LoragenError {
        LoragenError(.format, "\(path): \(place) \(what)")
    }

    private func unknown(_ place: String, _ what: String) -> LoragenError {
        LoragenError(
            .unsupported, "\(path): \(place) asks for \(what), which this library does not read; its ids would differ")
    }

    private func type(_ json: JSON, _ place: String) throws(LoragenError) -> String {
        guard let type = json["type"]?.string else { throw wrong(place, "has no \"type\"") }
        return type
    }

    private func flag(_ json: JSON, _ name: String, _ standard: Bool) -> Bool { json[name]?.bool ?? standard }

    private func text(_ json: JSON, _ name: String, _ place: String) throws(LoragenError) -> String {
        guard let text = json[name]?.string else {
            throw wrong("\(place).\(name)", "is \(json[name]?.kind ?? "missing"); expected a string")
        }
        return text
    }

    private func identifier(_ json: JSON?, _ place: String) throws(LoragenError) -> Int32 {
        guard let value = json?.integer, let id = Int32(exactly: value), id >= 0 else {
            throw wrong(place, "is \(json?.kind ?? "missing"); expected a token's id")
        }
        return id
    }

    private func added(_ entry: JSON, _ place: String) throws(LoragenError) -> (String, AddedToken) {
        let content = try text(entry, "content", place)
        return (
            content,
            AddedToken(
                text: Array(content.utf8), id: try identifier(entry["id"], "\(place).id"),
                singleWord: flag(entry, "single_word", false), takesLeft: flag(entry, "lstrip", false),
                takesRight: flag(entry, "rstrip", false),
                isNormalized: flag(entry, "normalized", !flag(entry, "special", false)))
        )
    }

    /// `{"String": …}` or `{"Regex": …}`.
    private func target(_ json: JSON?, _ place: String) throws(LoragenError) -> Normalizer.Target {
        if let text = json?["String"]?.string ?? json?.string { return .text(Array(text.utf8)) }
        if let pattern = json?["Regex"]?.string { return .pattern(try Pattern(pattern, source: "\(path): \(place)")) }
        throw wrong(place, "is \(json?.kind ?? "missing"); expected a String or a Regex")
    }

    // MARK: - Normalizers

    private func normalizer(_ json: JSON, _ place: String = "normalizer") throws(LoragenError) -> Normalizer {
        let type = try type(json, place)
        switch type {
        case "BertNormalizer":
            return .bert(
                BertNormalizer(
                    cleanText: flag(json, "clean_text", true),
                    separatesIdeographs: flag(json, "handle_chinese_chars", true),
                    stripAccents: json["strip_accents"]?.bool, lowercase: flag(json, "lowercase", true)))
        case "NFC", "NFD", "NFKC", "NFKD": return NormalForm(rawValue: type).map { .form($0) } ?? .sequence([])
        case "Lowercase": return .lowercase
        case "StripAccents": return .stripAccents
        case "Strip": return .strip(left: flag(json, "strip_left", true), right: flag(json, "strip_right", true))
        case "Replace":
            return .replace(
                try target(json["pattern"], "\(place).pattern"), Array(try text(json, "content", place).utf8))
        case "Prepend": return .prepend(Array(try text(json, "prepend", place).utf8))
        case "Precompiled":
            if json["precompiled_charsmap"]?.isNull ?? true { return .sequence([]) }
            return .precompiled(
                try PrecompiledMap(
                    base64: try text(json, "precompiled_charsmap", place), source: "\(path): \(place)"))
        case "ByteLevel": return .byteLevel
        case "Nmt": return .nmt
        case "Sequence":
            var steps: [Normalizer] = []
            for (index, step) in (json["normalizers"]?.array ?? []).enumerated() {
                steps.append(try normalizer(step, "\(place).normalizers[\(index)]"))
            }
            return .sequence(steps)
        default: throw unknown(place, "the normalizer \"\(shortened(type))\"")
        }
    }

    // MARK: - Pre-tokenizers

    private func preTokenizer(_ json: JSON, _ place: String = "pre_tokenizer") throws(LoragenError) -> PreTokenizer {
        let type = try type(json, place)
        switch type {
        case "BertPreTokenizer": return .bert
        case "Whitespace": return .whitespace
        case "WhitespaceSplit": return .whitespaceSplit
        case "ByteLevel":
            let pattern =
                flag(json, "use_regex", true)
                ? try Pattern(PreTokenizer.byteLevelPattern, source: "\(path): \(place)") : nil
            return .byteLevel(addsSpace: flag(json, "add_prefix_space", true), pattern)
        case "Metaspace": return try metaspace(json, place)
        case "Split":
            return .split(
                try target(json["pattern"], "\(place).pattern"), try behavior(json, place),
                inverted: flag(json, "invert", false))
        case "Punctuation": return .punctuation(json["behavior"] == nil ? .isolated : try behavior(json, place))
        case "Digits": return .digits(individual: flag(json, "individual_digits", false))
        case "CharDelimiterSplit":
            return .split(.text(Array(try text(json, "delimiter", place).utf8)), .removed, inverted: false)
        case "Sequence":
            var steps: [PreTokenizer] = []
            for (index, step) in (json["pretokenizers"]?.array ?? []).enumerated() {
                steps.append(try preTokenizer(step, "\(place).pretokenizers[\(index)]"))
            }
            return .sequence(steps)
        default: throw unknown(place, "the pre-tokenizer \"\(shortened(type))\"")
        }
    }

    private func metaspace(_ json: JSON, _ place: String) throws(LoragenError) -> PreTokenizer {
        let mark = try text(json, "replacement", place)
        var prepend = PreTokenizer.Prepend.always
        if let name = json["prepend_scheme"]?.string {
            guard let known = PreTokenizer.Prepend(rawValue: name) else {
                throw unknown("\(place).prepend_scheme", "\"\(shortened(name))\"")
            }
            prepend = known
        } else if json["add_prefix_space"]?.bool == false {
            prepend = .never
        }
        return .metaspace(Array(mark.utf8), prepend, splits: flag(json, "split", true))
    }

    private func behavior(_ json: JSON, _ place: String) throws(LoragenError) -> PreTokenizer.Behavior {
        let name = try text(json, "behavior", place)
        guard let behavior = PreTokenizer.Behavior(rawValue: name) else {
            throw unknown("\(place).behavior", "\"\(shortened(name))\"")
        }
        return behavior
    }

    // MARK: - Models

    private func model(_ json: JSON) throws(LoragenError) -> (TokenModel, kind: String, idCount: Int) {
        // Old files name no type; what they hold tells it.
        let type =
            json["type"]?.string
            ?? (json["merges"] != nil ? "BPE" : json["vocab"]?.array != nil ? "Unigram" : "WordPiece")
        switch type {
        case "WordPiece":
            let (trie, count) = try vocabulary(json)
            let unknown = try known(json["unk_token"]?.string ?? "[UNK]", trie)
            let longest = json["max_input_chars_per_word"]?.integer ?? 100
            let prefix = json["continuing_subword_prefix"]?.string ?? "##"
            return (
                .wordPiece(
                    WordPiece(trie, unknown: unknown, prefix: Array(prefix.utf8), longestWord: max(0, longest))),
                type, count
            )
        case "WordLevel":
            let (trie, count) = try vocabulary(json)
            return (
                .wordLevel(WordLevel(vocabulary: trie, unknown: try known(try text(json, "unk_token", "model"), trie))),
                type, count
            )
        case "BPE": return try bytePair(json)
        case "Unigram": return try unigram(json)
        default: throw unknown("model", "the model \"\(shortened(type))\"")
        }
    }

    private func known(_ token: String, _ trie: Trie) throws(LoragenError) -> Int32 {
        guard let id = trie.id(token.utf8) else {
            throw wrong("model.unk_token", "is \"\(shortened(token))\", which is not in the vocabulary")
        }
        return id
    }

    private func vocabulary(_ json: JSON) throws(LoragenError) -> (Trie, idCount: Int) {
        guard let members = json["vocab"]?.object?.members else {
            throw wrong("model.vocab", "is \(json["vocab"]?.kind ?? "missing"); expected an object of tokens")
        }
        var (tokens, largest) = ([(token: UTF8Text, id: Int32)](), Int32(-1))
        tokens.reserveCapacity(members.count)
        for member in members {
            let id = try identifier(member.value, "model.vocab[\"\(shortened(member.name))\"]")
            tokens.append((UTF8Text(member.name.utf8), id))
            largest = max(largest, id)
        }
        return (try Trie(tokens, source: path), Int(largest) + 1)
    }

    private func bytePair(_ json: JSON) throws(LoragenError) -> (TokenModel, kind: String, idCount: Int) {
        if let dropout = json["dropout"]?.double, dropout != 0 {
            throw unknown("model.dropout", "\(dropout), random ids,")
        }
        let (trie, count) = try vocabulary(json)
        var options = BytePair.Options()
        if let token = json["unk_token"]?.string { options.unknown = try known(token, trie) }
        options.continuingPrefix = Array((json["continuing_subword_prefix"]?.string ?? "").utf8)
        options.endOfWordSuffix = Array((json["end_of_word_suffix"]?.string ?? "").utf8)
        options.fusesUnknown = flag(json, "fuse_unk", false)
        options.ignoresMerges = flag(json, "ignore_merges", false)
        if flag(json, "byte_fallback", false) { options.bytes = byteTokens(of: trie) }
        guard let merges = json["merges"]?.array else { throw wrong("model.merges", "is missing") }
        var pairs: [(UTF8Text, UTF8Text)] = []
        pairs.reserveCapacity(merges.count)
        for (index, merge) in merges.enumerated() {
            if let text = merge.string {
                pairs.append(try mergePair(text, "\(path): model.merges[\(index)]"))
            } else if let two = merge.array, two.count == 2, let left = two[0].string, let right = two[1].string {
                pairs.append((Array(left.utf8), Array(right.utf8)))
            } else {
                throw wrong("model.merges[\(index)]", "is \(merge.kind); expected two tokens")
            }
        }
        return (.bytePair(try BytePair(trie, pairs, options, source: "\(path): model.merges")), "BPE", count)
    }

    private func unigram(_ json: JSON) throws(LoragenError) -> (TokenModel, kind: String, idCount: Int) {
        guard let entries = json["vocab"]?.array else {
            throw wrong("model.vocab", "is \(json["vocab"]?.kind ?? "missing"); expected an array of tokens and scores")
        }
        var (tokens, scores) = ([(token: UTF8Text, id: Int32)](), [Double]())
        for (index, entry) in entries.enumerated() {
            guard let pair = entry.array, pair.count == 2, let token = pair[0].string, let score = pair[1].double,
                score.isFinite
            else { throw wrong("model.vocab[\(index)]", "is \(entry.kind); expected a token and its score") }
            tokens.append((UTF8Text(token.utf8), Int32(clamping: index)))
            scores.append(score)
        }
        let trie = try Trie(tokens, source: path)
        var unknown: Int32?
        if let json = json["unk_id"], !json.isNull {
            let id = try identifier(json, "model.unk_id")
            guard Int(id) < scores.count else { throw wrong("model.unk_id", "is \(id) of \(scores.count) tokens") }
            unknown = id
        }
        let bytes = flag(json, "byte_fallback", false) ? byteTokens(of: trie) : nil
        return (.unigram(Unigram(trie, scores: scores, unknown: unknown, bytes: bytes)), "Unigram", scores.count)
    }

    // MARK: - Post-processors

    private func post(_ json: JSON, _ result: inout Tokenizer, _ place: String = "post_processor") throws(LoragenError)
    {
        let type = try type(json, place)
        switch type {
        case "ByteLevel": break
        case "BertProcessing", "RobertaProcessing":
            func end(_ name: String) throws(LoragenError) -> Int32 {
                try identifier(json[name]?.array?.last, "\(place).\(name)")
            }
            result.before = [try end("cls")] + result.before
            result.after += [try end("sep")]
        case "TemplateProcessing": try template(json, &result, place)
        case "Sequence":
            for (index, step) in (json["processors"]?.array ?? []).enumerated() {
                try post(step, &result, "\(place).processors[\(index)]")
            }
        default: throw unknown(place, "the post-processor \"\(shortened(type))\"")
        }
    }

    private func template(_ json: JSON, _ result: inout Tokenizer, _ place: String) throws(LoragenError) {
        var (before, after, isAfter): ([Int32], [Int32], Bool) = ([], [], false)
        for item in json["single"]?.array ?? [] {
            if item["Sequence"] != nil {
                if isAfter { throw unknown("\(place).single", "the text twice") }
                isAfter = true
                continue
            }
            guard let name = item["SpecialToken"]?["id"]?.string else {
                throw wrong("\(place).single", "has \(item.kind); expected a Sequence or a SpecialToken")
            }
            for id in json["special_tokens"]?[name]?["ids"]?.array ?? [] {
                let id = try identifier(id, "\(place).special_tokens[\"\(shortened(name))\"]")
                if isAfter { after.append(id) } else { before.append(id) }
            }
        }
        guard isAfter else { throw wrong("\(place).single", "has no place for the text") }
        result.before = before + result.before
        result.after += after
    }
}

/// "a b" of a list of merges.
func mergePair(_ line: some StringProtocol, _ place: @autoclosure () -> String) throws(LoragenError) -> (
    UTF8Text, UTF8Text
) {
    let parts = UTF8Text(line.utf8).split(separator: 0x20, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
        throw LoragenError(
            .format, "\(place()) is \"\(shortened(String(line)))\"; expected two tokens with a space between")
    }
    return (UTF8Text(parts[0]), UTF8Text(parts[1]))
}

extension BytePair {
    /// Checks that every merge is of tokens, and gives a token.
    init(_ vocabulary: Trie, _ pairs: [(UTF8Text, UTF8Text)], _ options: Options, source: String) throws(LoragenError) {
        var merges: [UInt64: Merge] = [:]
        try Memory.require(48 * Double(pairs.count), for: "\(source): \(pairs.count) merges")
        merges.reserveCapacity(pairs.count)
        for (rank, pair) in pairs.enumerated() {
            let joined = pair.0 + pair.1.dropFirst(options.continuingPrefix.count)
            guard let left = vocabulary.id(pair.0), let right = vocabulary.id(pair.1), let id = vocabulary.id(joined)
            else {
                let text = String(decoding: pair.0 + [0x20] + pair.1, as: UTF8.self)
                throw LoragenError(
                    .format, "\(source): merge \(rank), \"\(shortened(text))\", has a token that the vocabulary has not"
                )
            }
            merges[Self.pair(left, right)] = Merge(rank: Int32(clamping: rank), id: id)
        }
        (self.vocabulary, self.merges, self.options) = (vocabulary, merges, options)
    }
}
