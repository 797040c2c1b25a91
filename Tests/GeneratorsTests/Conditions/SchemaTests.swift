import Tensor
import Testing

@testable import Conditions
@testable import Files

private typealias Part = Condition.Part

private func bits(_ name: String?, _ text: String) -> Condition.Part {
    Part(name, kind: "bits", .bytes(Array(text.utf8)))
}

private func vector(_ name: String?, _ numbers: [Float]) -> Condition.Part {
    Part(name, kind: "vector", .numbers(numbers))
}

extension Schema {
    /// Conditions of the first one's parts.
    init(fitting conditions: [Condition], _ encoders: ConditionEncoders = ConditionEncoders()) throws {
        let parts = try (conditions.first ?? Condition()).parts(encoders)
        try self.init(parts, fitting: conditions.map { try Schema(parts).numbers($0) })
    }

    /// Not scaled.
    private init(_ parts: [Part]) throws {
        let width = parts.reduce(0) { $0 + $1.length }
        try self.init(
            parts,
            ConditionScale(shift: [Float](repeating: 0, count: width), scale: [Float](repeating: 1, count: width)))
    }
}

@Suite struct SchemaTests {
    private let schema: Schema

    init() throws {
        schema = try Schema(fitting: [
            Condition([bits("style", "01"), vector("subject", [1, 2, 3])]),
            Condition([bits("style", "10"), vector("subject", [3, 2, 7])]),
        ])
    }

    @Test func `parts may come in any order, and their numbers stand in the schema's`() throws {
        let numbers = try schema.numbers(Condition([vector("subject", [4, 5, 6]), bits("style", "11")]))
        #expect(numbers == [1, 1, 4, 5, 6])
        #expect(schema.width == 5 && schema.code == 3)
        #expect(schema.phrase == "2 bits for \"style\" and a vector of 3 numbers for \"subject\"")
        // Standardised by the two conditions that it was fitted to: (x − mean) / deviation; what never changes is 0.
        #expect(schema.features([numbers]).values == [1, 1, 2, 0, 0.5])
        #expect(schema.place(of: 1) == " of \"style\"" && schema.place(of: 2) == " of \"subject\"")
    }

    @Test func `numbers are taken for any kind, and a name may be left out where one part can be meant`() throws {
        #expect(
            try schema.numbers(Condition([vector("style", [0, 1]), vector("subject", [1, 2, 3])])) == [0, 1, 1, 2, 3])
        #expect(try schema.numbers(Condition([bits(nil, "01"), vector(nil, [1, 2, 3])])) == [0, 1, 1, 2, 3])
        let one = try Schema(fitting: [.bits("0110")])
        #expect(one.phrase == "4 bits" && one.code == 2)
        #expect(try one.numbers(.vector([0, 1, 1, 0])) == one.numbers(.bits("0110")))
    }

    @Test(
        "what is not a condition of the schema is refused, and the message says what is",
        arguments: [
            ([bits("style", "01")], "no \"subject\""),
            ([bits("style", "01"), vector("subject", [1, 2, 3]), bits("style", "01")], "twice"),
            ([bits("style", "011"), vector("subject", [1, 2, 3])], "3 bits"),
            ([bits("style", "0a"), vector("subject", [1, 2, 3])], "only 0 and 1"),
            ([bits("style", "01"), bits("subject", "011")], "not a part \"subject\" of bits"),
            ([bits("style", "01"), vector("object", [1, 2, 3])], "not a part \"object\""),
            ([bits("style", "01"), vector("subject", [1, .nan, 3])], "element 1"),
            ([bits("style", "01"), Part("subject", kind: "smell", .numbers([1, 2, 3]))], "no kind of condition"),
            ([], "no \"style\""),
        ] as [([Condition.Part], String)])
    fileprivate func refused(parts: [Condition.Part], message: String) {
        let error = failure { _ = try schema.numbers(Condition(parts)) }
        #expect(error.message.contains(message), "\(error.message)")
    }

    @Test func `two unnamed parts that could be either of two are refused`() throws {
        let schema = try Schema(fitting: [Condition([vector("a", [1]), vector("b", [2])])])
        let error = failure { _ = try schema.numbers(Condition([vector(nil, [1]), vector(nil, [2])])) }
        #expect(error.message.contains("\"a\", \"b\""), "\(error.message)")
    }

    @Test func `a schema comes back from its JSON`() throws {
        let parts = try Schema.parts(schema.json, source: "g")
        let again = try Schema(parts, schema.scale)
        #expect(again.phrase == schema.phrase && again.width == schema.width)
        expectFailure(.version, "smell") {
            _ = try Schema.parts(
                JSON.parse(#"[{"name": "a", "kind": "smell", "length": 1}]"#, source: ""), source: "g")
        }
    }

    @Test func `no condition is a schema without parts`() throws {
        let schema = try Schema(fitting: [Condition(), Condition()])
        #expect(schema.width == 0 && schema.code == 0 && schema.phrase == "no condition")
        #expect(try schema.numbers(Condition()).isEmpty)
        expectFailure(.mismatch, "no condition") { _ = try schema.numbers(.bits("01")) }
    }
}
