import Files
import Foundation
import Tensor
import Testing

@testable import Encoders

/// `Golden/text`: tiny models of each family, and what `transformers` gives for them.
struct GoldenFolder: CustomTestStringConvertible {
    let name: String
    let path: String
    let rows: [JSON]

    var testDescription: String { name }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/text")
    static let names = ["bert", "xlm-roberta", "roberta", "clip", "t5", "static"]
    static let all = names.map { try! GoldenFolder($0) }

    init(_ name: String) throws {
        self.name = name
        path = Self.root.appendingPathComponent(name).path
        rows = try JSON.read(path: path + "/expected.json").array ?? []
    }
}

private func numbers(_ json: JSON?) -> [Float] { (json?.array ?? []).map { Float($0.double ?? .nan) } }

private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
}

@Suite struct TextEncoderTests {
    @Test(arguments: GoldenFolder.all)
    func `ids, vectors and states are those of transformers`(golden: GoldenFolder) throws {
        let encoder = try TextEncoder.open(golden.path)
        #expect(golden.rows.count == 8)
        for row in golden.rows {
            let text = try #require(row["text"]?.string)
            let features = try #require(try encoder.encode([text]).first)
            #expect(features.ids == (row["ids"]?.array ?? []).map { Int32($0.integer ?? -1) }, "\(text)")
            #expect(distance(features.pooled, numbers(row["vector"])) < 1e-4, "\(text)")
            for (layer, states) in (row["states"]?.array ?? []).enumerated() {
                let ours = try #require(try encoder.encode([text], layer: layer).first).states
                let theirs = (states.array ?? []).flatMap { numbers($0) }
                #expect(distance(ours.values, theirs) < 1e-4, "\(text), layer \(layer)")
            }
        }
    }

    @Test(arguments: GoldenFolder.all)
    func `a text in a batch of unequal lengths gives what it gives alone`(golden: GoldenFolder) throws {
        let encoder = try TextEncoder.open(golden.path)
        let texts = golden.rows.compactMap { $0["text"]?.string }
        let together = try encoder.encode(texts)
        for (text, features) in zip(texts, together) {
            let alone = try #require(try encoder.encode([text]).first)
            #expect(alone.ids == features.ids)
            #expect(distance(alone.pooled, features.pooled) < 1e-5)
            #expect(distance(alone.states.values, features.states.values) < 1e-4)
        }
        #expect(try encoder.vectors([]).shape == [0, encoder.width])
    }

    @Test func `the same bytes on any number of threads, and from several at once`() throws {
        let encoder = try TextEncoder.open(try GoldenFolder("xlm-roberta").path)
        let texts = (0..<40).map { "text number \($0) " + String(repeating: "word ", count: $0) }
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = 1
        let one = try encoder.vectors(texts).values
        Threads.count = 4
        #expect(try encoder.vectors(texts).values == one)
        let group = DispatchGroup()
        nonisolated(unsafe) var equal = [Bool](repeating: false, count: 4)
        let lock = NSLock()
        for index in 0..<4 {
            DispatchQueue.global().async(group: group) {
                let same = (try? encoder.vectors(texts).values) == one
                lock.withLock { equal[index] = same }
            }
        }
        group.wait()
        #expect(equal == [true, true, true, true])
    }

    @Test func `what a folder does not say is chosen and told`() throws {
        let t5 = try TextEncoder.open(try GoldenFolder("t5").path).description()
        #expect(t5["pooling"] == "mean" && t5["pooling_stated"] == false)
        let bert = try TextEncoder.open(try GoldenFolder("bert").path).description()
        #expect(bert["pooling"] == "cls" && bert["pooling_stated"] == true && bert["normalized"] == true)
        // sentence_bert_config.json says 20; the network has 40 positions.
        #expect(bert["max_tokens"] == 20)
        #expect(bert["identity"]?.string?.count == 64)
    }

    @Test func `the identity is that of weights, tokenizer and pooling, not of the place`() throws {
        let folder = try CopiedFolder("bert")
        let first = try TextEncoder.open(folder.path).identity()
        #expect(try TextEncoder.open(try GoldenFolder("bert").path).identity() == first)
        try folder.replace("1_Pooling/config.json", with: #"{"pooling_mode_mean_tokens":true}"#)
        let second = try TextEncoder.open(folder.path).identity()
        #expect(second != first)
        try folder.change("model.safetensors") { $0[$0.count - 1] ^= 1 }
        #expect(try TextEncoder.open(folder.path).identity() != second)
    }

    @Test func `tokenizer.json's truncation does not count`() throws {
        let folder = try CopiedFolder("bert")
        let json = try String(contentsOfFile: folder.path + "/tokenizer.json", encoding: .utf8)
        try folder.replace(
            "tokenizer.json",
            with: json.replacingOccurrences(
                of: #""truncation":null"#,
                with: #""truncation":{"direction":"Right","max_length":8,"strategy":"LongestFirst","stride":0}"#))
        let encoder = try TextEncoder.open(folder.path)
        #expect(try encoder.tokens(String(repeating: "a ", count: 100)).count == 20)
    }

    @Test func `a layer that is not there is refused`() throws {
        let encoder = try TextEncoder.open(try GoldenFolder("bert").path)
        #expect(throws: LoragenError.self) { try encoder.encode(["x"], layer: 3) }
        #expect(throws: LoragenError.self) { try encoder.encode(["x"], layer: -1) }
    }
}

/// A golden folder that a test may damage.
final class CopiedFolder {
    let path: String

    init(_ name: String) throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        try FileManager.default.copyItem(atPath: try GoldenFolder(name).path, toPath: path)
    }

    func replace(_ file: String, with text: String) throws {
        try text.write(toFile: path + "/" + file, atomically: true, encoding: .utf8)
    }

    func change(_ file: String, _ body: (inout Data) -> Void) throws {
        let url = URL(fileURLWithPath: path + "/" + file)
        var data = try Data(contentsOf: url)
        body(&data)
        try data.write(to: url)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

@Suite struct DamagedEncoderTests {
    private func message(_ folder: CopiedFolder) -> String {
        do {
            _ = try TextEncoder.open(folder.path)
            return "opened"
        } catch { return "\(error)" }
    }

    @Test(arguments: GoldenFolder.names)
    func `a file that is cut off anywhere gives an error`(name: String) throws {
        for file in ["model.safetensors", "tokenizer.json", "config.json"] {
            let whole = try Data(
                contentsOf: GoldenFolder.root.appendingPathComponent("\(name)/\(file)"))
            let folder = try CopiedFolder(name)
            for part in 0..<12 {
                try folder.change(file) { $0 = whole.prefix(whole.count * part / 12) }
                let message = message(folder)
                #expect(message.contains(file), "\(name), \(file), \(part): \(message)")
            }
        }
    }

    @Test(arguments: GoldenFolder.names)
    func `bytes that are changed anywhere give an error or an encoder`(name: String) throws {
        var random = Random(seed: 11)
        for file in ["model.safetensors", "tokenizer.json", "config.json"] {
            let whole = try Data(
                contentsOf: GoldenFolder.root.appendingPathComponent("\(name)/\(file)"))
            let folder = try CopiedFolder(name)
            for _ in 0..<40 {
                try folder.change(file) { data in
                    data = whole
                    for _ in 0..<3 {
                        let most = file.hasPrefix("model") ? min(4000, whole.count) : whole.count
                        data[random.integer(below: most)] = UInt8(truncatingIfNeeded: random.integer(below: 256))
                    }
                }
                // Whatever comes of it, the process goes on.
                if let encoder = try? TextEncoder.open(folder.path) {
                    _ = try? encoder.vectors(["a photo", "ザ 1️⃣", ""])
                }
            }
        }
    }

    @Test func `the message names file, tensor and what was expected`() throws {
        let folder = try CopiedFolder("bert")
        let config = try String(contentsOfFile: folder.path + "/config.json", encoding: .utf8)
        func with(_ old: String, _ new: String) throws -> String {
            try folder.replace("config.json", with: config.replacingOccurrences(of: old, with: new))
            return message(folder)
        }
        #expect(try with(#""num_hidden_layers":2"#, #""num_hidden_layers":3"#).contains("encoder.layer.2."))
        #expect(try with(#""hidden_size":8"#, #""hidden_size":12"#).contains("config.json asks for"))
        #expect(try with(#""num_attention_heads":2"#, #""num_attention_heads":3"#).contains("does not divide"))
        #expect(try with(#""num_attention_heads":2"#, #""num_attention_heads":0"#).contains("does not divide"))
        #expect(try with(#""model_type":"bert""#, #""model_type":"llama""#).contains("\"llama\""))
        #expect(try with(#""hidden_act":"gelu""#, #""hidden_act":"mish""#).contains("\"mish\""))
        #expect(try with(#""hidden_size":8"#, #""hidden_size":-8"#).contains("expected 1 to"))
        #expect(try with(#""layer_norm_eps":1e-12"#, #""layer_norm_eps":"x""#).contains("layer_norm_eps"))
        try folder.replace("config.json", with: config)
        try folder.replace("1_Pooling/config.json", with: #"{"pooling_mode_attention":true}"#)
        #expect(message(folder).contains("1_Pooling/config.json"))
        try FileManager.default.removeItem(atPath: folder.path + "/model.safetensors")
        try Data([1]).write(to: URL(fileURLWithPath: folder.path + "/pytorch_model.bin"))
        #expect(message(folder).contains("pytorch_model.bin is not read"))
    }

    @Test func `a tokenizer of another model is refused`() throws {
        let folder = try CopiedFolder("bert")
        let other = GoldenFolder.root.appendingPathComponent("roberta/tokenizer.json")
        try FileManager.default.removeItem(atPath: folder.path + "/tokenizer.json")
        try FileManager.default.copyItem(atPath: other.path, toPath: folder.path + "/tokenizer.json")
        #expect(message(folder).contains("different models"))
    }

    @Test func `numbers that are not finite are told`() throws {
        let folder = try CopiedFolder("bert")
        try folder.change("model.safetensors") { data in
            for place in 0..<4 { data[data.count - 1 - place] = 0xff }
        }
        let encoder = try TextEncoder.open(folder.path)
        #expect(throws: LoragenError.self) { try encoder.vectors(["a photo of a cat"]) }
    }

    @Test func `a module path cannot leave the folder`() throws {
        let folder = try CopiedFolder("roberta")
        try folder.replace("modules.json", with: #"[{"path":"../x","type":"sentence_transformers.models.Pooling"}]"#)
        #expect(message(folder).contains("leads out of the folder"))
    }
}
