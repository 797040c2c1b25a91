import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

/// The values that Golden/make_hosts.py puts into its files.
func pattern(_ seed: Int, _ count: Int) -> [Float] {
    (0..<count).map { Float(($0 * 37 + seed * 11) % 64 - 32) / 64 }
}

/// A language model's adapter: attention and feed-forward of two layers, output and embedding.
private func languageAdapter(rank: Int = 4, alpha: Double = 6, embeddings: Bool = true) throws -> Adapter {
    var modules: [ModuleShape] = []
    for layer in 0..<2 {
        for (name, inputs, outputs) in [
            ("self_attn.q_proj", 32, 32), ("self_attn.k_proj", 32, 16), ("self_attn.o_proj", 32, 32),
            ("mlp.gate_proj", 32, 64), ("mlp.down_proj", 64, 32),
        ] {
            modules.append(
                try ModuleShape(
                    name: "model.layers.\(layer).\(name)", inputs: inputs, outputs: outputs, rank: rank, alpha: alpha))
        }
    }
    if embeddings {
        modules.append(try ModuleShape(name: "lm_head", inputs: 32, outputs: 40, rank: rank, alpha: alpha))
        modules.append(
            try ModuleShape(
                name: "model.embed_tokens", kind: .embedding, inputs: 40, outputs: 32, rank: rank, alpha: alpha))
    }
    let layout = try Layout(modules: modules, baseModel: "tiny")
    var random = TestRandom(state: 5)
    return try Adapter(
        layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() },
        metadata: ["loragen.origin": "{}"])
}

private let llama = "architecture=llama,heads=4,kv-heads=2"

private func options(_ base: String? = llama, form: WriteOptions.Form = .kept, type: ElementType = .f32) -> WriteOptions
{
    var options = WriteOptions(type: type, form: form)
    options.base = base
    return options
}

@Suite("GGUF") struct GGUFTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test("A file of the gguf package is read: names, rows of heads, transposed embeddings, alpha, half precision")
    func reference() throws {
        let adapter = try Adapter.read(path: golden("hosts/llama.gguf"), base: llama)
        #expect(
            adapter.layout.modules.map(\.name) == [
                "model.embed_tokens", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.q_proj",
            ])
        #expect(adapter.layout.modules.allSatisfy { $0.alpha == 6 && $0.rank == 4 })
        for (name, seed, count) in [
            ("model.layers.0.self_attn.q_proj.lora_A.weight", 0, 64),
            ("model.layers.0.self_attn.q_proj.lora_B.weight", 1, 128),
            ("model.layers.0.self_attn.k_proj.lora_A.weight", 2, 64),
            ("model.layers.0.self_attn.k_proj.lora_B.weight", 3, 64),
            ("model.embed_tokens.lora_embedding_A", 4, 40), ("model.embed_tokens.lora_embedding_B", 5, 64),
        ] {
            let tensor = try #require(adapter["base_model.model." + name])
            #expect(Array(tensor.values) == pattern(seed, count), "\(name)")
        }
        // Without the base model the number of heads is not known; with another architecture it does not fit.
        #expect(failure { _ = try Adapter.read(path: golden("hosts/llama.gguf")) }.code == .invalidArgument)
        let other = failure { _ = try Adapter.read(path: golden("hosts/llama.gguf"), base: "architecture=qwen2") }
        #expect(other.code == .mismatch)
    }

    @Test("Newer models: llama.cpp's names, from a config and back with the model's own names") func newerModels()
        throws
    {
        for (type, gguf, root) in [
            ("qwen3_5", "qwen35", "model.language_model."), ("qwen3_5_text", "qwen35", "model."),
            ("qwen3_vl", "qwen3vl", "model.language_model."), ("qwen2_5_vl", "qwen2vl", "model.language_model."),
            ("gemma4", "gemma4", "model.language_model."), ("gemma4_text", "gemma4", "model."),
        ] {
            let config = #"{"model_type":"\#(type)","text_config":{"num_attention_heads":4,"num_key_value_heads":2}}"#
            try AdaptersTests.write(config, to: scratch("config.json"))
            let base = try BaseModel(scratch("config.json"))
            #expect(base.architecture == gguf && base.heads == 4 && !base.permutesHeads)
            #expect(
                GGUFNames.module(of: "blk.3.attn_q.weight", expert: nil, base: base)
                    == root + "layers.3.self_attn.q_proj")
            for name in ["model.layers.3.self_attn.q_proj", "model.language_model.layers.3.self_attn.q_proj"] {
                #expect(try GGUFNames.place(of: name).tensor == "blk.3.attn_q.weight")
            }
        }
        for (name, tensor) in [("per_layer_input_gate", "inp_gate"), ("per_layer_projection", "proj")] {
            #expect(try GGUFNames.place(of: "model.language_model.layers.0.\(name)").tensor == "blk.0.\(tensor).weight")
        }
        // llama.cpp has the heads of these in another order.
        let error = failure { _ = try GGUFNames.place(of: "model.language_model.layers.0.linear_attn.in_proj_qkv") }
        #expect(contains(error.message, "layers.0.linear_attn.in_proj_qkv"))
    }

    @Test("What is written comes back", arguments: [llama, "architecture=qwen2"])
    func roundTrip(base: String) throws {
        let adapter = try languageAdapter()
        try adapter.write(to: scratch("a.gguf"), format: .gguf, options: options(base))
        let back = try Adapter.read(path: scratch("a.gguf"))
        #expect(back.layout == adapter.layout)
        #expect(back.copyValues() == adapter.copyValues())
        #expect(back.metadata == adapter.metadata)
        try adapter.write(to: scratch("b.gguf"), format: .gguf, options: options(base))
        #expect(try contents(scratch("a.gguf")) == contents(scratch("b.gguf")))
    }

    @Test("Q8_0 has ggml's own bytes, and decodes to its values")
    func blocks() throws {
        let file = try SafetensorsFile(path: golden("hosts/q8.safetensors"))
        let values = try file.floats("values")
        var bytes: [UInt8] = []
        try values.withUnsafeBufferPointer {
            try GGUFBlocks.encode($0, scale: 1, name: "t") { (raw) throws(LoragenError) in bytes += Array(raw) }
        }
        #expect(try bytes == file.elements("blocks", of: UInt8.self))
        var back = [Float](repeating: 0, count: values.count)
        bytes.withUnsafeBytes { raw in back.withUnsafeMutableBufferPointer { GGUFBlocks.decode(raw, into: $0) } }
        #expect(try back == file.floats("back"))
    }

    @Test("What llama.cpp refuses, aborts at or misreads is not written")
    func refusals() throws {
        let adapter = try languageAdapter()
        func code(_ adapter: Adapter, _ options: WriteOptions) -> LoragenError.Code {
            failure { try adapter.write(to: scratch("x.gguf"), format: .gguf, options: options) }.code
        }
        #expect(code(adapter, options(nil)) == .invalidArgument)
        #expect(code(adapter, options("architecture=llama")) == .invalidArgument)
        #expect(code(adapter, options("architecture=unheard")) == .unsupported)
        #expect(code(adapter, options(llama + ",tied=yes")) == .unsupported)
        #expect(code(adapter, options("architecture=llama,heads=3,kv-heads=2")) == .mismatch)
        var quantised = options()
        quantised.quantized = true
        #expect(code(try languageAdapter(rank: 4), quantised) == .unsupported)
        try languageAdapter(rank: 32, embeddings: false)
            .write(to: scratch("q8.gguf"), format: .gguf, options: quantised)
        // One alpha for the file: ranks 4 and 8 with alpha 8 fit it as they are, with alphas 8 and 4 they do not.
        for (alphas, fits) in [([8.0, 8.0], true), ([8.0, 4.0], false)] {
            let layout = try Layout(modules: [
                ModuleShape(name: "model.layers.0.mlp.up_proj", inputs: 8, outputs: 8, rank: 4, alpha: alphas[0]),
                ModuleShape(name: "model.layers.1.mlp.up_proj", inputs: 8, outputs: 8, rank: 8, alpha: alphas[1]),
            ])
            let mixed = try Adapter(layout: layout, values: pattern(1, layout.valueCount))
            if fits {
                try mixed.write(to: scratch("m.gguf"), format: .gguf, options: options())
                #expect(try Adapter.read(path: scratch("m.gguf")).layout == layout)
            } else {
                #expect(code(mixed, options()) == .unsupported)
                try mixed.write(to: scratch("m.gguf"), format: .gguf, options: options(form: .baked))
            }
        }
        for module in [
            try ModuleShape(name: "model.layers.0.mlp.conv", inputs: 8, outputs: 8, rank: 4, alpha: 4),
            try ModuleShape(
                name: "model.layers.0.mlp.up_proj", inputs: 8, outputs: 8, rank: 4, alpha: 4, hasMagnitude: true),
            try ModuleShape(name: "model.layers.0.mlp.experts.1.up_proj", inputs: 8, outputs: 8, rank: 4, alpha: 4),
        ] {
            let layout = try Layout(modules: [module])
            #expect(code(try Adapter(layout: layout, values: pattern(1, layout.valueCount)), options()) == .unsupported)
        }
        #expect(!scratch.names.contains("x.gguf"))
    }

    @Test("Experts are one tensor of three dimensions and come back as modules")
    func experts() throws {
        var modules: [ModuleShape] = []
        for expert in 0..<12 {
            modules.append(
                try ModuleShape(
                    name: "model.layers.0.mlp.experts.\(expert).up_proj", inputs: 8, outputs: 6, rank: 2, alpha: 2))
        }
        let layout = try Layout(modules: modules)
        let adapter = try Adapter(layout: layout, values: pattern(3, layout.valueCount))
        try adapter.write(to: scratch("e.gguf"), format: .gguf, options: options("architecture=qwen3moe,experts=12"))
        let file = try GGUFFile(path: scratch("e.gguf"))
        #expect(file.tensor("blk.0.ffn_up_exps.weight.lora_a")?.shape == [12, 2, 8])
        #expect(file.tensor("blk.0.ffn_up_exps.weight.lora_b")?.shape == [12, 6, 2])
        let back = try Adapter.read(path: scratch("e.gguf"))
        #expect(back.layout == layout)
        #expect(back.copyValues() == adapter.copyValues())
    }

    /// A file of one pair with the given keys, shapes and changes.
    private func file(
        _ keys: [(String, GGUFValue)]? = nil, a: [Int] = [2, 8], b: [Int] = [4, 2], names: [String]? = nil
    ) throws -> [UInt8] {
        var writer = GGUFWriter()
        let usual: [(String, GGUFValue)] = [
            ("general.architecture", .string("qwen2")), ("general.type", .string("adapter")),
            ("adapter.type", .string("lora")), ("adapter.lora.alpha", .f32(2)),
        ]
        for (key, value) in keys ?? usual { writer.set(key, value) }
        for (name, shape) in zip(names ?? ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"], [a, b]) {
            let bytes = [UInt8](repeating: 0, count: 4 * shape.reduce(1, *))
            try writer.add(name, type: .f32, shape: shape) { (sink) throws(LoragenError) in
                try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        try writer.write(to: scratch("raw.gguf"))
        return try contents(scratch("raw.gguf"))
    }

    private func refused(_ bytes: [UInt8], _ location: SourceLocation = #_sourceLocation) throws {
        try write(bytes, to: scratch("bad.gguf"))
        let error = failure(location) { _ = try Adapter.read(path: scratch("bad.gguf")) }
        #expect([.format, .version, .unsupported].contains(error.code), "\(error.message)", sourceLocation: location)
        #expect(error.message.hasPrefix(scratch("bad.gguf")), "\(error.message)", sourceLocation: location)
    }

    @Test("Malformed files are refused with file and place")
    func malformed() throws {
        let good = try file()
        _ = try Adapter.read(path: scratch("raw.gguf"))
        for length in 4..<good.count { try refused(Array(good[..<length])) }
        func changed(_ place: Int, _ bytes: [UInt8]) -> [UInt8] {
            var copy = good
            copy.replaceSubrange(place..<(place + bytes.count), with: bytes)
            return copy
        }
        for version: [UInt8] in [[0], [1], [4], [0, 0, 0, 3]] { try refused(changed(4, version)) }
        for count: [UInt8] in [[255, 255, 255, 255, 255, 255, 255, 255], [3], [0, 0, 0, 0, 1]] {
            try refused(changed(8, count))
            try refused(changed(16, count))
        }
        for keys in [
            [("general.architecture", GGUFValue.string("qwen2"))],
            [
                ("general.architecture", .string("qwen2")), ("general.type", .string("model")),
                ("adapter.type", .string("lora")),
            ],
            [
                ("general.architecture", .string("qwen2")), ("general.type", .string("adapter")),
                ("adapter.type", .string("x")),
            ],
        ] { try refused(try file(keys)) }
        let usual: [(String, GGUFValue)] = [
            ("general.architecture", .string("qwen2")), ("general.type", .string("adapter")),
            ("adapter.type", .string("lora")),
        ]
        for extra: (String, GGUFValue) in [
            ("adapter.lora.alpha", .float(2, .f64)), ("adapter.lora.alpha", .u32(2)), ("", .u32(1)),
            ("general.type", .string("adapter")), ("general.alignment", .u32(3)), ("general.alignment", .u32(0)),
            ("general.alignment", .integer(32, .u64)),
            ("adapter.alora.invocation_tokens", .array(of: .u32, count: 0, start: 0)),
        ] { try refused(try file(usual + [extra])) }
        try refused(try file(a: [0, 8], b: [4, 0]))
        try refused(try file(a: [2, 8], b: [4, 3]))
        try refused(try file(a: [2, 2, 8], b: [2, 4, 2]))
        try refused(try file(a: [2, 8], b: [2, 4, 2]))
        try refused(try file(names: ["blk.0.attn_q.weight.lora_a"]))
        try refused(try file(names: ["blk.0.attn_q.weight.lora_a", "blk.0.attn_k.weight.lora_b"]))
        try refused(try file(names: ["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.bias.lora_b"]))
        try refused(try file(names: ["blk.0.attn_q.weight.lora_a", "blk.0.attn_norm.weight"]))
        try refused(try file(names: ["blk.0.unheard.weight.lora_a", "blk.0.unheard.weight.lora_b"]))
        // An element type that there is not, an offset that is not the next.
        let type = try #require(
            good.indices.first { good[$0...].starts(with: [8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]) })
        try refused(changed(type + 16, [99]))
        try refused(changed(type + 20, [32]))
        try refused(changed(type, [255, 255, 255, 255, 255, 255, 255, 255]))
    }

    @Test("Bytes changed at random are refused or read, and nothing else")
    func mutations() throws {
        let good = try file()
        var random = TestRandom(state: 9)
        for _ in 0..<3000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let file = try bytes.withUnsafeBytes { try MappedFile(copying: $0, name: "m.gguf") }
            _ = try? GGUFAdapter.read(GGUFFile(file: file), base: nil)
        }
    }
}
