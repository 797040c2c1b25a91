import Tensor
import Testing

@testable import Files

@Suite("JSON") struct JSONTests {
    func parse(_ text: String) throws -> JSON { try JSON.parse(text, source: "test") }

    @Test("Values come out as they went in") func roundTrip() throws {
        let text = #"{"b":[1,-2,3.5,1e-07,true,false,null,{}],"a":{"x":"\u0001\"\\\n é 日本 😀"},"":[]}"#
        #expect(try parse(text).text() == text)
        #expect(try parse(try parse(text).text(indent: 2)) == parse(text))
        #expect(
            try parse(text).text(order: .sorted)
                == #"{"":[],"a":{"x":"\u0001\"\\\n é 日本 😀"},"b":[1,-2,3.5,1e-07,true,false,null,{}]}"#)
        #expect(
            try (["a": 1, "b": [0.5, []]] as JSON).text(indent: 2)
                == "{\n  \"a\": 1,\n  \"b\": [\n    0.5,\n    []\n  ]\n}")
    }

    @Test("Every double reads back as itself") func doubles() throws {
        var random = TestRandom(state: 3)
        var values: [Double] = [
            0, -0.0, 1, 0.1, .leastNonzeroMagnitude, .greatestFiniteMagnitude, .leastNormalMagnitude, 1e21, 1e-7,
            9_007_199_254_740_992,
        ]
        for _ in 0..<20_000 {
            let value = Double(bitPattern: random.next())
            if value.isFinite { values.append(value) }
        }
        for value in values {
            let back = try parse(JSON.number(value).text())
            guard case .number(let number) = back else {
                Issue.record("\(value) came back as \(back.kind)")
                continue
            }
            #expect(number.bitPattern == value.bitPattern)
        }
        #expect(failure { _ = try JSON.number(.nan).text() }.code == .nonFinite)
    }

    @Test("Whole numbers keep 64 bits, larger ones become doubles") func integers() throws {
        #expect(try parse("9223372036854775807") == .integer(.max))
        #expect(try parse("-9223372036854775808") == .integer(.min))
        #expect(try parse("9223372036854775808") == .number(0x1p63))
        #expect(try parse("-0") == .number(-0.0))
        #expect(try parse("8.0").integer == nil && parse("8.0").double == 8)
    }

    @Test("Escapes and surrogate pairs") func escapes() throws {
        #expect(try parse(#""\u0041\/\b\f\n\r\t\ud83d\ude00""#) == .string("A/\u{8}\u{c}\n\r\t😀"))
    }

    @Test("Names differ by their bytes, not by their looks") func names() throws {
        let object = try #require(try parse("{\"e\u{301}\":1,\"\u{e9}\":2}").object)
        #expect(object.count == 2)
        #expect(object["e\u{301}"] == 1 && object["\u{e9}"] == 2)
        var changed = object
        changed["e\u{301}"] = nil
        #expect(changed["\u{e9}"] == 2 && changed.count == 1)
    }

    static let malformed: [(text: String, says: String)] = [
        ("", "byte 0: found the end of the text, expected a value"), ("  ", "byte 2"), ("{", "expected '\"'"),
        ("[1,]", "byte 3: found ']', expected a value"), ("{\"a\":1,}", "byte 7: found '}', expected '\"'"),
        ("[1 2]", "byte 3: found '2', expected ',' or ']'"), ("{\"a\" 1}", "byte 5: found '1', expected ':'"),
        ("{'a':1}", "found '''"), ("{a:1}", "found 'a'"), ("[1]x", "byte 3: found 'x', expected the end"),
        ("{}{}", "byte 2"),
        ("nul", "expected 'null'"), ("NaN", "found 'N'"), ("Infinity", "found 'I'"), ("-Infinity", "expected a digit"),
        ("+1", "found '+'"), ("01", "leading zero"), ("-01", "leading zero"), ("1.", "expected a digit"),
        (".5", "found '.'"), ("1e", "expected a digit"),
        ("1e+", "expected a digit"), ("0x10", "found 'x'"), ("1e400", "out of range"), ("-1e999", "out of range"),
        ("--1", "expected a digit"),
        ("\"abc", "without an end"), ("\"a\\", "the rest of an escape"), ("\"\\x\"", "an escape that JSON"),
        ("\"\\u12g4\"", "four hexadecimal"),
        ("\"\\ud800\"", "surrogate"), ("\"\\ud800\\u0041\"", "surrogate"), ("\"\\udc00\"", "surrogate"),
        ("\"\\ud800\\", "surrogate"),
        ("\"a\nb\"", "control character"), ("\"\\n\n\"", "control character"),
        ("{\"a\":1,\"a\":2}", "\"a\" a second time"),
        ("{\"a\":1,\"\\u0061\":2}", "\"a\" a second time"), ("// c\n1", "found '/'"), ("\u{feff}1", "byte order mark"),
        ("[1,,2]", "found ','"),
        ("1\0", "byte 0x00"), (String(repeating: "[", count: 129), "nested more than 128"),
        (String(repeating: "[", count: 100_000), "nested"),
        (String(repeating: "{\"a\":", count: 200), "nested more than 128"),
    ]

    @Test("Malformed texts are refused with the byte", arguments: malformed) func refused(text: String, says: String) {
        let error = failure { _ = try parse(text) }
        #expect(error.code == .format)
        #expect(contains(error.message, says) && error.message.hasPrefix("test: byte "), "\(error.message)")
    }

    @Test(
        "Bytes that are not UTF-8 are refused",
        arguments: [
            [0x22, 0xff, 0x22], [0x22, 0xc0, 0xaf, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
            [0x22, 0x5c, 0x6e, 0xc3, 0x22],
        ] as [[UInt8]])
    func notUTF8(bytes: [UInt8]) {
        let error = failure { _ = try bytes.withUnsafeBytes { try JSON.parse($0, source: "test") } }
        #expect(contains(error.message, "UTF-8"))
    }

    @Test("128 levels are read and written, 129 are not") func depth() throws {
        let deep = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        let value = try parse(deep)
        #expect(try value.text() == deep)
        #expect(failure { _ = try JSON.array([value]).text() }.code == .invalidArgument)
    }

    @Test("Random changes to a text never trap") func mutations() {
        let text = Array(#"{"a":[1,2.5e-3,"x\u00e9\ud83d\ude00",{"b":null,"c":true}],"d":-17,"e":{"f":[[]]}}"#.utf8)
        var random = TestRandom(state: 5)
        var parsed = 0
        for _ in 0..<20_000 {
            var changed = text
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = Int.random(in: 0..<changed.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: changed[place] = UInt8.random(in: 0...255, using: &random)
                case 1: changed.remove(at: place)
                default: changed.insert(text.randomElement(using: &random) ?? 0, at: place)
                }
            }
            if let value = try? changed.withUnsafeBytes({ try JSON.parse($0, source: "m") }) {
                parsed += 1
                #expect((try? JSON.parse(value.text(), source: "m")) == value)
            }
        }
        #expect(parsed > 0)
    }
}
