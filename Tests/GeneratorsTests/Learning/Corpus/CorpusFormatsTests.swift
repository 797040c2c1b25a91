import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Generators
@testable import Learning

/// A corpus is of adapters in any format that is read, mixed as they come.
@Suite struct CorpusFormatsTests {
    /// Attention of a U-Net, as kohya and diffusers can both name it.
    static func adapter(_ seed: UInt64, rank: Int = 2, layout: Layout? = nil) throws -> Adapter {
        let name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1."
        let layout =
            try layout
            ?? Layout(
                modules: ["to_k", "to_q", "to_v"].map {
                    try ModuleShape(name: name + $0, inputs: 6, outputs: 8, rank: rank, alpha: Double(rank))
                })
        var random = Random(seed: seed)
        let values: Tensor<Float> = random.normal([layout.valueCount])
        return try Adapter(layout: layout, values: values.values)
    }

    private static func manifest(_ paths: [String], to scratch: Scratch) throws {
        let lines = paths.enumerated().map { i, path in
            ["path": path, "task": "t\(i)", "split": i == 0 ? "validation" : "train", "bits": "0\(i % 2)"]
        }
        try write(try Synthetic.manifest(lines), to: scratch("c/corpus.jsonl"))
    }

    private static func save(_ adapter: Adapter, _ format: AdapterFormat, to path: String, base: String? = nil) throws {
        var options = WriteOptions(form: .kept, model: .stableDiffusion1)
        options.base = base
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try adapter.write(to: path, format: format, options: options)
    }

    private static let files: [(String, AdapterFormat)] = [
        ("kohya.safetensors", .kohya), ("deep/diffusers.safetensors", .diffusers),
        ("own.safetensors", .safetensors), ("numpy.npz", .npz),
    ]

    @Test func `kohya, diffusers, safetensors and npz are one corpus, whole and in parts`() throws {
        let scratch = try Scratch()
        for (i, (name, format)) in Self.files.enumerated() {
            try Self.save(try Self.adapter(UInt64(i)), format, to: scratch("c/\(name)"))
        }
        try Self.manifest(Self.files.map(\.0), to: scratch)
        let corpus = try Corpus(path: scratch("c"))
        #expect(corpus.entries.map(\.path) == Self.files.map(\.0) && !corpus.isRecut)
        let modules = CorpusModules(corpus, Array(Self.files.indices), keeps: false)
        for i in Self.files.indices {
            let expected = products(try Self.adapter(UInt64(i)))
            #expect(relativeError(products(try corpus.adapter(at: i)), expected) < 1e-6)
            let parts = try (0..<3).flatMap { product(try modules.module($0, of: i), 0).values }
            #expect(relativeError(parts, expected) < 1e-6)
        }
        // Unpacked, they are folders, which carry no suffix.
        try corpus.unpack(to: scratch("u"))
        let unpacked = try Corpus(path: scratch("u"))
        #expect(unpacked.entries.map(\.path) == ["kohya", "deep/diffusers", "own", "numpy"])
        #expect(try unpacked.adapter(at: 1).copyValues() == corpus.adapter(at: 1).copyValues())
    }

    @Test func `values of kohya's and diffusers' files stay in the file`() throws {
        let scratch = try Scratch()
        for (i, (name, format)) in Self.files.enumerated() {
            try Self.save(try Self.adapter(UInt64(i)), format, to: scratch("c/\(name)"))
            let held = try Adapter.reader(path: scratch("c/\(name)")).heldValues
            #expect(held == (format == .npz ? 3 * 2 * (6 + 8) : 0), "\(name)")
        }
    }

    @Test func `more adapters than may be open, or held, are read again`() throws {
        let scratch = try Scratch()
        let files = (0..<9).map { ("t\($0)", $0 % 2 == 0 ? AdapterFormat.kohya : .npz) }
        for (i, (name, format)) in files.enumerated() {
            try Self.save(try Self.adapter(UInt64(i)), format, to: scratch("c/\(name)\(format.suffix)"))
        }
        try Self.manifest(files.map { $0.0 + $0.1.suffix }, to: scratch)
        let corpus = try Corpus(path: scratch("c"))
        let expected = try (0..<9).map { products(try Self.adapter(UInt64($0))) }
        // One adapter in memory is 84 numbers; those that stay in their file count as none.
        for (open, held, most) in [(3, 1000, 3), (9, 170, 7), (9, 0, 6), (1, 0, 1)] {
            let modules = CorpusModules(corpus, Array(0..<9), keeps: false)
            (modules.openLimit, modules.heldLimit) = (open, held)
            for module in 0..<3 {
                for row in Array(0..<9) + [0, 8, 3] {
                    let values = product(try modules.module(module, of: row), 0).values
                    #expect(relativeError(values, Array(expected[row][module * 48..<(module + 1) * 48])) < 1e-6)
                    #expect(modules.openCount <= most)
                }
            }
        }
    }

    @Test func `a GGUF adapter stands beside PEFT folders`() throws {
        let scratch = try Scratch()
        let layout = try Layout(
            modules: ["q_proj", "v_proj"].map {
                try ModuleShape(name: "model.layers.0.self_attn.\($0)", inputs: 8, outputs: 8, rank: 2, alpha: 2)
            })
        let adapters = try (0..<3).map { try Self.adapter(UInt64($0), layout: layout) }
        try Self.save(adapters[0], .peft, to: scratch("c/a"))
        try Self.save(adapters[1], .gguf, to: scratch("c/b.gguf"), base: "architecture=qwen2,heads=2")
        try Self.save(adapters[2], .peft, to: scratch("c/d"))
        try Self.manifest(["a", "b.gguf", "d"], to: scratch)
        let corpus = try Corpus(path: scratch("c"))
        for i in 0..<3 { #expect(relativeError(products(try corpus.adapter(at: i)), products(adapters[i])) < 1e-6) }
    }

    // MARK: Refusals

    @Test func `one layout is enforced whatever the format, and errors name file and tensor`() throws {
        func corpus(_ spoil: (Scratch) throws -> Void) throws -> Scratch {
            let scratch = try Scratch()
            for i in 0..<3 { try Self.save(try Self.adapter(UInt64(i)), .kohya, to: scratch("c/t\(i).safetensors")) }
            try spoil(scratch)
            try Self.manifest((0..<3).map { "t\($0).safetensors" }, to: scratch)
            return scratch
        }
        var layout = try Self.adapter(0).layout
        layout = try layout.holding(Array(layout.modules.dropLast()))
        let smaller = try corpus {
            try Self.save(try Self.adapter(9, layout: layout), .diffusers, to: $0("c/t1.safetensors"))
        }
        expectFailure(.mismatch, "\(smaller("c"))/t1.safetensors does not fit", "attn1.to_v") {
            _ = try Corpus(path: smaller("c"))
        }
        let broken = try corpus { scratch in
            var file = try contents(scratch("c/t2.safetensors"))
            file.replaceSubrange(file.count - 4..<file.count, with: [0, 0, 0xc0, 0x7f])
            try write(file, to: scratch("c/t2.safetensors"))
        }
        expectFailure(.nonFinite, "line 3", "\(broken("c"))/t2.safetensors", "attn1.to_") {
            _ = try Corpus(path: broken("c"))
        }
        let model = try corpus { try write("not an adapter", to: $0("c/t0.safetensors")) }
        expectFailure(.format, "line 1", "\(model("c"))/t0.safetensors") { _ = try Corpus(path: model("c")) }
        let outside = try corpus { scratch in
            try Self.save(try Self.adapter(1), .kohya, to: scratch("secret.safetensors"))
            try FileManager.default.removeItem(atPath: scratch("c/t1.safetensors"))
            try FileManager.default.createSymbolicLink(
                atPath: scratch("c/t1.safetensors"), withDestinationPath: scratch("secret.safetensors"))
        }
        expectFailure(.format, "leaves the corpus") { _ = try Corpus(path: outside("c")) }
    }
}
