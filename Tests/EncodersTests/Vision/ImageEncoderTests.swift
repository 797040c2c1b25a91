import Foundation
import Tensor
import Testing

@testable import Encoders
@testable import Files

/// Small towers of every architecture and what transformers makes of a picture (Tests/golden/vision.py).
@Suite struct ImageEncoderTests {
    static let golden = GoldenPictures.folder.appendingPathComponent("vision")
    static let names = ["vit-in-parts", "dinov2-gated", "dinov2-without-a-crop", "clip", "clip-projected", "siglip"]
    private let picture: Picture

    init() throws { picture = try Picture(path: Self.golden.appendingPathComponent("picture.png").path) }

    private func folder(_ name: String) -> String { Self.golden.appendingPathComponent(name).path }

    private func distance(_ a: Tensor<Float>, _ b: [Float]) -> Float {
        a.count == b.count ? zip(a.values, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
    }

    @Test(arguments: names) func `states of every layer and the pooled vector equal transformers'`(name: String) throws
    {
        let encoder = try ImageEncoder(folder: folder(name))
        let expected = try JSONDecoder().decode(
            [String: [Float]].self, from: Data(contentsOf: URL(fileURLWithPath: folder(name) + "/expected.json")))
        for layer in [nil, 0, 1, 2] {
            let output = try encoder.encode([picture], layer: layer)[0]
            let key = layer.map { "\($0)" } ?? "last"
            #expect(distance(output.states, try #require(expected[key])) < 1e-4, "\(key)")
            #expect(distance(output.pooled, try #require(expected["pooled"])) < 1e-4)
            #expect(output.states.shape[1] == encoder.features && output.pooled.shape == [encoder.pooledFeatures])
        }
    }

    @Test func `the same bytes with one thread and with many, alone and among others`() throws {
        let encoder = try ImageEncoder(folder: folder("clip-projected"))
        let other = Picture(width: 5, height: 9, pixels: [UInt8](repeating: 7, count: 135))
        let count = Threads.count
        defer { Threads.count = count }
        Threads.count = 1
        let one = try encoder.encode([picture])[0]
        Threads.count = 3
        let many = try encoder.encode([other, picture, other])[1]
        #expect(one.states.values == many.states.values && one.pooled.values == many.pooled.values)
    }

    @Test func `the identity follows weights, sizes and preprocessing, not the file's parts`() throws {
        var seen: Set<String> = []
        for name in Self.names { seen.insert(try ImageEncoder(folder: folder(name)).identity) }
        #expect(seen.count == Self.names.count)
        let copy = try Copy(of: folder("clip"))
        let before = try ImageEncoder(folder: copy.path).identity
        #expect(before == (try ImageEncoder(folder: folder("clip")).identity))
        try copy.change("preprocessor_config.json") {
            $0.replacingOccurrences(of: "\"resample\": 3", with: "\"resample\": 2")
        }
        #expect(before != (try ImageEncoder(folder: copy.path).identity))
        let other = try Copy(of: folder("clip"))
        try other.change(bytes: "model.safetensors") { $0[$0.count - 1] ^= 1 }
        #expect(before != (try ImageEncoder(folder: other.path).identity))
    }

    @Test func `folders that are wrong or cut off say which file and what in it`() throws {
        func refused(_ words: String..., change: (Copy) throws -> Void) throws {
            let copy = try Copy(of: folder("clip-projected"))
            try change(copy)
            let error = #expect(throws: LoragenError.self) {
                try ImageEncoder(folder: copy.path).encode([picture])
            }
            for word in words { #expect(error?.message.contains(word) == true, "\(word): \(error?.message ?? "")") }
        }
        func config(_ old: String, _ new: String) -> (Copy) throws -> Void {
            { try $0.change("config.json") { $0.replacingOccurrences(of: old, with: new) } }
        }
        try refused("config.json", "No such file", change: { try $0.remove("config.json") })
        try refused("model.safetensors", change: { try $0.remove("model.safetensors") })
        try refused("preprocessor_config.json", "missing", change: { try $0.remove("preprocessor_config.json") })
        try refused(
            "model.safetensors", "cut off", change: { try $0.change(bytes: "model.safetensors") { $0.removeLast(3) } })
        try refused("config.json", "model_type", "resnet", change: config("clip_vision_model", "resnet"))
        try refused("hidden_size", change: config("\"hidden_size\": 8", "\"hidden_size\": -8"))
        try refused("hidden_size", "heads", change: config("\"num_attention_heads\": 2", "\"num_attention_heads\": 3"))
        try refused("embeddings", "shape", change: config("\"hidden_size\": 8", "\"hidden_size\": 16"))
        try refused(
            "encoder.layers.2", "missing", change: config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"))
        try refused("activation", "sine", change: config("quick_gelu", "sine"))
        try refused("num_channels", change: config("\"num_channels\": 3", "\"num_channels\": 1"))
        try refused("12 x 8", "takes 8 x 8") {
            try $0.change("preprocessor_config.json") {
                $0.replacingOccurrences(of: "\"width\": 8", with: "\"width\": 12")
            }
        }
        let encoder = try ImageEncoder(folder: folder("clip"))
        #expect(throws: LoragenError.self) { try encoder.encode([picture], layer: 3) }
        #expect(throws: LoragenError.self) { try encoder.encode([picture], layer: -1) }
    }

    /// A copy of a folder, removed at the end.
    private final class Copy {
        let path = NSTemporaryDirectory() + "/loragen-test-\(UUID().uuidString)"

        init(of folder: String) throws { try FileManager.default.copyItem(atPath: folder, toPath: path) }

        func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }

        func change(_ name: String, _ body: (String) -> String) throws {
            let text = try String(contentsOfFile: path + "/" + name, encoding: .utf8)
            let changed = body(text)
            #expect(changed != text)
            try changed.write(toFile: path + "/" + name, atomically: true, encoding: .utf8)
        }

        func change(bytes name: String, _ body: (inout Data) -> Void) throws {
            let url = URL(fileURLWithPath: path + "/" + name)
            var data = try Data(contentsOf: url)
            body(&data)
            try data.write(to: url)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }
    }
}
