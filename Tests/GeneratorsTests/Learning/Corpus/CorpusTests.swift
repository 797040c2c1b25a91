import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Generators
@testable import Learning
@testable import Reports

/// A corpus of four adapters whose manifest and files a test spoils.
private struct Small {
    let scratch: Scratch
    var path: String { scratch("c") }
    var manifest: String { path + "/corpus.jsonl" }

    init(_ lines: [[String: Any]]? = nil) throws {
        scratch = try Scratch()
        try Synthetic.folder(path, tasks: 0..<4, lines: lines)
    }

    /// With one line of the manifest replaced.
    init(changing line: Int, to text: String) throws {
        try self.init()
        var lines = String(decoding: try contents(manifest), as: UTF8.self).split(separator: "\n").map(String.init)
        lines[line - 1] = text
        try write(lines.joined(separator: "\n"), to: manifest)
    }

    func problems() -> [LoragenError] {
        var found: [LoragenError] = []
        _ = Corpus.check(path: path) {
            found.append($0)
            return false
        }
        return found
    }
}

@Suite struct CorpusTests {
    @Test func `a folder with a manifest is read`() throws {
        let small = try Small()
        let corpus = try Corpus(path: small.path)
        #expect(corpus.entries.map(\.path) == ["t0", "t1", "t2", "t3"])
        #expect(corpus.entries.map(\.split) == [.train, .train, .train, .validation])
        #expect(corpus.entries[3].numbers == [1, 1, 0, 0, 0])
        #expect(corpus.entries[3].bits == "11000")
        #expect(!corpus.isRecut)
        for i in 0..<4 {
            #expect(try corpus.adapter(at: i).copyValues() == Synthetic.adapter(Synthetic.bits(i)).copyValues())
        }
        #expect(corpus.indices(of: .validation) == [3])
        expectFailure(.invalidArgument, "4 adapters") { _ = try corpus.adapter(at: 4) }
        expectFailure(.invalidArgument) { _ = try corpus.adapter(at: -1) }
    }

    @Test func `a folder without a manifest has its sub-folders as tasks`() throws {
        let small = try Small()
        try FileManager.default.removeItem(atPath: small.manifest)
        try FileManager.default.createDirectory(atPath: small.path + "/notes", withIntermediateDirectories: true)
        try write("x", to: small.path + "/README")
        let corpus = try Corpus(path: small.path)
        #expect(corpus.entries.map(\.task) == ["t0", "t1", "t2", "t3"])
        #expect(corpus.entries.allSatisfy { $0.numbers == nil && $0.split == .train })
    }

    @Test("a manifest is read with any line ends, blank lines and no last one", arguments: ["\n", "\r\n"])
    func lineEnds(end: String) throws {
        let small = try Small()
        let text = String(decoding: try contents(small.manifest), as: UTF8.self)
        let lines = text.split(separator: "\n").joined(separator: end + "  \t" + end)
        try write(lines, to: small.manifest)
        #expect(try Corpus(path: small.path).entries.count == 4)
    }

    @Test func `everything that a line may say is kept`() throws {
        var line = Synthetic.line(
            1,
            [
                "run": "r7", "text": "is it a 1?", "split": "test", "condition": [0.5, -2],
                "scores": ["accuracy": 0.97],
            ])
        line["bits"] = nil
        let small = try Small([line])
        let entry = try Corpus(path: small.path).entries[0]
        #expect(entry.run == "r7" && entry.text == "is it a 1?" && entry.split == .test)
        #expect(entry.numbers == [0.5, -2] && entry.bits == nil && entry.scores == ["accuracy": 0.97])
    }

    @Test func `adapters of different ranks are re-cut to the largest, by canonical form`() throws {
        let small = try Small()
        let wide = try Synthetic.adapter(Synthetic.bits(2), rank: 4)
        try Synthetic.write(wide, to: small.path + "/t2")
        let corpus = try Corpus(path: small.path)
        #expect(corpus.isRecut)
        #expect(corpus.layout.modules.allSatisfy { $0.rank == 4 && $0.scale == 1 })
        for i in 0..<4 {
            let adapter = try corpus.adapter(at: i)
            #expect(adapter.layout == corpus.layout)
            let expected = i == 2 ? wide : try Synthetic.adapter(Synthetic.bits(i))
            #expect(relativeError(products(adapter), products(expected)) < 1e-5)
        }
    }

    // MARK: Refusals

    @Test func `lines whose conditions have parts of other names are refused, and their order does not matter`() throws
    {
        let scratch = try Scratch()
        func line(_ task: Int, _ parts: [String: Any], _ split: String = "train") -> [String: Any] {
            ["path": "t\(task)", "task": "t\(task)", "split": split, "conditions": parts]
        }
        let (a, b) = (["bits": "01"], ["vector": [0.5, 1]] as [String: Any])
        try Synthetic.folder(
            scratch("c"), tasks: 0..<2, lines: [line(0, ["a": a, "b": b]), line(1, ["b": b, "a": a])])
        let corpus = try Corpus(path: scratch("c"))
        #expect(corpus.entries.map(\.numbers) == [[0, 1, 0.5, 1], [0, 1, 0.5, 1]])
        // A single part of another name, held out: training would take it for the one that it knows.
        try Synthetic.folder(
            scratch("d"), tasks: 0..<2, lines: [line(0, ["style": a]), line(1, ["subject": a], "validation")])
        expectFailure(.mismatch, "2 bits for \"subject\"") { _ = try Corpus(path: scratch("d")) }
    }

    @Test(
        "a bad line is refused with file, line and field",
        arguments: [
            (#"{"path": "t1", "colour": "red"}"#, #"unknown field "colour""#),
            (#"{"task": "x"}"#, #"field "path" is missing"#),
            (#"{"path": ""}"#, #"field "path""#),
            (#"{"path": 7}"#, #"field "path": expected a text, found the number 7"#),
            (#"{"path": "../t1"}"#, #"field "path": "../t1" leaves the corpus"#),
            (#"{"path": "a/../../t1"}"#, "leaves the corpus"),
            (#"{"path": "/etc"}"#, "leaves the corpus"),
            (#"{"path": "t1\u0000x"}"#, #"field "path": it has a zero byte"#),
            (#"{"path": "t1", "split": "dev"}"#, #"field "split": "dev""#),
            (#"{"path": "t1", "bits": "01x01"}"#, #"field "bits": "01x01""#),
            (#"{"path": "t1", "bits": "10000", "condition": [1]}"#, #""bits" and "condition" are both given"#),
            (#"{"path": "t1", "condition": []}"#, #"field "condition""#),
            (#"{"path": "t1", "condition": [1, "2"]}"#, #"field "condition", element 1"#),
            (#"{"path": "t1", "condition": [1, 1e60]}"#, #"field "condition", element 1"#),
            (#"{"path": "t1", "scores": 3}"#, #"field "scores""#),
            (#"{"path": "t1", "scores": {"a": "b"}}"#, #"field "scores.a""#),
            (#"["t1"]"#, "expected a JSON object"),
            (#"{"path": "t1""#, "byte"),
            (#"{"path": "t1"} x"#, "byte 15"),
            (#"{"path": "t1", "path": "t2"}"#, "path"),
            ("nonsense", "byte 0"),
        ])
    func lines(text: String, part: String) throws {
        let small = try Small(changing: 2, to: text)
        expectFailure(.format, "\(small.manifest), line 2", part) { _ = try Corpus(path: small.path) }
    }

    @Test(
        "what no single line shows is refused with file, line and field",
        arguments: [
            (["bits": "0000"], "bits"), (["bits": NSNull(), "condition": [1, 0, 0, 0, 0]], "condition"),
            (["bits": NSNull()], "condition"), (["task": "t0", "split": "test"], "split"),
            (["run": "r", "split": "validation"], "split"), (["path": "./t0/"], "path"), (["path": "t0"], "path"),
        ] as [([String: any Sendable], String)])
    func disagreements(changes: [String: any Sendable], field: String) throws {
        let lines = [Synthetic.line(0, ["run": "r"]), Synthetic.line(1, changes), Synthetic.line(2)]
        let small = try Small(lines)
        let error = failure { _ = try Corpus(path: small.path) }
        #expect([.format, .mismatch].contains(error.code))
        #expect(error.message.contains("\(small.manifest), line 2, field \"\(field)\""), "\(error.message)")
    }

    @Test func `an adapter that is not there is refused with line, field and path`() throws {
        let small = try Small(changing: 3, to: #"{"path": "nowhere", "bits": "00000"}"#)
        expectFailure(.io, "\(small.manifest), line 3, field \"path\"", "\(small.path)/nowhere") {
            _ = try Corpus(path: small.path)
        }
    }

    @Test func `an adapter of another base, also when the first names none, is refused`() throws {
        for (first, second, third) in [("tiny", "tiny", "huge"), (nil, "tiny", "huge")] as [(String?, String, String)] {
            let small = try Small()
            for (i, base) in [first, second, third].enumerated() {
                try Synthetic.write(try randomAdapter(seed: UInt64(i), base: base), to: "\(small.path)/t\(i)")
            }
            expectFailure(.mismatch, "\(small.path)/t2", "huge", "tiny") { _ = try Corpus(path: small.path) }
        }
    }

    @Test("One base model under several names: the surely equal are, others are declared", arguments: [true, false])
    func baseNames(declared: Bool) throws {
        let names = [
            "", "Meta-Llama/Llama-3.1-8B", "meta-llama/llama-3.1-8b/",
            "/root/.cache/huggingface/hub/models--meta-llama--Llama-3.1-8B/snapshots/d04e",
            "unsloth/meta-llama-3.1-8b-bnb-4bit",
        ]
        let lines = names.indices.map { i -> [String: Any] in
            Synthetic.line(i, declared && i == 4 ? ["base_model": "meta-llama/Llama-3.1-8B"] : [:])
        }
        let scratch = try Scratch()
        for (i, name) in names.enumerated() {
            try Synthetic.write(try randomAdapter(seed: UInt64(i), base: name), to: scratch("c/t\(i)"))
        }
        try write(try Synthetic.manifest(lines), to: scratch("c/corpus.jsonl"))
        let diagnosis = try Diagnosis(path: scratch("c"))
        if declared {
            #expect(try Corpus(path: scratch("c")).layout.baseModel == names[1])
            #expect(diagnosis.charts.count == 1)
        } else {
            expectFailure(.mismatch, "t4", "bnb-4bit", "\"base_model\"") { _ = try Corpus(path: scratch("c")) }
            #expect(diagnosis.charts.count == 2)
        }
    }

    @Test("The task type that all adapters name comes out of the generator, and one that they differ in does not")
    func taskType() throws {
        for (types, expected) in [
            (["CAUSAL_LM", nil], "CAUSAL_LM"), (["CAUSAL_LM", "SEQ_CLS"], nil), ([nil, nil], nil),
        ] {
            let scratch = try Scratch()
            for i in 0..<4 {
                try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch("c/t\(i)"))
                guard let type = types[i % 2] else { continue }
                let path = scratch("c/t\(i)/adapter_config.json")
                var config = try #require(try JSON.read(path: path).object)
                config["task_type"] = .string(type)
                try write(try JSON.object(config).text(), to: path)
            }
            let corpus = try Corpus(path: scratch("c"))
            #expect(corpus.layout.taskType == expected)
            try trainGenerator(corpus: corpus, path: scratch("g"), options: tinyOptions(method: "mean"))
            let adapter = try #require(try Generator(path: scratch("g")).generate(GenerationRequest()).first)
            try adapter.write(to: scratch("out"), format: .peft)
            #expect(try JSON.read(path: scratch("out/adapter_config.json"))["task_type"]?.string == expected)
        }
    }

    @Test func `an adapter without a module, or with one of another shape, is refused`() throws {
        for shapes in [
            [("layers.0.q", 6, 8), ("layers.0.v", 6, 5)],
            [("layers.0.q", 6, 8), ("layers.0.v", 6, 4), ("layers.1.q", 4, 8)],
        ] {
            let small = try Small()
            let layout = try Layout(
                modules: shapes.map { try ModuleShape(name: $0, inputs: $1, outputs: $2, rank: 2, alpha: 3) },
                baseModel: "tiny")
            let other = try Adapter(layout: layout, values: [Float](repeating: 1, count: layout.valueCount))
            try Synthetic.write(other, to: small.path + "/t2")
            expectFailure(.mismatch, "\(small.path)/t2", "modul") { _ = try Corpus(path: small.path) }
        }
    }

    @Test("NaN and infinity are refused with file, tensor and element", arguments: [Float.nan, .infinity])
    func notFinite(value: Float) throws {
        let small = try Small()
        var values = try Synthetic.adapter(Synthetic.bits(2)).copyValues()
        values[14] = value
        try Synthetic.write(try Adapter(layout: Synthetic.layout(), values: values), to: small.path + "/t2")
        expectFailure(.nonFinite, "line 3", "\(small.path)/t2", "lora_B", "element 2") {
            _ = try Corpus(path: small.path)
        }
    }

    @Test func `empty and unreadable manifests are refused`() throws {
        let small = try Small()
        try write("\n  \n", to: small.manifest)
        expectFailure(.format, small.manifest, "no adapter") { _ = try Corpus(path: small.path) }
        try write(Data([0x7b, 0xff, 0xfe, 0x7d]), to: small.manifest)
        expectFailure(.format, small.manifest, "UTF-8") { _ = try Corpus(path: small.path) }
    }

    @Test func `paths that are no corpus are refused`() throws {
        let scratch = try Scratch()
        expectFailure(.format, scratch.path, "corpus.jsonl") { _ = try Corpus(path: scratch.path) }
        expectFailure(.io, scratch("none")) { _ = try Corpus(path: scratch("none")) }
        expectFailure(.io) { _ = try Corpus(path: "") }
        try write("hello", to: scratch("text"))
        expectFailure(.format, scratch("text")) { _ = try Corpus(path: scratch("text")) }
    }

    @Test func `check hands out every problem, not only the first`() throws {
        let small = try Small([
            Synthetic.line(0), ["path": "t1", "colour": 1], Synthetic.line(2, ["path": "gone"]),
            Synthetic.line(3, ["split": "nowhere"]), Synthetic.line(0),
        ])
        let problems = small.problems().map(\.message)
        #expect(problems.count == 4)
        for (line, part) in [(2, "colour"), (4, "nowhere"), (5, "listed before"), (3, "gone")] {
            #expect(problems.contains { $0.contains("line \(line)") && $0.contains(part) }, "\(problems)")
        }
    }

    @Test func `check of a sound corpus hands out nothing`() throws {
        #expect(try Small().problems().isEmpty)
    }

    @Test func `an adapter that changes its shape after the corpus was opened is refused`() throws {
        let small = try Small()
        let corpus = try Corpus(path: small.path)
        try Synthetic.write(try randomAdapter(seed: 1, rank: 3), to: small.path + "/t2")
        expectFailure(.mismatch, "\(small.path)/t2", "rank 3") { _ = try corpus.adapter(at: 2) }
        try FileManager.default.removeItem(atPath: small.path + "/t1")
        expectFailure(.io, "\(small.path)/t1") { _ = try corpus.adapter(at: 1) }
    }
}

@Suite struct CorpusUnpackTests {
    @Test func `an unpacked corpus is the same corpus`() throws {
        var line = Synthetic.line(1, ["path": "deep/er/t1", "text": "a \"task\"", "scores": ["x": 0.5]])
        line["run"] = "r"
        let small = try Small([Synthetic.line(0), line, Synthetic.line(3)])
        try Synthetic.write(try Synthetic.adapter(Synthetic.bits(1)), to: small.path + "/deep/er/t1")
        let corpus = try Corpus(path: small.path)
        try corpus.unpack(to: small.scratch("copy"))
        let copy = try Corpus(path: small.scratch("copy"))
        #expect(copy.entries == corpus.entries)
        #expect(copy.layout == corpus.layout)
        for i in corpus.entries.indices {
            #expect(try copy.adapter(at: i).copyValues() == corpus.adapter(at: i).copyValues())
        }
    }

    @Test func `nothing is left when it fails on the way`() throws {
        let small = try Small()
        let corpus = try Corpus(path: small.path)
        try FileManager.default.removeItem(atPath: small.path + "/t2")
        expectFailure(.io, "t2") { try corpus.unpack(to: small.scratch("copy")) }
        #expect(small.scratch.names == ["c"])
    }

    @Test func `a folder that exists stays as it is`() throws {
        let small = try Small()
        try FileManager.default.createDirectory(atPath: small.scratch("copy"), withIntermediateDirectories: true)
        try write("mine", to: small.scratch("copy/file"))
        expectFailure(.io, small.scratch("copy")) { try Corpus(path: small.path).unpack(to: small.scratch("copy")) }
        #expect(try contents(small.scratch("copy/file")) == Data("mine".utf8))
    }
}

@Suite struct PackedCorpusTests {
    /// Two adapters of one module, a byte a number.
    private static func bytes() throws -> SafetensorsBytes {
        var header: [String: Any] = [:]
        var data = Data()
        func add(_ name: String, _ type: String, _ shape: [Int], _ bytes: Data) {
            header[name] = ["dtype": type, "shape": shape, "data_offsets": [data.count, data.count + bytes.count]]
            data += bytes
        }
        func floats(_ values: [Float]) -> Data { values.withUnsafeBytes { Data($0) } }
        for (key, shape) in [("lora_A", [1, 4]), ("lora_B", [4, 1])] {
            let name = "base_model.model.layer.q.\(key).weight"
            add(name + ".scale", "F32", shape, floats([0.5, 1, 2, 4]))
            add(name + ".mean", "F32", shape, floats([1, 0, -1, 0]))
        }
        for (key, shape, codes) in [
            ("lora_A", [2, 1, 4], [1, 2, 3, 4, -128, 127, 0, -1]), ("lora_B", [2, 4, 1], [9, 8, 7, 6, 5, 4, 3, 2]),
        ] as [(String, [Int], [Int8])] {
            add("base_model.model.layer.q.\(key).weight", "I8", shape, codes.withUnsafeBytes { Data($0) })
        }
        header["__metadata__"] = [
            "format": "loragen.corpus", "version": "1",
            "manifest": #"{"path": "a", "bits": "01"}"# + "\n" + #"{"path": "b", "bits": "10", "split": "test"}"#,
            "adapter_config": #"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q"]}"#,
        ]
        return SafetensorsBytes(header: header, data: data)
    }

    @Test func `a packed corpus is mean plus scale times code`() throws {
        let scratch = try Scratch()
        try Self.bytes().save(to: scratch("c"))
        let corpus = try Corpus(path: scratch("c"))
        #expect(corpus.entries.map(\.path) == ["a", "b"])
        #expect(try corpus.adapter(at: 1).copyValues() == [1 - 64, 127, -1, -4, 1 + 2.5, 4, -1 + 6, 8])
        #expect(corpus.layout.modules[0].scale == 2)
    }

    @Test func `another version is .version`() throws {
        let scratch = try Scratch()
        var bytes = try Self.bytes()
        bytes.metadata["version"] = "2"
        try bytes.save(to: scratch("c"))
        expectFailure(.version, scratch("c"), "version 2") { _ = try Corpus(path: scratch("c")) }
    }

    @Test(
        "what is missing or does not fit is .format",
        arguments: [
            "format", "version", "manifest", "adapter_config", "lines", "type", "scale", "config",
        ])
    func spoilt(what: String) throws {
        let scratch = try Scratch()
        var bytes = try Self.bytes()
        let b = "base_model.model.layer.q.lora_B.weight"
        switch what {
        case "lines": bytes.metadata["manifest"] = #"{"path": "a", "bits": "01"}"#
        case "type": bytes.header[b] = (bytes.header[b] as? [String: Any])?.merging(["dtype": "U8"]) { $1 }
        case "scale":
            bytes.header[b + ".scales"] = bytes.header[b + ".scale"]
            bytes.header[b + ".scale"] = nil
        case "config": bytes.metadata["adapter_config"] = "[]"
        default: bytes.metadata[what] = nil
        }
        try bytes.save(to: scratch("c"))
        let error = failure { _ = try Corpus(path: scratch("c")) }
        #expect(error.code == .format, "\(error.code) \(error.message)")
        #expect(error.message.hasPrefix(scratch("c")))
    }

    @Test func `NaN in a scale is refused with the adapter's name, also behind a bad line`() throws {
        let scratch = try Scratch()
        var bytes = try Self.bytes()
        bytes.fill("base_model.model.layer.q.lora_A.weight.mean") { $0 == 1 ? .nan : 0 }
        try bytes.save(to: scratch("c"))
        expectFailure(.nonFinite, "\"a\"", "element 1") { _ = try Corpus(path: scratch("c")) }
    }

    @Test("a packed corpus cut off anywhere is refused", arguments: 0..<16)
    func truncated(part: Int) throws {
        let scratch = try Scratch()
        try Self.bytes().save(to: scratch("whole"))
        let whole = try contents(scratch("whole"))
        try write(whole.prefix(whole.count * part / 16), to: scratch("c"))
        expectFailure(.format, scratch("c")) { _ = try Corpus(path: scratch("c")) }
    }
}
