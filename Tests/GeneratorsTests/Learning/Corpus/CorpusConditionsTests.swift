import Foundation
import Synchronization
import Tensor
import Testing

@testable import Adapters
@testable import Conditions
@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods
@testable import Reports

/// The bits that a text spells, "on off on": an encoder of a language that the synthetic tasks are said in.
private final class SpellingEncoder: ConditionEncoder {
    let width = Synthetic.bitCount
    let folder = "spelling"
    let identity: String
    let asked = Mutex(0)

    init(_ identity: String = "0123456789abcdef") { self.identity = identity }

    func description() -> JSON { .object(["identity": .string(identity), "width": JSON(width)]) }

    func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]] {
        asked.withLock { $0 += values.count }
        return values.map { value in
            guard case .bytes(let bytes) = value else { return [] }
            return String(decoding: bytes, as: UTF8.self).lowercased().split(separator: " ").map { $0 == "on" ? 1 : 0 }
        }
    }
}

private func encoders(_ encoder: SpellingEncoder) -> ConditionEncoders {
    var encoders = ConditionEncoders()
    encoders["text"] = encoder
    return encoders
}

private func spelt(_ bits: [Int]) -> String { bits.map { $0 == 1 ? "on" : "off" }.joined(separator: " ") }

/// Tasks that are said in two ways.
private func corpus(_ change: (Int) -> [String: Any] = { _ in [:] }) throws -> Scratch {
    let scratch = try Scratch()
    try Synthetic.folder(
        scratch.path,
        lines: (0..<32).map { task in
            let text = spelt(Synthetic.bits(task))
            return Synthetic.line(
                task, ["text": [text, text.uppercased()], "bits": NSNull()].merging(change(task)) { $1 })
        })
    return scratch
}

@Suite struct CorpusConditionsTests {
    private func train(
        _ scratch: Scratch, _ encoder: SpellingEncoder?, _ change: (inout TrainingOptions) -> Void = { _ in }
    )
        throws
    {
        var options = TrainingOptions()
        options.method = "kernel-ridge"
        if let encoder { options.encoders = encoders(encoder) }
        change(&options)
        // What lies in a corpus is not written over.
        try? FileManager.default.removeItem(atPath: scratch("g"))
        try trainGenerator(corpus: Corpus(path: scratch.path), path: scratch("g"), options: options)
    }

    @Test func `a corpus in words trains with an encoder, is asked in words, and by the numbers of the encoder`() throws
    {
        let (scratch, encoder) = (try corpus(), SpellingEncoder())
        try train(scratch, encoder)
        let generator = try Generator(path: scratch("g"), encoders: encoders(encoder))
        #expect(generator.schema.phrase == "a text")
        var request = GenerationRequest()
        request.condition = .text("on off on on off")
        let words = try #require(try generator.generate(request).first)
        request.condition = .vector([1, 0, 1, 1, 0])
        let numbers = try #require(try Generator(path: scratch("g")).generate(request).first)
        #expect(words.values.elementsEqual(numbers.values))
        withExtendedLifetime((words, numbers)) {}
        // Bits that add up are learnt exactly by a linear model; by kernel ridge, nearly.
        let error = try Report(json: JSON.parse(generator.report, source: "")).test?.skill.first {
            $0.name == "generator"
        }?.value
        #expect(try #require(error) > 0.9)
    }

    @Test func `every way to say a task is an example, and the report counts adapters`() throws {
        let (scratch, encoder) = (try corpus(), SpellingEncoder())
        let corpus = try Corpus(path: scratch.path)
        let conditions = try CorpusConditions(corpus, encoders: encoders(encoder))
        #expect(conditions.ways.allSatisfy { $0.count == 2 })
        let settings = try methods("kernel-ridge").settings(preset: "default")
        let problem = try Problem(corpus, settings, conditions: conditions, streams: false, seed: 0, memoryLimit: 0)
        #expect(problem.adapterCount == 20 && problem.size.examples == 40 && problem.data.count == 40)
        #expect(problem.data.tasks == (0..<40).map { Int32($0 / 2) })
        // Both are the same adapter, in memory and read again.
        let rows = problem.data.rows
        #expect(try rows.tensor([6], 0..<4).values == rows.tensor([7], 0..<4).values)
        let streamed = try Problem(corpus, settings, conditions: conditions, streams: true, seed: 0, memoryLimit: 1)
        #expect(streamed.data.rows.held == nil)
        for row in 0..<40 {
            #expect(
                try streamed.data.rows.tensor([row], 0..<rows.width).values == rows.tensor([row], 0..<rows.width).values
            )
        }
    }

    @Test func `vectors are kept beside the corpus, for each encoder, and a damaged file is made again`() throws {
        let (scratch, encoder) = (try corpus(), SpellingEncoder())
        try train(scratch, encoder)
        #expect(encoder.asked.withLock { $0 } == 64)
        let cache = scratch("corpus.features-0123456789ab.safetensors")
        let (kept, generator) = (try contents(cache), try contents(scratch("g")))
        let again = SpellingEncoder()
        try train(scratch, again)
        #expect(again.asked.withLock { $0 } == 0)
        #expect(try contents(scratch("g")) == generator)
        for broken in [kept.prefix(100), Data(), kept.prefix(kept.count - 4)] {
            try write(Data(broken), to: cache)
            let fresh = SpellingEncoder()
            try train(scratch, fresh)
            #expect(fresh.asked.withLock { $0 } == 64)
            #expect(try contents(cache) == kept && contents(scratch("g")) == generator)
        }
        let other = SpellingEncoder("another one of 12")
        try train(scratch, other)
        #expect(other.asked.withLock { $0 } == 64)
    }

    @Test func `without an encoder a corpus in words is refused before anything is trained, and says what to do`()
        throws
    {
        let scratch = try corpus()
        let remark = try #require(try Corpus(path: scratch.path).remarks.first { $0.code == "needs-encoder" })
        #expect(remark.severity == .note && remark.advice.contains("--encoder FOLDER"))
        expectFailure(.invalidArgument, "in words", "--encoder FOLDER", "--condition none") { try train(scratch, nil) }
        #expect(!scratch.names.contains("g"))
        try train(scratch, nil) { ($0.condition, $0.method) = ("none", "mean") }
        #expect(try Generator(path: scratch("g")).schema.width == 0)
    }

    @Test func `the field can be chosen, and numbers come first`() throws {
        let scratch = try corpus { ["bits": Synthetic.text(Synthetic.bits($0))] }
        let (corpus, encoder) = (try Corpus(path: scratch.path), SpellingEncoder())
        #expect(try CorpusConditions(corpus, encoders: encoders(encoder)).parts.map(\.kind.name) == ["bits"])
        #expect(
            try CorpusConditions(corpus, field: "text", encoders: encoders(encoder)).parts.map(\.kind.name) == ["text"])
        #expect(try CorpusConditions(corpus, field: "none").parts.isEmpty)
        expectFailure(.invalidArgument, "\"smell\"", "\"text\"") { _ = try CorpusConditions(corpus, field: "smell") }
        expectFailure(.mismatch, "/t0", "\"images\"") {
            _ = try CorpusConditions(corpus, field: "images", encoders: encoders(encoder))
        }
    }

    @Test func `a line without words is named`() throws {
        let scratch = try corpus { $0 == 7 ? ["text": NSNull()] : [:] }
        expectFailure(.mismatch, "/t7", "no \"text\"") { try train(scratch, SpellingEncoder()) }
    }

    @Test func `parts in words may be said in several ways, of the same names`() throws {
        func way(_ task: Int, _ names: (String, String) = ("low", "high")) -> [String: Any] {
            let bits = Synthetic.bits(task)
            let words = { (part: [Int]) in spelt(part + [Int](repeating: 0, count: 5 - part.count)) }
            return [
                names.0: ["text": [words(Array(bits[..<2])), words([0, 0])]],
                names.1: ["text": words(Array(bits[2...]))],
            ]
        }
        let scratch = try corpus { ["text": NSNull(), "conditions": [way($0), way($0)]] }
        let encoder = SpellingEncoder()
        try train(scratch, encoder)
        let generator = try Generator(path: scratch("g"), encoders: encoders(encoder))
        #expect(generator.schema.phrase == "a text for \"high\" and a text for \"low\"")
        #expect(generator.schema.width == 10)
        // Unpacked lines are those that were read.
        let entry = try Corpus(path: scratch.path).entries[5]
        let again = try CorpusEntry(line: entry.json, place: "")
        #expect(again == entry && entry.ways.count == 2 && entry.ways[0].parts.count == 3)
        let other = try corpus {
            ["text": NSNull(), "conditions": [way($0), way($0, $0 == 9 ? ("a", "b") : ("low", "high"))]]
        }
        expectFailure(.mismatch, "line 10", "differs in name, kind or length") { _ = try Corpus(path: other.path) }
    }

    @Test(
        "what is no text, no list of texts, no picture or no list of ways is refused with its place",
        arguments: [
            (#""text": ["a", ""]"#, "field \"text\""), (#""text": []"#, "field \"text\""),
            (#""text": 3"#, "field \"text\""), (#""images": ["../a.png"]"#, "leaves the corpus"),
            (#""images": ["/a.png"]"#, "leaves the corpus"), (#""conditions": []"#, "an empty list"),
            (#""conditions": [3]"#, "element 0"), (#""conditions": {"a": {"text": []}}"#, "part \"a\""),
            (#""conditions": {"a": {"images": "../b"}}"#, "leaves"),
            (#""conditions": {"a": {"text": ["b", 3]}}"#, "part \"a\""),
        ])
    func refused(field: String, message: String) throws {
        let scratch = try Scratch()
        try Synthetic.folder(scratch.path, tasks: 0..<1)
        try write("{\"path\": \"t0\", \(field)}\n", to: scratch("corpus.jsonl"))
        expectFailure(.format, "line 1", message) { _ = try Corpus(path: scratch.path) }
    }
}
