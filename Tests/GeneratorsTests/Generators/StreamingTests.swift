import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Generators
@testable import Learning
@testable import Methods

@Suite struct StreamingTests {
    /// Too little for the corpus to stay in memory, enough for what is trained.
    private static let tight: UInt64 = 250_000

    @Test(
        "a corpus that is read in batches trains the same weights",
        arguments: [
            #""space": "factors", "factors": "raw", "normaliser": "per-element""#,
            #""space": "factors", "factors": "raw", "normaliser": "per-tensor""#,
            #""space": "factors", "factors": "canonical", "normaliser": "global""#,
            #""space": "factors", "factors": "aligned", "normaliser": "constant""#,
            #""space": "product", "normaliser": "per-element""#,
        ])
    func sameWeights(settings: String) throws {
        let scratch = try Scratch()
        for (name, limit) in [("kept", 0), ("read", Self.tight)] {
            var options = tinyOptions(method: "mlp")
            options.settings = #"{"width": 8, "layers": 1, "steps": 40, "batch": 7, \#(settings)}"#
            options.memoryLimit = limit
            try trainGenerator(
                corpus: Synthetic.shared.get().corpus, path: scratch(name), options: options, progress: nil)
        }
        let kept = try Generator(path: scratch("kept"))
        let read = try Generator(path: scratch("read"))
        #expect(kept.hash == read.hash)
        // Skills come from streams in either case; regressions need all vectors and are left out of the second.
        func skill(_ generator: Generator, _ name: String) throws -> Double? {
            try JSON.parse(generator.report, source: "report")["validation"]?["skill"]?[name]?.double
        }
        for name in ["generator", "mean", "nearest", "noisy-copy", "pca-gaussian"] {
            let found = try #require(try skill(kept, name), "\(name)")
            #expect(try found == skill(read, name), "\(name)")
        }
        #expect(try skill(kept, "ridge") != nil && skill(read, "ridge") == nil)
    }

    @Test func `the limit decides whether a corpus stays in memory`() throws {
        let corpus = try Synthetic.shared.get().corpus
        let settings = try methods("mlp").settings(preset: "default")
        for (limit, keeps) in [(UInt64(0), true), (1 << 30, true), (Self.tight, false)] {
            let problem = try Problem(corpus, settings, streams: true, seed: 1, memoryLimit: limit)
            #expect(problem.data.rows is TensorRows == keeps)
        }
    }

    @Test(
        "a sample that is written while it is made has the bytes of one that was in memory",
        arguments: ["cond-pdiff", "ridge", "nearest"])
    func sameFiles(method: String) throws {
        let generator = try Generator(path: Trained.path(method))
        let scratch = try Scratch()
        let ask = request(bits: "10110") { ($0.seed, $0.samples) = (5, 2) }
        let adapters = try generator.generate(ask)
        for (sample, adapter) in adapters.enumerated() {
            for (i, options) in [
                WriteOptions(), WriteOptions(type: .bf16), WriteOptions(type: .f16, form: .kept),
            ].enumerated() {
                let (memory, stream) = (scratch("memory\(sample)\(i)"), scratch("stream\(sample)\(i)"))
                try adapter.write(to: memory, format: .peft, options: options)
                try generator.write(
                    ask, sample: sample, to: stream, format: .peft, options: options, memoryLimit: 8 << 20)
                for file in ["adapter_config.json", "adapter_model.safetensors"] {
                    #expect(try contents("\(memory)/\(file)") == contents("\(stream)/\(file)"), "\(file) \(options)")
                }
                try adapter.write(to: memory + ".safetensors", format: .safetensors, options: options)
                try generator.write(
                    ask, sample: sample, to: stream + ".safetensors", format: .safetensors, options: options)
                #expect(try contents(memory + ".safetensors") == contents(stream + ".safetensors"))
                #expect(try Adapter.read(path: stream).copyValues() == Adapter.read(path: memory).copyValues())
            }
        }
    }

    @Test func `ranks that differ are padded as in memory`() throws {
        let shapes = [("layers.0.q", 6, 8, 2), ("layers.0.v", 6, 5, 3), ("layers.1.q", 4, 8, 1)]
        let layout = try Layout(
            modules: shapes.map { try ModuleShape(name: $0, inputs: $1, outputs: $2, rank: $3, alpha: 3) })
        var random = Random(seed: 1)
        let values: Tensor<Float> = random.normal([layout.valueCount])
        let adapter = try Adapter(layout: layout, values: values.values, metadata: ["x": "y"])
        let scratch = try Scratch()
        try adapter.write(to: scratch("memory"), format: .peft)
        var next = 0
        try AdapterStream(layout: layout).write(to: scratch("stream"), format: .peft) {
            adapter.metadata
        } modules: { () throws(LoragenError) in
            defer { next += 1 }
            return try adapter.module(next)
        }
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            #expect(try contents("\(scratch("memory"))/\(file)") == contents("\(scratch("stream"))/\(file)"))
        }
    }

    @Test func `what cannot be streamed, does not fit or is cancelled leaves nothing`() throws {
        let generator = try Generator(path: Trained.path())
        let scratch = try Scratch()
        let ask = request(bits: "10110")
        expectFailure(.memory, "limit", "MiB") {
            try generator.write(ask, to: scratch("a"), format: .peft, memoryLimit: 1000)
        }
        expectFailure(.unsupported, "onnx") {
            try generator.write(ask, to: scratch("a"), format: .onnx, memoryLimit: 64 << 20)
        }
        expectFailure(.unsupported, "portable") {
            try generator.write(
                ask, to: scratch("a"), format: .peft, options: WriteOptions(form: .portable), memoryLimit: 64 << 20)
        }
        for format in [AdapterFormat.peft, .safetensors] {
            expectFailure(.cancelled) { try generator.write(ask, to: scratch("a"), format: format) { _ in true } }
        }
        expectFailure(.invalidArgument, "sample") {
            try generator.write(ask, sample: -1, to: scratch("a"), format: .peft)
        }
        #expect(scratch.names.isEmpty)
    }
}
