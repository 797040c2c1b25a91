import Files
import Foundation
import Tensor
import Testing

@testable import Encoders

private func tokenizer(_ json: String) throws -> Tokenizer {
    try TokenizerFile(JSON.parse(json, source: "t"), path: "t").tokenizer()
}

/// A tokenizer whose ids are the bytes or characters that come out of its steps.
private func steps(normalizer: String = "null", preTokenizer: String = "null", _ text: String) throws -> [String] {
    let json = """
        {"added_tokens":[],"normalizer":\(normalizer),"pre_tokenizer":\(preTokenizer),
         "model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0}}}
        """
    let tokenizer = try tokenizer(json)
    let text = try tokenizer.normalizer?(Array(text.utf8)) ?? Array(text.utf8)
    let pieces = try tokenizer.preTokenizer?([Piece(text: text, isFirst: true)]) ?? [Piece(text: text, isFirst: true)]
    return pieces.map { String(decoding: $0.text, as: UTF8.self) }
}

private func scalars(_ text: String) -> [UInt32] { text.unicodeScalars.map { $0.value } }

/// Equal by scalars: Swift's own strings are equal when they look alike.
private func same(_ a: [String], _ b: [String]) -> Bool { a.map(scalars) == b.map(scalars) }

@Suite struct NormalizerTests {
    static let uncased =
        #"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}"#
    static let cased =
        #"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":false,"lowercase":false}"#

    @Test func `accents go where the folder says so and stay where it does not`() throws {
        #expect(same(try steps(normalizer: Self.uncased, "Café Ünï"), ["cafe uni"]))
        #expect(same(try steps(normalizer: Self.cased, "Café Ünï"), ["Café Ünï"]))
        let kept =
            #"{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":false,"lowercase":true}"#
        #expect(same(try steps(normalizer: kept, "Café"), ["café"]))
    }

    @Test func `voiced kana are kept by composed forms and folded only by BERT's accents`() throws {
        #expect(same(try steps(normalizer: Self.cased, "ザで"), ["ザで"]))
        #expect(same(try steps(normalizer: #"{"type":"NFKC"}"#, "ｻﾞで"), ["ザで"]))
        // What the reference does too: the voiced mark is a non-spacing mark.
        #expect(same(try steps(normalizer: Self.uncased, "ザで"), ["サて"]))
    }

    @Test func `normal forms work on scalars, not on clusters`() throws {
        #expect(same(try steps(normalizer: #"{"type":"NFD"}"#, "Å각"), ["A\u{30a}\u{1100}\u{1161}\u{11a8}"]))
        #expect(same(try steps(normalizer: #"{"type":"NFC"}"#, "A\u{30a}\u{1100}\u{1161}\u{11a8}"), ["Å각"]))
        #expect(same(try steps(normalizer: #"{"type":"NFD"}"#, "a\u{301}\u{316}"), ["a\u{316}\u{301}"]))
        #expect(same(try steps(normalizer: #"{"type":"NFKD"}"#, "ﬁ²"), ["fi2"]))
        #expect(same(try steps(normalizer: #"{"type":"Lowercase"}"#, "İẞ"), ["i\u{307}ß"]))
        #expect(same(try steps(normalizer: #"{"type":"StripAccents"}"#, "a\u{301}क\u{93f}"), ["aक"]))
    }

    @Test func `marks in any number take no more than n log n steps`() throws {
        let marks = String(String.UnicodeScalarView((0..<200_000).map { Unicode.Scalar($0 % 2 == 0 ? 0x301 : 0x316)! }))
        let clock = ContinuousClock()
        let spent = try clock.measure { _ = try steps(normalizer: #"{"type":"NFC"}"#, "a" + marks) }
        #expect(spent < .seconds(30))
    }

    @Test func `control characters, odd spaces, CR LF`() throws {
        #expect(same(try steps(normalizer: Self.uncased, "a\u{0}\u{1}\u{200d}b\r\nc\td\u{fffd}"), ["ab  c d"]))
        #expect(
            same(try steps(normalizer: #"{"type":"Strip","strip_left":true,"strip_right":true}"#, " \u{3000}a "), ["a"])
        )
    }

    @Test func `replaced, prepended, in sequence`() throws {
        let both =
            #"{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"#
        #expect(same(try steps(normalizer: both, "a b"), ["▁a▁b"]))
        #expect(same(try steps(normalizer: both, ""), [""]))
        let regex = #"{"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "}"#
        #expect(same(try steps(normalizer: regex, "a \u{2003}\r\nb"), ["a b"]))
    }
}

@Suite struct PreTokenizerTests {
    @Test func `clusters are cut between scalars`() throws {
        let bert = #"{"type":"BertPreTokenizer"}"#
        #expect(same(try steps(preTokenizer: bert, "don't 1️⃣ a\r\nb।c"), ["don", "'", "t", "1️⃣", "a", "b", "।", "c"]))
        #expect(same(try steps(preTokenizer: #"{"type":"Whitespace"}"#, "Hé, 1️⃣"), ["Hé", ",", "1️⃣"]))
        let digits = #"{"type":"Digits","individual_digits":true}"#
        #expect(same(try steps(preTokenizer: digits, "a12²"), ["a", "1", "2", "²"]))
    }

    @Test func `byte level keeps the space with the word`() throws {
        let bytes = #"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#
        #expect(same(try steps(preTokenizer: bytes, "it's é  x"), ["it", "'s", "ĠÃ©", "Ġ", "Ġx"]))
        // A Mongolian vowel separator is no white space.
        #expect(try steps(preTokenizer: bytes, "a\u{180e}b").count == 3)
    }

    @Test func `metaspace marks the beginning as it is told`() throws {
        func mark(_ scheme: String) -> String {
            #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"\#(scheme)","split":true}"#
        }
        #expect(same(try steps(preTokenizer: mark("always"), "a  b"), ["▁a", "▁", "▁b"]))
        #expect(same(try steps(preTokenizer: mark("never"), "a b"), ["a", "▁b"]))
    }

    @Test(arguments: [
        ("Removed", ["a", "b"]), ("Isolated", ["a", "-", "-", "b"]), ("Contiguous", ["a", "--", "b"]),
        ("MergedWithPrevious", ["a-", "-", "b"]), ("MergedWithNext", ["a", "-", "-b"]),
    ])
    func `what becomes of delimiters`(behavior: String, expected: [String]) throws {
        let split = #"{"type":"Split","pattern":{"String":"-"},"behavior":"\#(behavior)","invert":false}"#
        #expect(same(try steps(preTokenizer: split, "a--b"), expected))
    }

    @Test func `matches that stand side by side stay apart when inverted`() throws {
        let split = #"{"type":"Split","pattern":{"Regex":"\\p{L}+|\\p{N}"},"behavior":"Removed","invert":true}"#
        #expect(same(try steps(preTokenizer: split, "bf16 -x"), ["bf", "1", "6", "x"]))
    }

    @Test(arguments: [#"[a[b]]"#, #"[a&&b]"#, #"\\h"#, #"a{1,2}+"#, #"(?<n>a)"#, #"\\b"#])
    func `expressions that mean another thing in PCRE2 are refused`(pattern: String) throws {
        let split = #"{"type":"Split","pattern":{"Regex":"\#(pattern)"},"behavior":"Removed","invert":false}"#
        #expect(throws: LoragenError.self) { try steps(preTokenizer: split, "a") }
    }
}

@Suite struct TokenizerTests {
    @Test(arguments: [
        (#""normalizer":{"type":"Odd"}"#, "the normalizer \"Odd\""),
        (#""pre_tokenizer":{"type":"Odd"}"#, "the pre-tokenizer \"Odd\""),
        (#""post_processor":{"type":"Odd"}"#, "the post-processor \"Odd\""),
    ])
    func `what is not read is named`(part: String, expected: String) throws {
        do {
            _ = try tokenizer(#"{\#(part),"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0}}}"#)
            Issue.record("made")
        } catch let error as LoragenError {
            #expect(error.code == .unsupported && error.message.contains(expected))
        }
        #expect(throws: LoragenError.self) { try tokenizer(#"{"model":{"type":"Odd"}}"#) }
        #expect(throws: LoragenError.self) {
            try tokenizer(#"{"model":{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}}"#)
        }
    }

    @Test(arguments: [
        #"{"type":"WordPiece","unk_token":"[UNK]","vocab":{}}"#,
        #"{"type":"WordPiece","unk_token":"a","vocab":{"a":-1}}"#,
        #"{"type":"BPE","vocab":{"a":0},"merges":["a b"]}"#, #"{"type":"BPE","vocab":{"a":0},"merges":["a"]}"#,
        #"{"type":"BPE","vocab":{"a":4294967296},"merges":[]}"#, #"{"type":"Unigram","unk_id":7,"vocab":[["a",0]]}"#,
        #"{"type":"Unigram","vocab":[["a","b"]]}"#, #"{"type":"Unigram","vocab":{}}"#,
    ])
    func `a model that does not hold together is refused`(model: String) {
        #expect(throws: LoragenError.self) { try tokenizer(#"{"model":\#(model)}"#) }
    }

    @Test func `the longest word piece, or unknown as a whole`() throws {
        let json =
            ###"{"pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":"WordPiece","unk_token":"?","max_input_chars_per_word":6,"vocab":{"?":0,"a":1,"ab":2,"##b":3,"##bc":4,"##é":5}}}"###
        let tokenizer = try tokenizer(json)
        #expect(try tokenizer.encode("abbc abx aéé ababababab") == [2, 4, 0, 1, 5, 5, 0])
        #expect(try tokenizer.encode("") == [])
        // Six scalars are no more than six characters, whatever their bytes.
        #expect(try tokenizer.encode("aééééé") == [1, 5, 5, 5, 5, 5])
    }

    @Test func `bytes for what has no token, line feeds too`() throws {
        let bytes = (0..<256).map { #""<0x\#(String(format: "%02X", $0))>":\#($0 + 3)"# }.joined(separator: ",")
        let json =
            #"{"model":{"type":"BPE","byte_fallback":true,"unk_token":"?","fuse_unk":true,"vocab":{"?":0,"a":1,"b":2,\#(bytes)},"merges":[]}}"#
        #expect(try tokenizer(json).encode("a\né\u{0}") == [1, 13, 0xc3 + 3, 0xa9 + 3, 3])
    }

    @Test func `added tokens are the leftmost and longest, single where they say so`() throws {
        func token(_ id: Int, _ text: String, _ more: String = "") -> String {
            #"{"id":\#(id),"content":"\#(text)","normalized":false,"special":true\#(more)}"#
        }
        let added = [
            token(5, "<a>"), token(6, "<a><b>"), token(7, "<m>", #","lstrip":true,"rstrip":true"#),
            token(8, "xy", #","single_word":true"#),
        ]
        let json =
            #"{"added_tokens":[\#(added.joined(separator: ","))],"pre_tokenizer":{"type":"WhitespaceSplit"},"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0}}}"#
        let tokenizer = try tokenizer(json)
        #expect(try tokenizer.encode("<a><b><a>") == [6, 5])
        #expect(try tokenizer.encode("u  <m>  v") == [0, 7, 0])
        #expect(try tokenizer.encode("xy xyz -xy-") == [8, 0, 0, 8, 0])
    }

    @Test func `texts are cut at the end, with room for the tokens around them`() throws {
        let json =
            #"{"pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":{"type":"BertProcessing","cls":["c",8],"sep":["s",9]},"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"a":1,"b":2,"c":3}}}"#
        let tokenizer = try tokenizer(json)
        #expect(try tokenizer.encode("a b c a b c", limit: 5) == [8, 1, 2, 3, 9])
        #expect(try tokenizer.encode("a b c", special: false) == [1, 2, 3])
        #expect(try tokenizer.encode("", limit: 5) == [8, 9])
        #expect(try tokenizer.encode("a b", limit: 1) == [8, 9])
    }

    @Test(arguments: GoldenFolder.names)
    func `long and odd texts neither trap nor take long`(name: String) throws {
        let tokenizer = try Tokenizer.open(folder: try GoldenFolder(name).path)
        let odd = [
            String(repeating: "x", count: 10_000), String(repeating: "é", count: 10_000),
            String(repeating: " ", count: 10_000), String(repeating: "\u{301}", count: 10_000),
            String(repeating: "👩‍👩‍👧‍👦", count: 2_000), String(repeating: "1️⃣", count: 2_000),
            String(String.UnicodeScalarView((0..<0x250).compactMap { Unicode.Scalar($0) })), "\u{0}\u{10ffff}\u{e000}",
            "\r\n",
        ]
        for text in odd {
            let ids = try tokenizer.encode(text)
            #expect(ids.allSatisfy { $0 >= 0 && Int($0) < tokenizer.idCount })
        }
    }

    @Test func `SentencePiece files that are damaged give an error`() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data(#"{"tokenizer_class":"T5Tokenizer"}"#.utf8).write(
            to: folder.appendingPathComponent("tokenizer_config.json"))
        func piece(_ text: String, _ kind: UInt64) -> ProtoWriter {
            var writer = ProtoWriter()
            writer.add(1, text: text)
            writer.add(3, varint: kind)
            return writer
        }
        var model = ProtoWriter()
        for (text, kind) in [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("▁a", 1), ("b", 1)] as [(String, UInt64)] {
            model.add(1, message: piece(text, kind))
        }
        let path = folder.appendingPathComponent("spiece.model")
        try Data(model.bytes).write(to: path)
        #expect(try Tokenizer.open(folder: folder.path).encode("a ab x") == [3, 3, 4, 2, 1])
        for count in 0..<model.bytes.count {
            try Data(model.bytes.prefix(count)).write(to: path)
            _ = try? Tokenizer.open(folder: folder.path)
        }
    }
}
