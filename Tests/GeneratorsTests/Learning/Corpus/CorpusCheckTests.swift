import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Generators
@testable import Learning
@testable import Reports

/// What stops a training, and what is said of the rest.
@Suite("Check of corpora: doctor, corpus check and train agree")
struct CorpusCheckTests {
    /// What is spoilt in a corpus of twelve tasks with a manifest, and whether that stops a training.
    struct Spoilt: CustomTestStringConvertible, Sendable {
        let name: String
        let isBroken: Bool
        let spoil: @Sendable (Scratch) throws -> Void
        var testDescription: String { name }
    }

    private static func line(_ changes: @escaping @Sendable () -> [String: Any]) -> @Sendable (Scratch) throws -> Void {
        { scratch in
            let lines = (0..<12).map { Synthetic.line($0, $0 == 7 ? changes() : [:]) }
            try write(try Synthetic.manifest(lines), to: scratch("corpus.jsonl"))
        }
    }

    private static func lines(_ each: @escaping @Sendable (Int) -> [String: Any]) -> @Sendable (Scratch) throws -> Void
    {
        { scratch in
            try write(
                try Synthetic.manifest((0..<12).map { Synthetic.line($0, each($0)) }), to: scratch("corpus.jsonl"))
        }
    }

    private static func adapter(_ layout: @escaping @Sendable () throws -> Layout) -> @Sendable (Scratch) throws -> Void
    {
        { scratch in
            let layout = try layout()
            var random = Random(seed: 5)
            let values: Tensor<Float> = random.normal([layout.valueCount])
            try FileManager.default.removeItem(atPath: scratch("t7"))
            try Synthetic.write(try Adapter(layout: layout, values: values.values), to: scratch("t7"))
        }
    }

    private static func shapes(
        _ shapes: [(String, Int, Int)], rank: Int = 2, base: String? = "tiny"
    ) -> @Sendable () throws -> Layout {
        {
            try Layout(
                modules: shapes.map { try ModuleShape(name: $0, inputs: $1, outputs: $2, rank: rank, alpha: 3) },
                baseModel: base)
        }
    }

    private static let usual = [("layers.0.q", 6, 8), ("layers.0.v", 6, 5), ("layers.1.q", 4, 8)]

    private static func remove(_ name: String) -> @Sendable (Scratch) throws -> Void {
        { try FileManager.default.removeItem(atPath: $0(name)) }
    }

    private static func text(_ text: String, _ name: String) -> @Sendable (Scratch) throws -> Void {
        { try write(text, to: $0(name)) }
    }

    private static let spoilers: [(String, Bool, @Sendable (Scratch) throws -> Void)] =
        [
            ("nothing", false, { _ in }),
            ("a task in two splits", true, line { ["task": "t8"] }),
            ("a run in two splits", true, line { ["run": "t8"] }),
            ("a condition of another length", true, line { ["bits": "1110"] }),
            ("a condition of another kind", true, line { ["bits": NSNull(), "condition": [1, 1, 1, 0, 0]] }),
            ("a condition that is missing", true, line { ["bits": NSNull()] }),
            ("an unknown field", true, line { ["colour": 1] }), ("an unknown split", true, line { ["split": "val"] }),
            ("a path twice", true, line { ["path": "./t6/"] }), ("a path outside", true, line { ["path": "../t6"] }),
            ("a path to nothing", true, line { ["path": "t99"] }),
            ("no train split", true, lines { _ in ["split": "test"] }),
            ("no conditions", false, lines { _ in ["bits": NSNull()] }),
            ("one condition", false, lines { _ in ["bits": "11"] }),
            ("no splits", false, lines { _ in ["split": "train"] }),
            ("no manifest", false, remove("corpus.jsonl")),
            ("another base", true, adapter(shapes(usual, base: "huge"))),
            ("no base", false, adapter(shapes(usual, base: nil))),
            ("a missing module", true, adapter(shapes(Array(usual.dropLast())))),
            ("a missing module in the middle", true, adapter(shapes([usual[0], usual[2]]))),
            ("an extra module", true, adapter(shapes(usual + [("layers.2.q", 4, 8)]))),
            ("another shape", true, adapter(shapes([usual[0], ("layers.0.v", 6, 4), usual[2]]))),
            ("another rank", false, adapter(shapes(usual, rank: 4))),
            ("no config", true, remove("t7/adapter_config.json")),
            ("no weights", true, remove("t7/adapter_model.safetensors")),
            ("no folder", true, remove("t7")), ("a config that is no JSON", true, text("x", "t7/adapter_config.json")),
            ("weights that are none", true, text("x", "t7/adapter_model.safetensors")),
            ("another method", true, text(#"{"peft_type": "IA3"}"#, "t7/adapter_config.json")),
            ("a manifest that is no JSON", true, text("# tasks\n{}\n", "corpus.jsonl")),
            (
                "NaN", true,
                { scratch in
                    var values = try Synthetic.adapter(Synthetic.bits(7)).copyValues()
                    values[3] = .nan
                    try Synthetic.write(try Adapter(layout: Synthetic.layout(), values: values), to: scratch("t7"))
                }
            ),
            (
                "a path that leads outside through a link", true,
                { scratch in
                    let other = scratch.path + ".other"
                    try? FileManager.default.removeItem(atPath: other)
                    try FileManager.default.moveItem(atPath: scratch("t7"), toPath: other)
                    try FileManager.default.createSymbolicLink(atPath: scratch("t7"), withDestinationPath: other)
                }
            ),
            (
                "a path through a folder that is a link outside", true,
                { scratch in
                    let other = scratch.path + ".others"
                    try? FileManager.default.removeItem(atPath: other)
                    try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
                    try FileManager.default.moveItem(atPath: scratch("t7"), toPath: other + "/t7")
                    try FileManager.default.createSymbolicLink(atPath: scratch("away"), withDestinationPath: other)
                    try Self.line({ ["path": "away/t7"] })(scratch)
                }
            ),
            (
                "a link inside", false,
                { scratch in
                    try FileManager.default.moveItem(atPath: scratch("t7"), toPath: scratch("kept"))
                    try FileManager.default.createSymbolicLink(atPath: scratch("t7"), withDestinationPath: "kept")
                }
            ),
            (
                "an adapter listed twice through a link", true,
                { scratch in
                    try FileManager.default.removeItem(atPath: scratch("t7"))
                    try FileManager.default.createSymbolicLink(atPath: scratch("t7"), withDestinationPath: "t2")
                }
            ),
            ("an unlisted adapter", false, { try Synthetic.write(try randomAdapter(seed: 3), to: $0("more")) }),
            (
                "unlisted weights without a config", false,
                {
                    try Synthetic.write(try randomAdapter(seed: 3), to: $0("more"))
                    try Self.remove("more/adapter_config.json")($0)
                }
            ),
        ]

    static let all = spoilers.map { Spoilt(name: $0.0, isBroken: $0.1, spoil: $0.2) }

    private func corpus(_ spoilt: Spoilt) throws -> Scratch {
        let scratch = try Scratch()
        try Synthetic.folder(scratch.path, tasks: 0..<12)
        try spoilt.spoil(scratch)
        return scratch
    }

    @Test("They agree", arguments: all)
    func agreement(spoilt: Spoilt) throws {
        let scratch = try corpus(spoilt)
        defer { for end in [".other", ".others"] { try? FileManager.default.removeItem(atPath: scratch.path + end) } }
        var problems: [String] = []
        let first = Corpus.check(path: scratch.path) {
            problems.append($0.message)
            return false
        }
        #expect((first != nil) == spoilt.isBroken, "\(problems)")
        var (opened, trained): (Corpus?, Bool) = (nil, false)
        do {
            opened = try Corpus(path: scratch.path)
            try trainGenerator(
                corpus: try #require(opened), path: scratch("g"), options: tinyOptions(method: "ridge"))
            trained = true
        } catch let error as LoragenError { #expect(error.message == first?.message || opened != nil) }
        #expect(trained == !spoilt.isBroken)
        // A manifest that cannot be read at all is a failure of the doctor too.
        guard let diagnosis = try? Diagnosis(path: scratch.path) else {
            #expect(spoilt.isBroken)
            return
        }
        let errors = diagnosis.findings.filter { $0.severity == .error }
        #expect(!errors.isEmpty == spoilt.isBroken, "\(errors.map(\.message))")
        // What the check says, word for word, save that several that do not fit are one finding.
        for problem in problems where !problem.contains("does not fit") {
            #expect(errors.contains { $0.message == problem }, "\(problem)\n\(errors.map(\.message))")
        }
        let remarks = opened?.remarks.map(\.message) ?? []
        for remark in remarks { #expect(diagnosis.findings.contains { $0.message == remark }, "\(remark)") }
    }

    @Test("Without a manifest they agree too, on folders that do not fit together")
    func folders() throws {
        let scratch = try Scratch()
        for i in 0..<9 { try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch("t\(i)")) }
        for i in 0..<2 { try Synthetic.write(try randomAdapter(seed: UInt64(i), base: "other"), to: scratch("a\(i)")) }
        let diagnosis = try Diagnosis(path: scratch.path)
        let misfits = try #require(diagnosis.findings.first { $0.code == "does-not-fit" })
        // The odd ones are named, though they come first.
        #expect(misfits.severity == .error && misfits.adapters == ["a0", "a1"])
        expectFailure(.mismatch, "\(scratch("a0")) does not fit \(scratch("t0"))") {
            _ = try Corpus(path: scratch.path)
        }
    }

    @Test("A folder without PEFT folders is an error of the doctor, as it is of training")
    func files() throws {
        let scratch = try Scratch()
        for i in 0..<3 {
            try Synthetic.adapter(Synthetic.bits(i)).write(to: scratch("a\(i).safetensors"), format: .safetensors)
        }
        let finding = try #require(try Diagnosis(path: scratch.path).findings.first { $0.code == "no-corpus" })
        #expect(finding.severity == .error && finding.message.contains("loragen corpus import"))
        expectFailure(.format, "a0.safetensors") { _ = try Corpus(path: scratch.path) }
        // Beside a corpus they are said to be left out.
        for i in 0..<3 { try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch("t\(i)")) }
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(diagnosis.errorCount == 0 && diagnosis.adapterCount == 6)
        #expect(diagnosis.findings.first { $0.code == "not-in-corpus" }?.adapters.count == 3)
    }

    // MARK: Remarks

    private func remark(_ scratch: Scratch, _ code: String) throws -> Finding {
        let remarks = try Corpus(path: scratch.path).remarks
        return try #require(remarks.first { $0.code == code }, "\(remarks.map(\.code))")
    }

    private func spoilt(_ name: String) throws -> Scratch {
        try corpus(try #require(Self.all.first { $0.name == name }))
    }

    @Test("A corpus without conditions or held-out tasks says what to write, before training")
    func conditions() throws {
        let whole = try spoilt("nothing")
        #expect(try Corpus(path: whole.path).remarks.isEmpty)
        let none = try spoilt("no manifest")
        let condition = try remark(none, "no-condition")
        #expect(condition.severity == .warning)
        #expect(condition.advice.contains("loragen corpus init \(none.path)") && condition.advice.contains("\"bits\""))
        #expect(try remark(none, "nothing-held-out").advice.contains("\"split\": \"validation\""))
        #expect(try remark(spoilt("one condition"), "no-condition").message.contains("the same condition"))
        for (left, code) in [("validation", "no-test"), ("test", "no-validation")] {
            let scratch = try spoilt("nothing")
            try Self.lines { ["split": $0 == 3 ? left : "train"] }(scratch)
            #expect(try remark(scratch, code).severity == .warning)
        }
    }

    @Test("Folders that no line lists, weights without a config and a misnamed manifest are named")
    func names() throws {
        #expect(try remark(spoilt("an unlisted adapter"), "unlisted").adapters == ["more"])
        #expect(try remark(spoilt("unlisted weights without a config"), "left-out").message.contains("more"))
        // A link to what is listed is listed.
        let scratch = try spoilt("nothing")
        try FileManager.default.createSymbolicLink(atPath: scratch("again"), withDestinationPath: "t2")
        #expect(try Corpus(path: scratch.path).remarks.isEmpty)
        for name in [
            "Corpus.jsonl", "corpus.json", "manifest.jsonl", "corpus.jsonl.txt", "tasks.JSONL", "metadata.csv",
        ] {
            let scratch = try spoilt("nothing")
            try FileManager.default.moveItem(atPath: scratch("corpus.jsonl"), toPath: scratch(name))
            #expect(try remark(scratch, "misnamed-manifest").adapters == [name])
        }
        let below = try Scratch()
        try Synthetic.folder(below("inner"), tasks: 0..<4)
        #expect(try remark(below, "misnamed-manifest").adapters == ["inner"])
    }

    @Test("DoRA, which the default refuses, is said to need factors")
    func dora() throws {
        let scratch = try Scratch()
        let layout = try Layout(
            modules: [try ModuleShape(name: "q", inputs: 4, outputs: 3, rank: 1, alpha: 1, hasMagnitude: true)])
        for i in 0..<2 {
            let values = (0..<layout.valueCount).map { Float($0 + i + 1) }
            try Adapter(layout: layout, values: values).write(to: scratch("t\(i)"), format: .peft)
        }
        #expect(try remark(scratch, "needs-factors").advice.contains("space=factors"))
    }
}

@Suite("Draft of a manifest")
struct CorpusDraftTests {
    private func folder(_ names: [String]) throws -> Scratch {
        let scratch = try Scratch()
        for (i, name) in names.enumerated() {
            try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i % 32)), to: scratch(name))
        }
        return scratch
    }

    @Test("It is a corpus, with a tenth of the tasks in each held-out split, by seed")
    func splits() throws {
        let names = (0..<40).map { "task-\($0)" }
        let (first, second, third) = (try folder(names), try folder(names), try folder(names))
        try Corpus.draft(path: first.path, seed: 1)
        try Corpus.draft(path: second.path, seed: 1)
        try Corpus.draft(path: third.path, seed: 2)
        let corpus = try Corpus(path: first.path)
        #expect(Set(corpus.entries.map(\.path)) == Set(names))
        #expect(corpus.indices(of: .validation).count == 4 && corpus.indices(of: .test).count == 4)
        #expect(try contents(first("corpus.jsonl")) == contents(second("corpus.jsonl")))
        #expect(try contents(first("corpus.jsonl")) != contents(third("corpus.jsonl")))
        // Conditions are to be filled in, and their place is there.
        let text = String(decoding: try contents(first("corpus.jsonl")), as: UTF8.self)
        #expect(text.split(separator: "\n").allSatisfy { $0.contains("\"condition\":null") })
        #expect(corpus.remarks.map(\.code) == ["no-condition"])
    }

    @Test("Names that are bits become the condition")
    func bits() throws {
        let scratch = try folder((0..<8).map { Synthetic.text(Synthetic.bits($0)) })
        try Corpus.draft(path: scratch.path, seed: 0)
        let corpus = try Corpus(path: scratch.path)
        #expect(corpus.entries.allSatisfy { $0.bits == $0.path })
        #expect(corpus.remarks.isEmpty)
    }

    @Test("Checkpoints of a run share a run, seeds of a task share a task")
    func runs() throws {
        let scratch = try folder([
            "cats/seed-1/checkpoint-10", "cats/seed-1/checkpoint-20", "cats/seed-2/final", "dogs", "dogs/checkpoint-5",
        ])
        try Corpus.draft(path: scratch.path, seed: 0)
        let entries = try Corpus(path: scratch.path).entries
        #expect(entries.map(\.run) == ["cats/seed-1", "cats/seed-1", "cats/seed-2", "dogs"])
        #expect(entries.map(\.task) == ["cats", "cats", "cats", "dogs"])
    }

    @Test("A manifest that is there is never replaced, be it broken or a link to nothing")
    func never() throws {
        let scratch = try folder(["a", "b"])
        try write("mine", to: scratch("corpus.jsonl"))
        expectFailure(.io, scratch("corpus.jsonl")) { try Corpus.draft(path: scratch.path, seed: 0) }
        #expect(try contents(scratch("corpus.jsonl")) == Data("mine".utf8))
        try FileManager.default.removeItem(atPath: scratch("corpus.jsonl"))
        try FileManager.default.createSymbolicLink(atPath: scratch("corpus.jsonl"), withDestinationPath: "nowhere")
        expectFailure(.io) { try Corpus.draft(path: scratch.path, seed: 0) }
        let empty = try Scratch()
        expectFailure(.format, "adapter_config.json") { try Corpus.draft(path: empty.path, seed: 0) }
    }
}
