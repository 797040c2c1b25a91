import Synchronization
import Tensor
import Testing

@testable import Conditions
@testable import Files

/// The bytes of a text by their number, sum and first: enough to tell whether the right texts came through.
final class CountingEncoder: ConditionEncoder {
    let width = 3
    let folder = "toy"
    let identity: String
    /// How many values were asked for.
    let asked = Mutex(0)

    init(_ identity: String = "one") { self.identity = identity }

    func description() -> JSON {
        .object(["identity": .string(identity), "family": "toy", "width": 3, "folder": "toy"])
    }

    func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]] {
        asked.withLock { $0 += values.count }
        return values.map { value in
            guard case .bytes(let bytes) = value else { return [] }
            return [Float(bytes.count), bytes.reduce(0) { $0 + Float($1) }, Float(bytes.first ?? 0)]
        }
    }
}

private func text(_ name: String?, _ text: String) -> Condition.Part {
    Condition.Part(name, kind: "text", .text(text))
}

@Suite struct EncodedPartsTests {
    private let encoder = CountingEncoder()
    private let schema: Schema

    init() throws {
        var encoders = ConditionEncoders()
        encoders["text"] = encoder
        schema = try Schema(
            fitting: [
                Condition([text("no", "a"), text("yes", "bc"), text("yes", "b")]),
                Condition([text("no", "d"), text("yes", "ef")]),
            ], encoders)
    }

    @Test func `texts of a part count by the mean of their vectors, those of different parts stay apart`() throws {
        let numbers = try schema.numbers(
            Condition([text("yes", "AA"), text("no", "B"), text("yes", "A"), text("yes", "AAA")]))
        #expect(numbers == [1, 66, 66, 2, 130, 65])
        #expect(schema.width == 6 && schema.code == 3 && schema.isPooled)
    }

    @Test func `numbers are taken where a text would be, and may be several too`() throws {
        let part = Condition.Part("no", kind: "vector", .numbers([1, 2, 3]))
        let other = Condition.Part("no", kind: "vector", .numbers([3, 2, 1]))
        #expect(try schema.numbers(Condition([part, other, text("yes", "A")])) == [2, 2, 2, 1, 65, 65])
    }

    @Test func `without the encoder, a text is refused and the message says which one it takes`() throws {
        let read = try Schema(Schema.parts(schema.json, source: "g"), schema.scale)
        let asked = Condition([text("yes", "A"), text("no", "B")])
        let error = failure { _ = try read.numbers(asked) }
        #expect(error.code == .invalidArgument)
        #expect(error.message.contains("toy, 3 numbers, identity one"), "\(error.message)")
        #expect(error.message.contains("--encoder FOLDER"))
        var encoders = ConditionEncoders()
        encoders["text"] = CountingEncoder("one")
        var equipped = read
        try equipped.take(encoders)
        #expect(try equipped.numbers(asked) == schema.numbers(asked))
        // The folder of the machine that trained is not in the file.
        #expect(try !schema.json.text().contains("folder"))
    }

    @Test func `another encoder is refused`() throws {
        var encoders = ConditionEncoders()
        encoders["text"] = CountingEncoder("two")
        var read = try Schema(Schema.parts(schema.json, source: "g"), schema.scale)
        let error = failure { try read.take(encoders) }
        #expect(error.code == .mismatch && error.message.contains("another encoder"), "\(error.message)")
    }

    @Test func `a file whose text has no encoder is refused, and numbers with one`() throws {
        for text in [
            #"[{"name": "a", "kind": "text", "length": 3}]"#,
            #"[{"name": "a", "kind": "text", "length": 3, "encoder": {}}]"#,
            #"[{"name": "a", "kind": "bits", "length": 3, "encoder": {"identity": "one"}}]"#,
        ] {
            expectFailure(.format, "encoder") { _ = try Schema.parts(JSON.parse(text, source: ""), source: "g") }
        }
    }

    @Test func `pictures go to another encoder than texts`() throws {
        let asked = Condition([text("yes", "A"), Condition.Part("no", kind: "images", .bytes([1]))])
        expectFailure(.mismatch, "not a part \"no\" of images") { _ = try schema.numbers(asked) }
    }
}
