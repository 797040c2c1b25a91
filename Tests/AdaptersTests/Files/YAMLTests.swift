import Foundation
import Tensor
import Testing

@testable import Files

@Suite struct YAMLTests {
    /// PyYAML's BaseLoader, which keeps scalars as texts, reads the same.
    @Test func `cards and configs are read as YAML says`() throws {
        let text = """
            base_model: &b meta-llama/Llama-3.1-8B   # a comment
            description: >-
              folded
              text
            quoted: "a \\u00e9 \\"b\\""
            single: 'it''s: 1'
            nothing:
            also: ~
            text_null: "null"
            flow: [a, {k: v}, 1.5]
            alias: *b
            ? [x]
            : dropped
            widget:
            - text: a dog
              output:
                url: images/0.png
            - text: |
                two
                lines
            """
        let expected: JSON = [
            "base_model": "meta-llama/Llama-3.1-8B", "description": "folded text", "quoted": "a é \"b\"",
            "single": "it's: 1", "nothing": nil, "also": nil, "text_null": "null", "flow": ["a", ["k": "v"], "1.5"],
            "alias": nil,
            "widget": [["text": "a dog", "output": ["url": "images/0.png"]], ["text": "two\nlines"]],
        ]
        #expect(try YAML.parse(text, source: "card") == expected)
        #expect(try YAML.parse("", source: "card") == .null)
        #expect(try YAML.parse("a: 1\n---\nb: 2\n", source: "card") == ["a": "1"])
    }

    @Test(
        "what is no YAML, or too much of it, is refused with the line",
        arguments: [
            ("a: [1\nb: 2", "line 2"), ("a:\n\t- x", "line 2"), ("a: \"x", "line 1"), ("x: @y", "line 1"),
            ("a: *nobody", ""), ("a: b: c", "line 1"), (String(repeating: "[", count: 5000), "deeper than 64"),
            (String(repeating: "a:\n ", count: 3) + String(repeating: "- ", count: 500), "deeper than 64"),
            ("a: \u{1}", "control characters"),
        ])
    func refusals(text: String, part: String) throws {
        // An alias of nobody says nothing.
        if text == "a: *nobody" {
            #expect(try YAML.parse(text, source: "card") == ["a": nil])
            return
        }
        let error = failure { _ = try YAML.parse(text, source: "card") }
        #expect(error.code == .format && error.message.hasPrefix("card") && error.message.contains(part), "\(error)")
    }

    @Test func `aliases do not grow, and size is bounded`() throws {
        var bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
        for (name, before) in zip("bcdefghi", "abcdefgh") {
            bomb += "\(name): &\(name) [" + [String](repeating: "*\(before)", count: 9).joined(separator: ", ") + "]\n"
        }
        #expect(try YAML.parse(bomb, source: "bomb")["i"]?.array == [JSON](repeating: .null, count: 9))
        let large = String(repeating: "a", count: YAML.sizeLimit + 1)
        #expect(failure { _ = try YAML.parse(large, source: "card") }.message.contains("card: 1048577 bytes"))
        // At the limit of size, what is slowest for the scanner still ends.
        _ = try? YAML.parse(String(repeating: "{", count: YAML.sizeLimit), source: "card")
        _ = try? YAML.parse(String(repeating: "? ", count: YAML.sizeLimit / 2), source: "card")
        _ = try? YAML.parse(String(repeating: "k,", count: YAML.sizeLimit / 2), source: "card")
        let keys = (0..<100_000).map { "k\($0): v" }.joined(separator: "\n")
        #expect(try YAML.parse(String(keys.prefix(YAML.sizeLimit)), source: "card").object?.count ?? 0 > 70_000)
    }
}
