import Foundation
import Tensor
import Testing

@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods

/// Small networks with more tokens than one block.
private func settings(_ change: String = "") throws -> String {
    let fields = [
        #""space": "factors", "normaliser": "per-element", "tokens": "flatten", "tokenSize": 1, "kernel": 1"#,
        #""width": 32, "stateSize": 8, "conditionWidth": 8, "channels": "4,6,4", "denoiserWidth": 8, "steps": 3"#,
        #""batch": 2, "samplingSteps": 3, "sampler": "ddim", "eta": 0.5, "validationInterval": 3"#,
    ]
    let base = try JSON.parse("{\(fields.joined(separator: ", "))}", source: "").object ?? JSONObject()
    return try JSON.object(base.changing(try JSON.parse("{\(change)}", source: "").object ?? JSONObject())).text()
}

@Suite struct RPGStreamTests {
    @Test(
        "a streamed adapter has the bytes of one in memory, whatever the limit",
        arguments: [
            #""recurrence": "mamba", "denoiser": "convolution""#,
            #""recurrence": "residual-mamba", "denoiser": "perceptron""#,
            #""recurrence": "lstm", "denoiser": "convolution""#, #""recurrence": "mamba", "denoiser": "none""#,
            // Widths that Mamba's heads do not divide.
            #""recurrence": "lstm", "width": 4, "denoiser": "none""#,
            #""recurrence": "perceptron", "width": 12, "denoiser": "none""#,
            #""recurrence": "transformer", "width": 8, "denoiser": "none""#,
        ])
    func sameBytes(change: String) throws {
        let path = try Trained.path("rpg", settings: settings(change))
        let generator = try Generator(path: path)
        let scratch = try Scratch()
        for guidance in [Float(1), 2] {
            let ask = request(bits: "10110") { ($0.seed, $0.guidance) = (4, guidance) }
            try generator.generate(ask)[0].write(to: scratch("memory"), format: .safetensors)
            let least = try #require(try leastMemory(path, guidance))
            for limit in [least + (2 << 20), least + (2 << 20) + 4096, 1 << 30, 0] {
                try generator.write(ask, to: scratch("stream"), format: .safetensors, memoryLimit: limit)
                #expect(try contents(scratch("stream")) == contents(scratch("memory")), "limit \(limit)")
            }
        }
        expectFailure(.memory, "limit") {
            try generator.write(request(bits: "10110"), to: scratch("none"), format: .peft, memoryLimit: 4096)
        }
    }

    private func leastMemory(_ path: String, _ guidance: Float) throws -> UInt64? {
        let model = try #require(try GeneratorFile.read(path: path).model as? VectorGenerator).vectors
        var sampling = model.sampling
        sampling?.guidance = Double(guidance)
        return model.streamMemory(sampling).map { UInt64($0) }
    }

    @Test func `the limit decides how many tokens are denoised at once`() throws {
        let change = #""recurrence": "mamba", "denoiser": "convolution""#
        let path = try Trained.path("rpg", settings: settings(change))
        let model = try #require((try GeneratorFile.read(path: path).model as? VectorGenerator)?.vectors as? RPG)
        let least = try #require(model.streamMemory(nil))
        func pieces(_ memory: Int) throws -> [Int] {
            let stream = TokenStream(
                model, condition: .zeros([1, 5]), random: Random(seed: 1), sampling: nil, memory: memory)
            var counts: [Int] = []
            while let piece = try stream.next({ _, _ in }) { counts.append(piece.count) }
            return counts
        }
        let count = model.tokens.count
        #expect(count > RPG.block)
        #expect(try pieces(0) == [64, count - 64])
        #expect(try pieces(least) == [Int](repeating: 1, count: count))
        #expect(try pieces(least).reduce(0, +) == pieces(3 * least).reduce(0, +))
    }

    @Test func `weights in bf16 are used from the file, and near those in float`() throws {
        let change =
            #""start": "none", "recurrence": "mamba", "denoiser": "convolution", "sampler": "ddim", "eta": 0.0"#
        let float = try Generator(path: Trained.path("rpg", settings: settings(change)))
        let path = try Trained.path("rpg", settings: settings(change + #", "weights": "bfloat16""#))
        let half = try Generator(path: path)
        let file = try SafetensorsFile(path: path)
        let types = file.tensors.filter { $0.name.hasPrefix("model.") }.map { ($0.name, $0.type) }
        for (name, type) in types {
            let isLinear = name.hasSuffix("_proj.weight") || name.contains("condition") && name.hasSuffix("weight")
            if isLinear { #expect(type == .bf16, "\(name)") }
        }
        #expect(types.contains { $0.1 == .f32 })
        let model = try #require((try GeneratorFile.read(path: path).model as? VectorGenerator)?.vectors as? RPG)
        #expect(model.module.namedFactors.allSatisfy { $0.parameter.half != nil })
        let ask = request(bits: "10110") { $0.seed = 3 }
        let (a, b) = (try float.generate(ask)[0].copyValues(), try half.generate(ask)[0].copyValues())
        #expect(a != b && relativeError(b.map(Double.init), a.map(Double.init)) < 0.05)
        #expect(try half.generate(ask)[0].copyValues() == Generator(path: path).generate(ask)[0].copyValues())
        expectFailure(.invalidArgument, "weights") {
            _ = try Trained.path("rpg", settings: settings(#""weights": "int8""#))
        }
    }

    @Test(
        "a corpus that is read token by token gives the same losses",
        arguments: [#""factors": "raw""#, #""factors": "canonical""#, #""space": "product""#])
    func sameLosses(change: String) throws {
        let corpus = try Synthetic.shared.get().corpus
        var losses: [[Float]] = []
        for (limit, normaliser) in [(UInt64(0), "inside-tensor"), (250_000, "inside-tensor")] {
            let made = try methods("rpg").settings(preset: "tiny").overridden(
                by: settings(
                    #""recurrence": "mamba", "denoiser": "convolution", "diffusionBatch": 50, "normaliser": "\#(normaliser)", "#
                        + change))
            let problem = try Problem(corpus, made, streams: true, seed: 1, memoryLimit: limit)
            #expect(problem.data.rows is TensorRows == (limit == 0))
            let model = RPG(try RPGSettings(made, problem.size), Random(seed: 2))
            let stage = try #require(model.stages(problem.data).first)
            losses.append(try (0..<3).map { try stage.loss(step: $0).item })
        }
        #expect(losses[0] == losses[1])
    }
}
