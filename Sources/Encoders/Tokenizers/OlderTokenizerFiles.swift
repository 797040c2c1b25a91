import Files
import Tensor

extension Tokenizer {
    /// The tokenizer of a folder: tokenizer.json, or the files from before it: vocab.txt, vocab.json with merges.txt, or a
    /// SentencePiece model.
    public static func open(folder: String) throws(LoragenError) -> Tokenizer {
        let files = FolderFiles(folder)
        var tokenizer = try read(files)
        var hasher = SHA256()
        for name in fileNames where files.has(name) {
            // Where there is a tokenizer.json, nothing else is asked.
            let file = try MappedFile(path: files.path(name))
            hasher.update("\(name) \(file.size)\n")
            withExtendedLifetime(file) { hasher.update(file.bytes) }
            if name == "tokenizer.json" { break }
        }
        tokenizer.digest = hasher.finish()
        return tokenizer
    }

    private static let fileNames = [
        "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
        "sentencepiece.bpe.model", "tokenizer.model",
    ]

    static func isIn(_ folder: String) -> Bool {
        let files = FolderFiles(folder)
        return fileNames.contains { $0 != "tokenizer_config.json" && files.has($0) }
    }

    private static func read(_ files: FolderFiles) throws(LoragenError) -> Tokenizer {
        if files.has("tokenizer.json") { return try TokenizerFile(path: files.path("tokenizer.json")).tokenizer() }
        let config = try files.json("tokenizer_config.json") ?? .object(JSONObject())
        if files.has("vocab.txt") { return try OlderTokenizerFiles(files, config).wordPiece() }
        if files.has("vocab.json"), files.has("merges.txt") {
            return try OlderTokenizerFiles(files, config).bytePair()
        }
        for name in ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"] where files.has(name) {
            return try OlderTokenizerFiles(files, config).sentencePiece(name)
        }
        throw LoragenError(
            .io,
            "\(files.folder): there is no tokenizer in it; expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt, "
                + "or spiece.model. Save the model with its tokenizer into one folder")
    }
}

/// Builds what tokenizer.json would hold of the files that came before it, as `transformers` converts them.
private struct OlderTokenizerFiles {
    let files: FolderFiles
    let config: JSON

    init(_ files: FolderFiles, _ config: JSON) { (self.files, self.config) = (files, config) }

    private func special(_ name: String, _ standard: String) -> String {
        config[name]?.string ?? config[name]?["content"]?.string ?? standard
    }

    private func token(_ text: String, _ id: Int, leftSpace: Bool = false) -> JSON {
        [
            "id": JSON(id), "content": .string(text), "single_word": false, "lstrip": .bool(leftSpace), "rstrip": false,
            "normalized": false, "special": true,
        ]
    }

    private func template(before: [(String, Int)], after: [(String, Int)]) -> JSON {
        func item(_ name: String) -> JSON { ["SpecialToken": ["id": .string(name), "type_id": 0]] }
        var ids = JSONObject()
        for (name, id) in before + after { ids[name] = ["id": .string(name), "ids": JSON([id])] }
        let text: JSON = ["Sequence": ["id": "A", "type_id": 0]]
        return [
            "type": "TemplateProcessing", "special_tokens": .object(ids),
            "single": .array(before.map { item($0.0) } + [text] + after.map { item($0.0) }),
        ]
    }

    private func make(_ root: JSON, _ name: String) throws(LoragenError) -> Tokenizer {
        try TokenizerFile(root, path: files.path(name)).tokenizer()
    }

    // MARK: - vocab.txt

    func wordPiece() throws(LoragenError) -> Tokenizer {
        let path = files.path("vocab.txt")
        var (vocabulary, ids) = (JSONObject(), [ByteKey: Int]())
        for (id, line) in try lines(path).enumerated() {
            guard let text = String(validating: line, as: UTF8.self) else {
                throw LoragenError(.format, "\(path): line \(id + 1) is not UTF-8")
            }
            vocabulary[text] = JSON(id)
            ids[ByteKey(text)] = id
        }
        func id(_ token: String) throws(LoragenError) -> Int {
            guard let id = ids[ByteKey(token)] else {
                throw LoragenError(.format, "\(path): the token \"\(shortened(token))\" is missing")
            }
            return id
        }
        let (cls, sep) = (special("cls_token", "[CLS]"), special("sep_token", "[SEP]"))
        let unknown = special("unk_token", "[UNK]")
        var added: [JSON] = []
        for name in [special("pad_token", "[PAD]"), unknown, cls, sep, special("mask_token", "[MASK]")] {
            if let id = ids[ByteKey(name)] { added.append(token(name, id)) }
        }
        let root: JSON = [
            "added_tokens": .array(added),
            "normalizer": [
                "type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": .bool(config["tokenize_chinese_chars"]?.bool ?? true),
                "strip_accents": config["strip_accents"] ?? .null,
                "lowercase": .bool(config["do_lower_case"]?.bool ?? true),
            ],
            "pre_tokenizer": ["type": "BertPreTokenizer"],
            "post_processor": template(before: [(cls, try id(cls))], after: [(sep, try id(sep))]),
            "model": ["type": "WordPiece", "unk_token": .string(unknown), "vocab": .object(vocabulary)],
        ]
        return try make(root, "vocab.txt")
    }

    private func lines(_ path: String) throws(LoragenError) -> [ArraySlice<UInt8>] {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        try Memory.require(64 * Double(file.size), for: path)
        var lines = Array(file.bytes).split(separator: 0x0a, omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines.map { $0.last == 0x0d ? $0.dropLast() : $0 }
    }

    // MARK: - vocab.json and merges.txt

    /// CLIP's where the folder says so, RoBERTa's otherwise.
    func bytePair() throws(LoragenError) -> Tokenizer {
        let vocabulary = try JSON.read(path: files.path("vocab.json"))
        var merges: [JSON] = []
        for line in try lines(files.path("merges.txt")) {
            if line.isEmpty || merges.isEmpty && line.starts(with: Array("#version".utf8)) { continue }
            guard let text = String(validating: line, as: UTF8.self) else {
                throw LoragenError(.format, "\(files.path("merges.txt")): merge \(merges.count) is not UTF-8")
            }
            merges.append(.string(text))
        }
        let name = config["tokenizer_class"]?.string ?? ""
        let type = try files.json("config.json")?["model_type"]?.string ?? ""
        let isCLIP = name.hasPrefix("CLIP") || name.isEmpty && type.hasPrefix("clip")
        let first = special("bos_token", isCLIP ? "<|startoftext|>" : "<s>")
        let last = special("eos_token", isCLIP ? "<|endoftext|>" : "</s>")
        func id(_ token: String) throws(LoragenError) -> Int {
            guard let id = vocabulary[token]?.integer else {
                throw LoragenError(
                    .format, "\(files.path("vocab.json")): the token \"\(shortened(token))\" is missing")
            }
            return id
        }
        let (firstID, lastID) = (try id(first), try id(last))
        var added = [token(first, firstID), token(last, lastID)]
        if !isCLIP {
            for name in [special("pad_token", "<pad>"), special("unk_token", "<unk>")] {
                if let id = vocabulary[name]?.integer { added.append(token(name, id)) }
            }
            let mask = special("mask_token", "<mask>")
            if let id = vocabulary[mask]?.integer { added.append(token(mask, id, leftSpace: true)) }
        }
        let bytes: JSON = [
            "type": "ByteLevel", "add_prefix_space": .bool(config["add_prefix_space"]?.bool ?? false),
            "use_regex": true,
        ]
        var model: JSONObject = ["type": "BPE", "vocab": vocabulary, "merges": .array(merges)]
        var root: JSONObject = [
            "added_tokens": .array(added), "pre_tokenizer": bytes,
            "post_processor": [
                "type": "RobertaProcessing", "cls": [.string(first), JSON(firstID)],
                "sep": [.string(last), JSON(lastID)],
            ],
        ]
        if isCLIP {
            model["unk_token"] = .string(last)
            model["end_of_word_suffix"] = "</w>"
            root["normalizer"] = [
                "type": "Sequence",
                "normalizers": [
                    ["type": "NFC"], ["type": "Replace", "pattern": ["Regex": "\\s+"], "content": " "],
                    ["type": "Lowercase"],
                ],
            ]
            let words =
                #"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"#
            root["pre_tokenizer"] = [
                "type": "Sequence",
                "pretokenizers": [
                    ["type": "Split", "pattern": ["Regex": .string(words)], "behavior": "Removed", "invert": true],
                    bytes,
                ],
            ]
        }
        root["model"] = .object(model)
        return try make(.object(root), "vocab.json")
    }

    // MARK: - SentencePiece

    /// XLM-RoBERTa's where the folder says so, T5's otherwise.
    func sentencePiece(_ name: String) throws(LoragenError) -> Tokenizer {
        let model = try SentencePieceModel(path: files.path(name))
        let className = config["tokenizer_class"]?.string ?? ""
        let type = try files.json("config.json")?["model_type"]?.string ?? ""
        let isXLM = className.hasPrefix("XLMRoberta") || className.isEmpty && type.hasPrefix("xlm-roberta")
        guard isXLM || className.hasPrefix("T5") || className.isEmpty && ["t5", "mt5"].contains(type) else {
            throw LoragenError(
                .unsupported,
                "\(files.path(name)): of SentencePiece models alone, T5's and XLM-RoBERTa's are read, and this folder is of "
                    + "\"\(shortened(className.isEmpty ? type : className))\"; save it with a tokenizer.json")
        }
        var pieces = model.pieces.map { JSON.array([.string($0.text), .number($0.score)]) }
        var unknown = model.unknown
        var added: [JSON] = []
        let post: JSON
        if isXLM {
            // fairseq's ids: its own four first, SentencePiece's first three not at all, the mask last.
            let first = ["<s>", "<pad>", "</s>", "<unk>"]
            pieces = first.map { [.string($0), .number(0)] } + pieces.dropFirst(3) + [["<mask>", .number(0)]]
            unknown = 3
            added = first.enumerated().map { token($1, $0) } + [token("<mask>", pieces.count - 1, leftSpace: true)]
            post = template(before: [("<s>", 0)], after: [("</s>", 2)])
        } else {
            let extra = config["extra_ids"]?.integer ?? 100
            guard (0...100_000).contains(extra) else {
                throw LoragenError(
                    .format, "\(files.path("tokenizer_config.json")): extra_ids is \(extra); expected 0 to 100000")
            }
            for name in ["<pad>", "</s>", "<unk>"] {
                if let id = model.pieces.firstIndex(where: { $0.text == name }) { added.append(token(name, id)) }
            }
            for index in stride(from: extra - 1, through: 0, by: -1) {
                added.append(token("<extra_id_\(index)>", pieces.count))
                pieces.append([.string("<extra_id_\(index)>"), .number(0)])
            }
            guard let end = model.pieces.firstIndex(where: { $0.text == "</s>" }) else {
                throw LoragenError(.format, "\(files.path(name)): the token \"</s>\" is missing")
            }
            post = template(before: [], after: [("</s>", end)])
        }
        let root: JSON = [
            "added_tokens": .array(added), "post_processor": post,
            "pre_tokenizer": [
                "type": "Sequence",
                "pretokenizers": [
                    ["type": "WhitespaceSplit"],
                    ["type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true],
                ],
            ],
            "model": ["type": "Unigram", "unk_id": JSON(unknown), "vocab": .array(pieces)],
        ]
        var tokenizer = try make(root, name)
        tokenizer.normalizer = .precompiled(try PrecompiledMap(model.charsmap, source: files.path(name)))
        return tokenizer
    }
}
