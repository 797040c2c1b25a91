import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Learning

/// A folder of adapters as people hold them, made by a test.
private struct Held {
    let scratch = try! Scratch()
    var path: String { scratch("f") }

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    func text(_ text: String, _ name: String) throws {
        let folder = (("\(path)/\(name)") as NSString).deletingLastPathComponent
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try write(text, to: "\(path)/\(name)")
    }

    func json(_ value: Any, _ name: String) throws {
        let data = try JSONSerialization.data(withJSONObject: value, options: .sortedKeys)
        try text(String(decoding: data, as: UTF8.self), name)
    }

    /// A U-Net's adapter, of which kohya's metadata are kept.
    func unet(
        _ name: String, _ format: AdapterFormat = .kohya, rank: Int = 2, metadata: [String: String] = [:]
    ) throws {
        let plain = try CorpusFormatsTests.adapter(UInt64(name.utf8.count), rank: rank)
        let adapter = try Adapter(layout: plain.layout, values: Array(plain.values), metadata: metadata)
        try text("", name)
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
        try adapter.write(
            to: "\(path)/\(name)", format: format, options: WriteOptions(form: .kept, model: .stableDiffusion1))
    }

    func peft(_ name: String, base: String? = "tiny", seed: UInt64 = 0) throws {
        try Synthetic.write(try randomAdapter(seed: seed, base: base), to: "\(path)/\(name)")
    }

    func draft(_ change: (inout CorpusImport.Options) -> Void = { _ in }) throws -> CorpusImport {
        var options = CorpusImport.Options()
        change(&options)
        return try CorpusImport(path: path, options: options)
    }

    /// The lines that were written, by their path.
    func lines() throws -> [String: JSON] {
        let text = String(decoding: try contents("\(path)/corpus.jsonl"), as: UTF8.self)
        var lines: [String: JSON] = [:]
        for line in text.split(separator: "\n") {
            let json = try JSON.parse(String(line), source: "line")
            lines[json["path"]?.string ?? ""] = json
        }
        return lines
    }
}

@Suite struct CorpusImportTests {
    @Test func `what lies beside flat files becomes lines, and each field says where it is from`() throws {
        let held = try Held()
        let kohya = [
            "ss_sd_model_name": "/home/x/sdxl.safetensors", "ss_base_model_version": "sdxl_base_v1-0",
            "ss_tag_frequency": #"{"10_a": {"red": 3, "1girl": 9}, "5_b": {"red": 8}}"#,
            "ss_dataset_dirs": #"{"10_sks dog": {"n_repeats": 10}}"#,
        ]
        try held.unet("a.safetensors", metadata: kohya)
        try held.unet("b.safetensors")
        try held.json(
            [
                "baseModel": "SDXL 1.0", "trainedWords": ["bbb", "b style"], "images": [["url": "https://x/1.png"]],
                "description": "<p>Pale&nbsp;blue &amp; <b>grey</b></p>", "model": ["name": "B XL", "tags": ["style"]],
            ], "b.civitai.info")
        try held.text("x", "b.preview.PNG")
        try held.unet("c.safetensors", .diffusers)
        try held.json(["activation text": "ccc", "sd version": "SDXL", "description": ""], "c.json")
        try held.text("x", "c.webp")
        try held.text("x", "c.jpg")
        try held.unet("d.safetensors")
        try held.text("\u{feff}A d of\r\n two lines.\n", "d.txt")
        try held.json(["base_model": "SDXL 1.0", "civitai": ["trainedWords": ["ddd"]]], "d.metadata.json")
        let draft = try held.draft {
            $0.sameBase = [("sdxl.safetensors", "SDXL 1.0"), ("SDXL", "SDXL 1.0")]
        }
        #expect(draft.groups.count == 1 && draft.left.isEmpty && draft.manifest == "\(held.path)/corpus.jsonl")
        let lines = try held.lines()
        #expect(lines["a.safetensors"]?["text"] == ["sks dog", "red, 1girl"])
        #expect(lines["b.safetensors"]?["text"] == ["bbb, b style", "Pale blue & grey", "B XL", "style"])
        #expect(lines["b.safetensors"]?["images"] == ["b.preview.PNG"])
        #expect(lines["c.safetensors"]?["text"] == "ccc" && lines["c.safetensors"]?["images"] == ["c.jpg", "c.webp"])
        #expect(lines["d.safetensors"]?["text"] == ["ddd", "A d of two lines."])
        for (path, line) in lines {
            #expect(line["base_model"] == "SDXL 1.0" && line["task"]?.string == String(path.prefix(1)))
            #expect(line["split"] == "train")
        }
        // Nothing without an origin, in JSON and for people.
        for line in draft.json["lines"]?.array ?? [] {
            let fields = line["fields"]?.array ?? []
            let written = lines[line["path"]?.string ?? ""]?.object?.members ?? []
            for member in written where member.name != "path" {
                let count = member.value.array?.count ?? 1
                #expect(fields.filter { $0["field"]?.string == member.name && $0["from"] != "" }.count == count)
            }
        }
        for part in [
            "1 group", "4 adapters of SDXL 1.0, rank 2, 3 modules (to_k, to_q, to_v)", "ss_tag_frequency (1 adapter)",
            ".civitai.info: trainedWords (1 adapter)", "ss_sd_model_name, by --same-base (1 adapter)",
        ] { #expect(draft.text.contains(part), "\(part) in \(draft.text)") }
    }

    @Test func `cards, configs and a trainer's folders are read`() throws {
        let held = try Held()
        for (i, task) in ["sum", "tr"].enumerated() {
            try held.peft("\(task)", seed: UInt64(i))
            try held.peft("\(task)/checkpoint-20", seed: UInt64(10 + i))
            try held.peft("\(task)/checkpoint-100", seed: UInt64(20 + i))
            try held.text(
                """
                ---
                base_model:
                - Tiny
                description: 'What it''s for: \(task)'
                tags: ["base_model:adapter:tiny", lora, \(task)]
                model-index:
                - name: x
                  results:
                  - metrics:
                    - {type: accuracy, value: 0.5}
                    - {type: loss, value: n/a}
                ---
                # Not read: instance_prompt
                """, "\(task)/README.md")
        }
        // A run without its last adapter has the highest checkpoint, and its card is the run's.
        try held.peft("qa/checkpoint-9", seed: 30)
        try held.peft("qa/checkpoint-10", seed: 31)
        try held.text("---\r\ninstance_prompt: >-\r\n  folded\r\n  prompt\r\n---\r\n", "qa/README.md")
        try held.peft("dog/lora", seed: 32)
        try held.text("config:\n  process:\n  - trigger_word: sks dog\n", "dog/config.yaml")
        let draft = try held.draft()
        let lines = try held.lines()
        #expect(lines.keys.sorted() == ["dog/lora", "qa/checkpoint-10", "sum", "tr"])
        #expect(lines["sum"]?["text"] == ["What it's for: sum", "lora, sum"])
        #expect(lines["sum"]?["scores"] == ["accuracy": 0.5] && lines["sum"]?["base_model"] == "tiny")
        #expect(lines["qa/checkpoint-10"]?["text"] == "folded prompt" && lines["qa/checkpoint-10"]?["task"] == "qa")
        #expect(lines["dog/lora"]?["text"] == "sks dog" && lines["dog/lora"]?["task"] == "dog")
        #expect(
            draft.text.contains(
                "sum/checkpoint-100, sum/checkpoint-20: an earlier checkpoint of sum; --checkpoints keeps it"))
        #expect(draft.left.count == 5)
        let all = try held.draft {
            $0.keepsCheckpoints = true
            $0.isTrial = true
        }
        #expect(all.lines.count == 9 && Set(all.lines.map(\.adapter.name.run)).count == 4)
        #expect(Set(all.lines.map { "\($0.adapter.name.task) \($0.split)" }).count == 4)
    }

    @Test func `diffusers' cards with pictures, Replicate's folders and epochs of kohya`() throws {
        let held = try Held()
        try held.unet("cat/pytorch_lora_weights.safetensors", .diffusers)
        try held.unet("cat/checkpoint-500/pytorch_lora_weights.safetensors", .diffusers)
        try held.text("x", "cat/images/0.png")
        try held.text(
            """
            ---
            base_model: sd15
            widget:
            - text: my cat
              output: {url: images/0.png}
            - text: my cat
              output: {url: ../secret.png}
            - output: {url: /etc/passwd.png}
            - output: {url: "images/missing.png"}
            - output: {url: https://x/y.png}
            ---
            """, "cat/README.md")
        try held.text("x", "secret.png")
        try held.unet("dog/lora.safetensors")
        try held.text("base_model: sd15\ninstance_prompt: a photo of sks dog\n", "dog/config.yaml")
        for epoch in [2, 10] { try held.unet("fox-0000\(epoch < 10 ? "0" : "")\(epoch).safetensors", .diffusers) }
        try held.text("a fox", "fox.txt")
        let draft = try held.draft()
        let lines = try held.lines()
        #expect(
            lines.keys.sorted() == [
                "cat/pytorch_lora_weights.safetensors", "dog/lora.safetensors", "fox-000010.safetensors",
            ])
        let cat = lines["cat/pytorch_lora_weights.safetensors"]
        #expect(cat?["text"] == "my cat" && cat?["images"] == ["cat/images/0.png"] && cat?["task"] == "cat")
        #expect(lines["dog/lora.safetensors"]?["text"] == "a photo of sks dog")
        #expect(lines["fox-000010.safetensors"]?["text"] == "a fox")
        // It names no base model, and goes with the one that has its modules.
        #expect(lines["fox-000010.safetensors"]?["base_model"] == nil)
        #expect(draft.text.contains("1 adapter of it without a base model's name"))
    }

    @Test func `several groups are told, the largest is drafted, and another by number or rank`() throws {
        let held = try Held()
        for i in 0..<3 { try held.unet("u\(i).safetensors", .diffusers, rank: i == 2 ? 4 : 2) }
        for i in 0..<2 { try held.peft("p\(i)", seed: UInt64(i)) }
        try held.peft("q", base: "tiny-4bit", seed: 9)
        try held.text("{}", "model.safetensors")
        func paths(_ change: (inout CorpusImport.Options) -> Void) throws -> [String] {
            try held.draft {
                $0.isTrial = true
                change(&$0)
            }.lines.map(\.adapter.path)
        }
        #expect(try paths { _ in } == ["u0.safetensors", "u1.safetensors", "u2.safetensors"])
        #expect(try paths { $0.rank = 2 } == ["u0.safetensors", "u1.safetensors"])
        #expect(try paths { $0.group = 2 } == ["p0", "p1"])
        #expect(
            try paths {
                $0.sameBase = [("tiny-4bit", "tiny")]
                $0.group = 1
            } == ["p0", "p1", "q"])
        // What is no name names none.
        #expect(try paths { $0.sameBase = [("/", "x"), ("", "y")] }.count == 3)
        expectFailure(.invalidArgument, "no group 4", "3 groups") { _ = try paths { $0.group = 4 } }
        expectFailure(.invalidArgument, "rank 7") { _ = try paths { $0.rank = 7 } }
        #expect(!FileManager.default.fileExists(atPath: "\(held.path)/corpus.jsonl"))
        let draft = try held.draft { $0.group = 2 }
        for part in [
            "6 adapters in 3 groups", "3 adapters of an unnamed base model, rank 2 (2), 4 (1)",
            "--same-base \"tiny-4bit=tiny\"", "u0.safetensors, u1.safetensors, u2.safetensors: of group 1",
            "Without a text (2 of 2): p0, p1", "model.safetensors: ",
        ] { #expect(draft.text.contains(part), "\(part) in \(draft.text)") }
    }

    @Test func `a draft is a corpus: files of kohya and a folder, with a text each`() throws {
        let held = try Held()
        for i in 0..<6 {
            try held.unet("t\(i).safetensors", i % 2 == 0 ? .kohya : .diffusers)
            try held.text("task \(i)", "t\(i).txt")
        }
        _ = try held.draft { $0.seed = 1 }
        let corpus = try Corpus(path: held.path)
        #expect(corpus.entries.count == 6 && corpus.layout.modules.count == 3)
        #expect(corpus.indices(of: .validation).count == 1 && corpus.indices(of: .test).count == 1)
        #expect(try corpus.adapter(at: 1).layout.modules.count == 3)
        // The held-out tasks are those of `init` with the same seed.
        let splits = Corpus.splits(of: Set(corpus.entries.map(\.task)), seed: 1)
        for entry in corpus.entries { #expect(entry.split == splits[entry.task] ?? .train) }
    }

    @Test func `names of bits stay the condition, and what all tasks have tells nothing`() throws {
        let bits = try Held()
        for name in ["001", "010", "100"] { try bits.peft(name, seed: UInt64(name.utf8.count)) }
        _ = try bits.draft()
        #expect(try bits.lines()["010"]?["bits"] == "010")
        let words = try Held()
        for name in ["a", "b", "c"] {
            try words.peft(name)
            try words.text("---\ndescription: A LoRA.\ntags: [lora, peft, \(name)]\n---\n", "\(name)/README.md")
        }
        _ = try words.draft()
        #expect(try words.lines()["b"]?["text"] == "b")
    }

    @Test func `where files disagree on the base model it is said`() throws {
        let held = try Held()
        try held.unet("a.safetensors", metadata: ["ss_base_model_version": "sd_v1"])
        try held.json(["baseModel": "SD 1.5"], "a.civitai.info")
        let remark = try #require(try held.draft().remarks.first)
        for part in ["SD 1.5", ".civitai.info: baseModel", "ss_base_model_version", "sd_v1", "1 adapter"] {
            #expect(remark.contains(part), "\(remark)")
        }
    }

    @Test func `hashes tell names of one base model's file, and one name of several`() throws {
        let held = try Held()
        let bases = [
            ("a.ckpt", "01"), ("b.ckpt", "01"), ("model.safetensors", "02"), ("/x/model.safetensors", "03"),
        ]
        for (i, (name, hash)) in bases.enumerated() {
            try held.unet(
                "t\(i).safetensors", metadata: ["ss_sd_model_name": name, "ss_new_sd_model_hash": hash])
        }
        let remarks = try held.draft().remarks
        #expect(remarks.contains(#"base models "a.ckpt", "b.ckpt" are one file by its hash"#), "\(remarks)")
        #expect(remarks.contains { $0.contains(#""model.safetensors" is the name of 2 different files"#) })
    }

    @Test func `a draft with texts and pictures is a corpus, and says which lines lack what the others have`() throws {
        let held = try Held()
        for name in ["a", "b", "c"] {
            try held.unet("\(name).safetensors")
            try held.text("kind \(name)", "\(name).txt")
            try held.json(["trainedWords": [name]], "\(name).civitai.info")
            if name != "c" { try held.text("x", "\(name).png") }
        }
        let draft = try held.draft()
        #expect(draft.json["without_images"] == ["c.safetensors"] && draft.json["without_text"] == [])
        #expect(draft.text.contains("Without a picture (1 of 3): c.safetensors"))
        let entries = try Corpus(path: held.path).entries
        #expect(entries.map(\.texts) == ["a", "b", "c"].map { [$0, "kind \($0)"] })
        #expect(entries.map(\.images) == [["a.png"], ["b.png"], []])
    }

    @Test func `models beside a corpus of files are no unlisted adapters`() throws {
        let held = try Held()
        for name in ["a", "b"] { try held.unet("\(name).safetensors") }
        try SafetensorsBytes(
            header: ["w": ["dtype": "F32", "shape": [1], "data_offsets": [0, 4]]], data: Data(count: 4)
        ).save(to: "\(held.path)/model.safetensors")
        try held.text(#"{"path": "a.safetensors", "bits": "01"}"#, "corpus.jsonl")
        let unlisted = try Corpus(path: held.path).remarks.filter { $0.code == "unlisted" }
        #expect(unlisted.map(\.adapters) == [["b.safetensors"]])
    }

    // MARK: Hostile folders

    @Test func `sidecars that are nonsense, huge, deep or no text are told, and the adapters are drafted`() throws {
        let held = try Held()
        let spoilt: [(String, Data)] = [
            ("json", Data(#"{"a": "#.utf8)), ("civitai.info", Data(repeating: 0x5b, count: 100_000)),
            ("txt", Data([0xff, 0xfe, 0x41])), ("metadata.json", Data(repeating: 0x20, count: Sidecar.sizeLimit + 1)),
        ]
        for (i, (suffix, data)) in spoilt.enumerated() {
            try held.unet("x\(i).safetensors")
            try write(data, to: "\(held.path)/x\(i).\(suffix)")
        }
        try held.unet("y/lora.safetensors", metadata: ["ss_tag_frequency": "{]", "ss_dataset_dirs": "[1]"])
        try held.text("---\na: [1\n---\n", "y/README.md")
        try held.text("k: *a\n\t- x", "y/config.yaml")
        // Not files, or not there.
        try FileManager.default.createDirectory(
            atPath: "\(held.path)/x0.civitai.info", withIntermediateDirectories: true)
        #expect(mkfifo("\(held.path)/x0.txt", 0o600) == 0)
        try FileManager.default.createSymbolicLink(
            atPath: "\(held.path)/x0.metadata.json", withDestinationPath: "nowhere")
        let draft = try held.draft()
        #expect(draft.lines.count == 5 && draft.remarks.count >= 6, "\(draft.text)")
        for name in ["x0.json", "x1.civitai.info", "x2.txt", "x3.metadata.json", "y/README.md", "y/config.yaml"] {
            #expect(draft.remarks.contains { $0.contains(name) && $0.contains("not read") }, "\(name) \(draft.text)")
        }
        let wrong = try Held()
        try wrong.unet("a.safetensors")
        try wrong.text(
            #"{"baseModel": 7, "trainedWords": {"a": [null, 1]}, "model": [[{"name": 3}], "x"]}"#, "a.civitai.info")
        #expect(try wrong.draft().json["without_text"] == ["a.safetensors"])
    }

    @Test func `long and odd texts stay one line of the manifest`() throws {
        let held = try Held()
        try held.unet("a.safetensors")
        try held.text(
            "zero \0 tab\t\"quote\" \u{1} e\u{301} 🙂 <lora:a:1> " + String(repeating: "word ", count: 9000), "a.txt")
        let draft = try held.draft()
        let text = try #require(try held.lines()["a.safetensors"]?["text"]?.string)
        #expect(text.hasPrefix("zero tab \"quote\" e\u{301} 🙂 <lora:a:1> word word"))
        #expect(text.unicodeScalars.count <= ImportedAdapter.textLimit && text.hasSuffix(" word"))
        #expect(draft.text.contains("its first 1000 characters"))
    }

    @Test func `links out, deep folders and names that are not UTF-8 are left out with a reason`() throws {
        let held = try Held()
        try held.peft("a")
        try Synthetic.write(try randomAdapter(seed: 3), to: held.scratch("secret"))
        try FileManager.default.createSymbolicLink(
            atPath: "\(held.path)/link", withDestinationPath: held.scratch("secret"))
        try held.peft([String](repeating: "d", count: 40).joined(separator: "/"))
        let bad = Array("\(held.path)/".utf8CString.dropLast()) + [CChar(bitPattern: 0xe9), 0]
        #expect(rename("\(held.path)/a".withCString { strdup($0) }, bad) == 0)
        try held.peft("b")
        try held.unet("c.safetensors")
        let draft = try held.draft()
        #expect(draft.lines.map(\.adapter.path) == ["b"] || draft.lines.map(\.adapter.path) == ["c.safetensors"])
        #expect(draft.left.contains { $0.path == "link" && $0.why.contains("leads out") })
        #expect(draft.remarks.contains { $0.contains("\\xe9") } && draft.remarks.contains { $0.contains("too deep") })
    }

    @Test func `a manifest is never replaced, and nothing is written where there is nothing to draft`() throws {
        let held = try Held()
        expectFailure(.format, held.path, "no adapter") { _ = try held.draft() }
        try held.text("xx", "broken.safetensors")
        try held.peft("m/model")
        try FileManager.default.removeItem(atPath: "\(held.path)/m/model/adapter_model.safetensors")
        expectFailure(.format, "broken.safetensors", "2 bytes") { _ = try held.draft() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: held.path).sorted() == ["broken.safetensors", "m"])
        expectFailure(.io, "nowhere") { _ = try CorpusImport(path: held.scratch("nowhere")) }
        try held.peft("a")
        try held.text("mine", "corpus.jsonl")
        expectFailure(.io, "corpus.jsonl", "never replaced") { _ = try held.draft() }
        #expect(try contents("\(held.path)/corpus.jsonl") == Data("mine".utf8))
        #expect(try held.draft { $0.isTrial = true }.lines.count == 1)
        // The folder is an adapter itself.
        expectFailure(.format, "import the folder above it") { _ = try CorpusImport(path: "\(held.path)/a") }
    }
}
