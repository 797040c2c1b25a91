import Tensor
import Testing

@testable import Adapters
@testable import Conditions
@testable import Files
@testable import Formats
@testable import Generators
@testable import Hosts
@testable import Learning
@testable import Methods

/// What docs/architecture.md says of adding things, done: each toy is a file and one line below. They run in a process of
/// their own, for what is added is known to all of it.
@Suite struct ToyTests {
    @Test func `a method, a kind of condition, a format and a host are a file and a line each`() async {
        await #expect(processExitsWith: .success) {
            methods.add(ToyMethod.entry)
            conditionKinds.add(ToyKind())
            formats.add(ToyFormat.format)
            hosts.add(ToyHost.host)
            try Self.use()
        }
    }

    private static let words = ["banana", "lime", "fig", "quince", "plum"]

    /// Trained, generated, saved, read, verified and listed, by what knows nothing of them.
    private static func use() throws {
        let scratch = try Scratch()
        let lines = words.indices.map { i in
            [
                "path": "t\(i)", "task": "t\(i)", "split": i == 4 ? "test" : "train",
                "conditions": ["what": ["vowels": words[i]], "how": ["bits": i % 2 == 0 ? "01" : "10"]],
            ] as [String: Any]
        }
        try Synthetic.folder(scratch("c"), tasks: 0..<words.count, lines: lines)
        var options = TrainingOptions()
        options.method = "toy"
        try trainGenerator(corpus: try Corpus(path: scratch("c")), path: scratch("g"), options: options)

        let generator = try Generator(path: scratch("g"))
        #expect(generator.schema.phrase == "2 bits for \"how\" and a word for \"what\"")
        var request = GenerationRequest()
        request.condition = Condition([
            Condition.Part("what", kind: "vowels", .bytes(Array("fig".utf8))),
            Condition.Part("how", kind: "bits", .bytes(Array("01".utf8))),
        ])
        let made = try generator.generate(request)[0]
        #expect(relativeError(products(made), products(try Synthetic.adapter(Synthetic.bits(2)))) < 1e-5)
        expectFailure(.invalidArgument, "no word") {
            request.condition?.parts[0].value = .bytes(Array("FIG".utf8))
            _ = try generator.generate(request)
        }

        let path = scratch("my.toy")
        try made.write(to: path, format: try AdapterFormat(path: path), options: WriteOptions(form: .kept))
        #expect(try Adapter.read(path: path).copyValues() == made.copyValues())
        let verification = try Verification(adapter: path)
        #expect(verification.hosts.contains { $0.host == "Toy 1.0" && $0.outcome == .asStated })

        let listed = try names.text()
        for name in [#""toy","presets""#, #""vowels""#, #"".toy""#, #""Toy 1.0""#] {
            #expect(listed.contains(name), "\(listed)")
        }
    }
}
