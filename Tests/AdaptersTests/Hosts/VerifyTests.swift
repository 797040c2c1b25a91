import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

@Suite("Verify") struct VerifyTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// A tiny LLaMA: 3 layers, width 8, 2 heads of 4, one of keys and values, hidden 12, 20 words.
    static let config = """
        {"model_type":"llama","num_hidden_layers":3,"hidden_size":8,"num_attention_heads":2,"num_key_value_heads":1,\
        "intermediate_size":12,"vocab_size":20,"tie_word_embeddings":true}
        """
    static let shapes = ["q_proj": (8, 8), "v_proj": (4, 8), "up_proj": (12, 8), "down_proj": (8, 12)]

    func module(
        _ name: String, _ change: (outputs: Int, inputs: Int)? = nil, rank: Int = 2, alpha: Double = 2,
        kind: ModuleKind = .linear, scaling: ModuleScaling = .standard, magnitude: Bool = false
    ) throws -> ModuleShape {
        let last = String(try #require(name.split(separator: ".").last))
        let (outputs, inputs) = change ?? Self.shapes[last] ?? (8, 8)
        return try ModuleShape(
            name: name, kind: kind, inputs: inputs, outputs: outputs, rank: rank, alpha: alpha, scaling: scaling,
            hasMagnitude: magnitude)
    }

    static func layers(_ names: [String], _ layers: [Int] = [0, 1, 2]) -> [String] {
        layers.flatMap { layer in
            names.map {
                "model.layers.\(layer).\($0.hasSuffix("n_proj") || $0 == "up_proj" ? "mlp" : "self_attn").\($0)"
            }
        }
    }

    /// Writes an adapter as a PEFT folder, with its alphas.
    func write(_ modules: [ModuleShape], zero: Bool = false) throws -> String {
        let layout = try Layout(modules: modules)
        var random = TestRandom(state: 5)
        let values = layout.tensors.flatMap { place in
            (0..<place.count).map { _ in zero && place.role == .b ? 0 : random.normal() }
        }
        try Adapter(layout: layout, values: values).write(
            to: scratch("adapter"), format: .peft, options: WriteOptions(form: .kept))
        return scratch("adapter")
    }

    func base() throws -> String {
        try AdaptersTests.write(Self.config, to: scratch("config.json"))
        return scratch("config.json")
    }

    func codes(_ verification: Verification, _ severity: VerificationFinding.Severity = .error) -> [String] {
        verification.findings.filter { $0.severity == severity }.map(\.code)
    }

    func verdict(_ verification: Verification, _ host: String) throws -> HostVerdict {
        try #require(verification.hosts.first { $0.host.hasPrefix(host) })
    }

    @Test("An adapter that fits has no finding, and every host applies its scale") func fits() throws {
        let path = try write(Self.layers(["q_proj", "v_proj", "up_proj", "down_proj"]).map { try module($0) })
        let verification = try Verification(adapter: path, base: base())
        #expect(verification.findings == [], "\(verification.text)")
        #expect(
            verification.hosts.count == 6
                && verification.hosts.allSatisfy { $0.outcome == .asStated && $0.scale == 1...1 })
        let adapter = try PEFTFolder.read(path: path)
        let expected = adapter.layout.modules.indices.flatMap { product(adapter, $0) }.reduce(0) { $0 + $1 * $1 }
        #expect(abs(try #require(verification.norm) - expected.squareRoot()) < 1e-6 * expected.squareRoot())
        let json = verification.json
        #expect(
            json["errors"] == 0 && json["hosts"]?.array?.count == 6 && json["base"]?.string == scratch("config.json"))
    }

    @Test("What does not fit the base is an error that says so, from config, header and index alike")
    func misfits() throws {
        let cases: [(ModuleShape, String, String)] = [
            (try module("model.layers.1.self_attn.query", (8, 8)), "missing-module", "not in the base model"),
            (
                try module("model.layers.0.self_attn.v_proj", (8, 8)), "wrong-shape",
                "is [4, 8]; the adapter needs [8, 8]"
            ),
            (try module("model.layers.5.self_attn.q_proj"), "missing-module", "'model.layers.0.self_attn.q_proj'"),
            (
                try module("model.language_model.layers.0.self_attn.q_proj"), "missing-module",
                "begin with 'model.language_model.', the base model's with 'model.'"
            ),
        ]
        var writer = SafetensorsWriter()
        var shards: JSONObject = [:]
        for name in Self.layers(["q_proj", "v_proj", "up_proj", "down_proj"]) {
            let last = String(try #require(name.split(separator: ".").last))
            let (outputs, inputs) = try #require(Self.shapes[last])
            try writer.add(
                name + ".weight", shape: [outputs, inputs], elements: [Float](repeating: 0, count: outputs * inputs))
            shards[name + ".weight"] = "model-1.safetensors"
        }
        try writer.write(to: scratch("model-1.safetensors"))
        let index = scratch("model.safetensors.index.json")
        try AdaptersTests.write(JSON.object(["weight_map": .object(shards)]).text(), to: index)
        for base in [try base(), index, scratch("model-1.safetensors"), scratch.path] {
            for (module, code, says) in cases {
                let verification = try Verification(adapter: write([module]), base: base)
                let finding = try #require(verification.findings.first { $0.code == code }, "\(base) \(module.name)")
                #expect(finding.severity == .error && contains(finding.message, says), "\(finding.message)")
                #expect(finding.modules == [module.name])
            }
            let good = try Verification(adapter: write([cases[1].0].map { try self.module($0.name) }), base: base)
            #expect(good.count(.error) == 0, "\(good.text)")
        }
        let far = try Verification(adapter: write([cases[2].0]), base: base())
        #expect(codes(far) == ["missing-module", "missing-layer"])
    }

    @Test("The weights' order, a class's prefix, fused experts and shards that are not here") func names() throws {
        var writer = SafetensorsWriter()
        for (name, shape) in [
            ("h.0.attn.c_attn.weight", [8, 24]), ("h.0.mlp.experts.gate_up_proj", [4, 24, 8]),
            ("h.0.conv.weight", [6, 8, 3]),
        ] { try writer.add(name, shape: shape, elements: [Float](repeating: 0, count: shape.reduce(1, *))) }
        try writer.write(to: scratch("m.safetensors"))
        func check(_ module: ModuleShape) throws -> Verification {
            try Verification(adapter: write([module]), base: scratch("m.safetensors"))
        }
        let turned = try check(module("transformer.h.0.attn.c_attn", (24, 8)))
        #expect(codes(turned) == [] && codes(turned, .warning).contains("fan-in-fan-out"))
        #expect(codes(turned, .note) == ["other-prefix"])
        #expect(try codes(check(module("transformer.h.0.attn.c_attn", (24, 8), kind: .transposedLinear))) == [])
        #expect(try codes(check(module("h.0.mlp.experts.3.gate_proj", (12, 8)))) == [])
        #expect(try codes(check(module("h.0.mlp.experts.4.gate_proj", (12, 8)))) == ["wrong-shape"])
        #expect(try codes(check(module("h.0.mlp.experts.0.up_proj", (13, 8)))) == ["wrong-shape"])
        let flat = try check(module("h.0.conv", (6, 8)))
        #expect(codes(flat) == ["wrong-shape"] && contains(flat.findings[0].message, "convolution"))
        try AdaptersTests.write(#"{"weight_map":{"h.0.q.weight":"gone.safetensors"}}"#, to: scratch("i.json"))
        let gone = try Verification(adapter: write([module("h.0.q")]), base: scratch("i.json"))
        #expect(codes(gone) == [] && codes(gone, .note) == ["shapes-unknown"])
    }

    @Test(
        "A ViT that transformers 5 renames on loading has its adapter's modules, under either name",
        arguments: [true, false])
    func renamed(isNew: Bool) throws {
        let base = splitPath(#filePath).folder + "/../../../examples/digits/base"
        let names = isNew ? ["q_proj", "o_proj"] : ["attention.query", "output.dense"]
        let modules = try names.map {
            try module("vit.\(isNew ? "layers" : "encoder.layer").1.attention.\($0)", (outputs: 64, inputs: 64))
        }
        #expect(codes(try Verification(adapter: write(modules), base: base)).isEmpty)
        let wrong = try module("vit.layers.1.attention.q_proj", (outputs: 64, inputs: 32))
        #expect(codes(try Verification(adapter: write([wrong]), base: base)) == ["wrong-shape"])
        let absent = try module("vit.layers.9.attention.q_proj", (outputs: 64, inputs: 64))
        #expect(codes(try Verification(adapter: write([absent]), base: base)).contains("missing-module"))
    }

    @Test("Tied embeddings, zero products, numbers that are not finite, and norms that no adapter has") func values()
        throws
    {
        let tied = try Verification(
            adapter: write([module("lm_head", (20, 8)), module("model.layers.0.self_attn.q_proj")]), base: base())
        #expect(codes(tied) == [] && codes(tied, .warning).contains("tied-embeddings"))
        let zero = try write(Self.layers(["q_proj"]).map { try module($0) }, zero: true)
        #expect(try codes(Verification(adapter: zero, base: base())) == ["all-zero"])
        let path = try write(Self.layers(["q_proj"]).map { try module($0) })
        let norm = try #require(try Verification(adapter: path).norm)
        #expect(try codes(Verification(adapter: path, norms: (norm / 2)...(norm * 2)), .warning) == [])
        #expect(try codes(Verification(adapter: path, norms: 0...(norm / 2)), .warning) == ["norm"])
        var bytes = try contents(path + "/adapter_model.safetensors")
        bytes.replaceSubrange((bytes.count - 4)..., with: [0, 0, 0xc0, 0x7f])
        try AtomicFile(path: path + "/adapter_model.safetensors").replace(with: bytes)
        #expect(try codes(Verification(adapter: path)) == ["non-finite"])
        #expect(failure { _ = try Verification(adapter: scratch("none")) }.code == .io)
        #expect(failure { _ = try Verification(adapter: path, base: scratch("none")) }.code == .io)
    }

    @Test("The scale that each host applies is the one that its rules give") func scales() throws {
        let names = Self.layers(["q_proj"])
        // α/√r = 2/√4 = 1 with rank 4, and by SGLang and llama.cpp's converter 2/4.
        let stabilised = try Verification(
            adapter: write(names.map { try module($0, rank: 4, alpha: 2, scaling: .rankStabilised) }), base: base())
        for host in ["PEFT", "vLLM", "TGI", "mistral.rs"] {
            #expect(try verdict(stabilised, host).outcome == .asStated && verdict(stabilised, host).scale == 1...1)
        }
        for host in ["SGLang", "llama.cpp"] {
            #expect(
                try verdict(stabilised, host).outcome == .otherScale && verdict(stabilised, host).scale == 0.5...0.5)
        }
        #expect(codes(stabilised, .warning) == ["host", "host"])
        // Ranks 2 and 4 at one alpha: SGLang divides all by the config's rank, TGI refuses.
        let mixed = try Verification(
            adapter: write([module(names[0]), module(names[1]), module(names[2], rank: 4)]), base: base())
        #expect(try verdict(mixed, "SGLang").scale == 0.5...0.5 && verdict(mixed, "TGI").outcome == .refused)
        #expect(try verdict(mixed, "llama.cpp").outcome == .asStated)
        let gaps = try Verification(adapter: write([module(names[0])]), base: base())
        #expect(try verdict(gaps, "TGI").outcome == .partial && verdict(gaps, "vLLM").outcome == .asStated)
        let dora = try Verification(adapter: write(names.map { try module($0, magnitude: true) }), base: base())
        #expect(dora.hosts.filter { $0.outcome == .refused }.count == 5 && dora.hosts.count == 6)
        let large = try Verification(adapter: write(names.map { try module($0, rank: 20, alpha: 20) }), base: base())
        #expect(contains(try verdict(large, "vLLM").reason, "--max-lora-rank 32"))
    }

    @Test("Diffusion models: kohya's alphas in attention, and UNets that ComfyUI knows by kohya's names alone")
    func diffusion() throws {
        let names = ["conv_in", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "conv_out"]
        var writer = SafetensorsWriter()
        for (name, alpha) in zip(names, [Float(2), 4, 2]) {
            let flat = "lora_unet_" + FlatName.flat(name)
            try writer.add(flat + ".lora_down.weight", shape: [2, 8], elements: [Float](repeating: 1, count: 16))
            try writer.add(flat + ".lora_up.weight", shape: [8, 2], elements: [Float](repeating: 1, count: 16))
            try writer.add(flat + ".alpha", shape: [], elements: [alpha])
        }
        try writer.write(to: scratch("k.safetensors"))
        let kohya = try Verification(adapter: scratch("k.safetensors"))
        #expect(try verdict(kohya, "diffusers").scale == 1...1 && verdict(kohya, "diffusers").outcome == .otherScale)
        #expect(try verdict(kohya, "ComfyUI").outcome == .asStated && verdict(kohya, "ComfyUI").scale == 1...2)
        try Adapter.read(path: scratch("k.safetensors")).write(to: scratch("d.safetensors"), format: .diffusers)
        let diffusers = try Verification(adapter: scratch("d.safetensors"))
        #expect(
            try verdict(diffusers, "diffusers").outcome == .asStated
                && verdict(diffusers, "ComfyUI").outcome == .refused)
    }
}

extension AtomicFile {
    fileprivate func replace(with bytes: [UInt8]) throws {
        try append(bytes)
        try commit()
    }
}
