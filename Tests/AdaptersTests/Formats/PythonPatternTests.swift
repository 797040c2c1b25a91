import Tensor
import Testing

@testable import Files
@testable import Formats

@Suite("Python's regular expressions") struct PythonPatternTests {
    /// Golden/patterns.py says what Python's re makes of each pattern.
    private struct Golden {
        var names: [String] = []
        var rows: [[JSON]] = []

        init() throws {
            let json = try JSON.read(path: golden("patterns.json"))
            names = try #require(json["names"]?.array).compactMap(\.string)
            rows = try #require(json["patterns"]?.array).compactMap(\.array)
        }

        func expected(_ row: [JSON], _ place: Int) -> [Bool]? { row[place].string?.map { $0 == "1" } }
    }

    /// `nil` for a name that is refused: letters beyond ASCII where case is ignored.
    private func matches(_ pattern: PythonPattern, _ name: String, _ text: String) throws -> Bool? {
        do { return try pattern.matches(name) } catch {
            if contains(text, "i"), name.utf8.contains(where: { $0 >= 0x80 }) { return nil }
            throw error
        }
    }

    private func made(_ text: String, _ extent: PythonPattern.Extent) -> Result<PythonPattern, LoragenError> {
        Result { () throws(LoragenError) in try PythonPattern(text, extent, source: "test") }
    }

    @Test("Every pattern gives what Python gives, or is refused") func agrees() throws {
        let golden = try Golden()
        var counts: [String: Int] = [:]
        for row in golden.rows {
            let text = try #require(row[0].string)
            let kind = try #require(row[1].string)
            counts[kind, default: 0] += 1
            // As a key of rank_pattern too, whose other half can make a pattern of what is none.
            let both = [made(text, .whole), made("(.*\\.)?(\(text))$", .start)]
            for (i, pattern) in both.prefix(row.count == 4 ? 2 : 1).enumerated() {
                let expected = row.count == 4 ? golden.expected(row, 2 + i) : nil
                switch pattern {
                case .success(let pattern):
                    counts[kind + " read", default: 0] += 1
                    #expect(expected != nil, "\(text), \(i)")
                    for (name, isMatch) in zip(golden.names, expected ?? []) {
                        let found = try matches(pattern, name, text)
                        #expect(found ?? isMatch == isMatch, "\(text), \(i): \(name)")
                    }
                case .failure(let error):
                    // What Python reads must not be called wrong.
                    let isRead = kind == "unread" || expected != nil
                    #expect(!isRead || error.code == .unsupported, "\(text): \(error)")
                    #expect(kind != "read" || expected == nil, "\(text): \(error)")
                }
            }
        }
        // Most of what Python reads is read.
        #expect(try #require(counts["drawn read"]) > #require(counts["drawn"]))
        #expect(try #require(counts["read read"]) > 250)
    }

    @Test("A hostile pattern ends in a message, for any number of names") func hostile() throws {
        let names = (0..<200).map { "model.layers.\($0)." + String(repeating: "a", count: 60) + "bc.x!" }
        let clock = ContinuousClock()
        for text in ["(?:.*a)+b", "(a*)*(a*)*(a*)*b|(.*a)*.*c", "(?:(?:.*)*.*)*x", "(?:\\w+.?)+\\.x", "(?=(.*a)*c!).*"]
        {
            let pattern = try PythonPattern(text, source: "x.json: 'target_modules'")
            var refusals = 0
            let time = try clock.measure {
                for name in names {
                    do { _ = try pattern.matches(name) } catch let error as LoragenError {
                        #expect(error.code == .unsupported && error.message.contains("too many steps"))
                        refusals += 1
                    }
                }
            }
            #expect(refusals > 0 && time < .seconds(10), "\(text): \(refusals) refusals, \(time)")
        }
        for text in [
            "((((a{1,50}){1,50}){1,50}){1,50})", String(repeating: "(?:a?){100}", count: 900),
            String(repeating: "(?:", count: 60_000), String(repeating: "[a-z]", count: 13_000),
        ] {
            let time = clock.measure {
                #expect(throws: LoragenError.self) { try PythonPattern(text, source: "test") }
            }
            #expect(time < .seconds(5))
        }
    }

    @Test("A list of thousands of whole names is read") func longLists() throws {
        let names = (0..<1500).map { "model.layers.\($0).self_attn.q_proj" }
        let pattern = try PythonPattern(names.joined(separator: "|"), source: "test")
        #expect(try pattern.matches(names[0]) && pattern.matches(names[1499]))
        #expect(try !pattern.matches("model.layers.1500.self_attn.q_proj"))
    }

    @Test("A message says where the pattern stops being one") func places() {
        let error = #expect(throws: LoragenError.self) {
            try PythonPattern("q_proj\\Kv", source: "x: 'target_modules'")
        }
        #expect(
            error?.message
                == "x: 'target_modules': the regular expression \"q_proj\\Kv\", at character 7: Python has no escape '\\K'; "
                + "correct it, or write a list of module names or their endings")
    }
}
