import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

/// Files of other tools, after public bug reports.
@Suite("Adapters of other tools") struct OtherToolsTests {
    /// A file of random float32 tensors; gives the values by name.
    @discardableResult
    private func save(
        _ tensors: [(String, [Int])], to path: String, metadata: [String: String] = [:], seed: UInt64 = 1
    ) throws -> [String: [Float]] {
        var random = TestRandom(state: seed)
        var writer = SafetensorsWriter(metadata: metadata)
        var all: [String: [Float]] = [:]
        for (name, shape) in tensors {
            let values = (0..<shape.reduce(1, *)).map { _ in random.normal() }
            try writer.add(name, shape: shape, elements: values)
            all[name] = values
        }
        try writer.write(to: path)
        return all
    }

    /// A pair for an input of 6 and an output of 4, with rank 2.
    private func pair(_ a: String, _ b: String, outputs: Int = 4) -> [(String, [Int])] {
        [(a, [2, 6]), (b, [outputs, 2])]
    }

    /// `scale · B · A` of some rows, row-major.
    private func product(_ b: [Float], _ a: [Float], scale: Double = 1, rows: Range<Int> = 0..<4) -> [Double] {
        var result: [Double] = []
        for i in rows {
            for j in 0..<6 {
                let first = Double(b[2 * i]) * Double(a[j])
                let second = Double(b[2 * i + 1]) * Double(a[6 + j])
                result.append(scale * (first + second))
            }
        }
        return result
    }

    private func transposed(_ values: [Float], _ rows: Int, _ columns: Int) -> [Float] {
        var result = [Float](repeating: 0, count: values.count)
        for i in 0..<rows {
            for j in 0..<columns { result[j * rows + i] = values[i * columns + j] }
        }
        return result
    }

    // MARK: mlx-lm

    private func mlx(_ scratch: Scratch, _ config: String, _ tensors: [(String, [Int])]) throws -> [String: [Float]] {
        mkdir(scratch("a"), 0o755)
        try AdaptersTests.write(config, to: scratch("a/adapter_config.json"))
        return try save(tensors, to: scratch("a/adapters.safetensors"))
    }

    private static let mlxConfig =
        #"{"model":"tiny","fine_tune_type":"lora","num_layers":1,"lora_parameters":{"rank":2,"scale":20.0,"dropout":0.0}}"#

    @Test("mlx-lm: transposed factors, and the scale of its config") func mlxFolder() throws {
        let scratch = try Scratch()
        let name = "model.layers.0.self_attn.q_proj"
        let values = try mlx(scratch, Self.mlxConfig, [(name + ".lora_a", [6, 2]), (name + ".lora_b", [2, 4])])
        let adapter = try Adapter.read(path: scratch("a"))
        #expect(adapter.layout.modules.map(\.name) == [name] && adapter.layout.baseModel == "tiny")
        #expect(adapter.layout.taskType == "CAUSAL_LM")
        let (a, b) = (try #require(values[name + ".lora_a"]), try #require(values[name + ".lora_b"]))
        let expected = product(transposed(b, 2, 4), transposed(a, 6, 2), scale: 20)
        #expect(relativeError(AdaptersTests.product(adapter, 0), expected) < 1e-6)
        try Conversion.run(from: scratch("a"), to: scratch("p"), format: .peft, options: WriteOptions())
        #expect(try relativeError(AdaptersTests.product(Adapter.read(path: scratch("p")), 0), expected) < 1e-6)
    }

    @Test("mlx-lm: what is refused says that it is mlx-lm's") func mlxRefused() throws {
        for (config, tensors, says) in [
            (
                Self.mlxConfig.replacing("\"lora\"", with: "\"dora\""), [("m.lora_a", [6, 2]), ("m.lora_b", [2, 4])],
                "'fine_tune_type' is \"dora\""
            ),
            (#"{"fine_tune_type":"lora"}"#, [("m.lora_a", [6, 2])], "without a number 'scale'"),
            (Self.mlxConfig, [("m.lora_a", [6, 2])], "has no lora_b"),
            (Self.mlxConfig, [("m.weight", [6, 2])], "is not mlx-lm's LoRA"),
            (Self.mlxConfig, [("m.lora_a", [3, 6, 2]), ("m.lora_b", [3, 2, 4])], "experts are not read"),
            (Self.mlxConfig, [("m.lora_a", [6, 3]), ("m.lora_b", [2, 4])], "expected [in, r]"),
        ] {
            let scratch = try Scratch()
            _ = try mlx(scratch, config, tensors)
            let error = failure { _ = try Adapter.read(path: scratch("a")) }
            #expect(contains(error.message, says) && contains(error.message, scratch.path), "\(error.message)")
        }
        let scratch = try Scratch()
        _ = try mlx(scratch, Self.mlxConfig, [("m.lora_a", [6, 2]), ("m.lora_b", [2, 4])])
        let alone = failure { _ = try Adapter.read(path: scratch("a/adapters.safetensors")) }
        #expect(contains(alone.message, "mlx-lm's") && contains(alone.message, "give the folder"))
    }

    // MARK: Diffusion

    /// Keys without their ends, the ends, and the module.
    static let names: [(key: String, a: String, b: String, module: String)] = [
        (
            "lora_transformer_single_transformer_blocks_0_attn_to_q", ".lora_down.weight", ".lora_up.weight",
            "transformer.single_transformer_blocks.0.attn.to_q"
        ),
        (
            "lora_transformer_transformer_blocks_0_ff_context_net_0_proj", ".lora_down.weight", ".lora_up.weight",
            "transformer.transformer_blocks.0.ff_context.net.0.proj"
        ),
        (
            "lora_unet_transformer_blocks_0_attn_add_k_proj", ".lora_down.weight", ".lora_up.weight",
            "transformer.transformer_blocks.0.attn.add_k_proj"
        ),
        (
            "lora_unet_single_transformer_blocks_12_proj_mlp", ".lora_down.weight", ".lora_up.weight",
            "transformer.single_transformer_blocks.12.proj_mlp"
        ),
        (
            "diffusion_model.blocks.1.self_attn.q", ".lora_A.weight", ".lora_B.weight",
            "transformer.blocks.1.attn1.to_q"
        ),
        (
            "diffusion_model.blocks.1.cross_attn.k", ".lora_down.weight", ".lora_up.weight",
            "transformer.blocks.1.attn2.to_k"
        ),
        ("diffusion_model.blocks.0.ffn.0", ".lora_A.weight", ".lora_B.weight", "transformer.blocks.0.ffn.net.0.proj"),
        (
            "transformer.blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight", "transformer.blocks.0.attn1.to_q"
        ),
        (
            "transformer.blocks.0.ffn.net.0.proj", ".lora_A.weight", ".lora_B.weight",
            "transformer.blocks.0.ffn.net.0.proj"
        ),
        (
            "transformer.transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight",
            "transformer.transformer_blocks.0.attn1.to_q"
        ),
        (
            "diffusion_model.transformer_blocks.0.attn2.to_v", ".lora_A.weight", ".lora_B.weight",
            "transformer.transformer_blocks.0.attn2.to_v"
        ),
        (
            "diffusion_model.double_blocks.3.img_mlp.fc1", ".lora_A.weight", ".lora_B.weight",
            "transformer.transformer_blocks.3.ff.net.0.proj"
        ),
        (
            "diffusion_model.single_blocks.3.linear2", ".lora_A.weight", ".lora_B.weight",
            "transformer.single_transformer_blocks.3.proj_out"
        ),
        (
            "transformer.layers.4.attention.to_q", ".lora_A.weight", ".lora_B.weight",
            "transformer.layers.4.attention.to_q"
        ),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora", ".down.weight",
            ".up.weight", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
        ),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora", ".down.weight",
            ".up.weight", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
        ),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v", ".lora.down.weight", ".lora.up.weight",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v"
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", ".lora_linear_layer.down.weight",
            ".lora_linear_layer.up.weight", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
        ),
        (
            "double_blocks.2.processor.proj_lora1", ".down.weight", ".up.weight",
            "transformer.transformer_blocks.2.attn.to_out.0"
        ),
        (
            "single_blocks.2.processor.proj_lora", ".down.weight", ".up.weight",
            "transformer.single_transformer_blocks.2.proj_out"
        ),
    ]

    @Test("Every tool's name is that of diffusers' module", arguments: names.indices) func name(index: Int) throws {
        let (key, a, b, module) = Self.names[index]
        let scratch = try Scratch()
        let values = try save(pair(key + a, key + b), to: scratch("a.safetensors"))
        let adapter = try Adapter.read(path: scratch("a.safetensors"))
        #expect(adapter.layout.modules.map(\.name) == [module])
        let expected = product(try #require(values[key + b]), try #require(values[key + a]))
        #expect(relativeError(AdaptersTests.product(adapter, 0), expected) < 1e-6)
        // And back through the formats that hold it.
        for (format, path) in [(AdapterFormat.diffusers, "d.safetensors"), (.peft, "p")] {
            try adapter.write(to: scratch(path), format: format)
            #expect(try relativeError(AdaptersTests.product(Adapter.read(path: scratch(path)), 0), expected) < 1e-6)
        }
    }

    @Test("Alphas beside paths scale, and XLabs' one matrix becomes the three of diffusers") func alphaAndParts() throws
    {
        let scratch = try Scratch()
        let key = "transformer.transformer_blocks.0.attn.to_q"
        var writer = SafetensorsWriter()
        try writer.add(key + ".lora_down.weight", shape: [2, 6], elements: [Float](repeating: 1, count: 12))
        try writer.add(key + ".lora_up.weight", shape: [4, 2], elements: [Float](repeating: 1, count: 8))
        try writer.add(key + ".alpha", shape: [], elements: [Float(6)])
        try writer.write(to: scratch("a.safetensors"))
        #expect(try Adapter.read(path: scratch("a.safetensors")).layout.modules.map(\.scale) == [3])

        for (block, paths) in [
            ("double_blocks.0.processor.qkv_lora2", ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
            ("single_blocks.0.processor.qkv_lora", ["attn.to_q", "attn.to_k", "attn.to_v"]),
        ] {
            let (a, b) = (block + ".down.weight", block + ".up.weight")
            let values = try save(pair(a, b, outputs: 18), to: scratch("x.safetensors"))
            let adapter = try Adapter.read(path: scratch("x.safetensors"))
            #expect(adapter.layout.modules.count == 3)
            for (part, path) in paths.enumerated() {
                let place = try #require(adapter.layout.modules.firstIndex { $0.name.hasSuffix(path) })
                let expected = product(
                    try #require(values[b]), try #require(values[a]), rows: (6 * part)..<(6 * part + 6))
                #expect(relativeError(AdaptersTests.product(adapter, place), expected) < 1e-6)
            }
        }
    }

    @Test("An alpha that stands in the metadata alone is said, not silently dropped") func metadataAlpha() throws {
        let scratch = try Scratch()
        for key in ["lora_unet_conv_in", "unet.conv_in"] {
            let ends =
                key.hasPrefix("lora_") ? (".lora_down.weight", ".lora_up.weight") : (".lora_A.weight", ".lora_B.weight")
            for (alpha, count) in [("16", 1), ("2", 0)] {
                try save(
                    pair(key + ends.0, key + ends.1), to: scratch("a.safetensors"),
                    metadata: ["ss_network_alpha": alpha, "ss_network_dim": "2"])
                var notes: [String] = []
                let adapter = try Adapter.read(path: scratch("a.safetensors")) { notes.append($0) }
                #expect(adapter.layout.modules.map(\.scale) == [1])
                #expect(notes.count == count && notes.allSatisfy { contains($0, "ss_network_alpha") })
            }
        }
    }

    // MARK: Element types

    @Test("Adapters in 8-bit floats are read, as ml_dtypes reads them") func float8() throws {
        let scratch = try Scratch()
        // Bytes and what numpy.array(byte).view(ml_dtypes.float8_e4m3fn) and float8_e5m2 say.
        let e4m3: [UInt8: Float] = [
            0x00: 0, 0x01: 0.001953125, 0x07: 0.013671875, 0x08: 0.015625, 0x38: 1, 0x3c: 1.5, 0x7e: 448, 0xb8: -1,
            0x81: -0.001953125, 0x4d: 6.5,
        ]
        let e5m2: [UInt8: Float] = [
            0x00: 0, 0x01: 0x1p-16, 0x04: 0x1p-14, 0x3c: 1, 0x3e: 1.5, 0x7b: 57344, 0xbc: -1, 0x45: 5,
        ]
        for (type, table) in [(ElementType.f8E4M3, e4m3), (.f8E5M2, e5m2)] {
            for (byte, value) in table {
                var writer = SafetensorsWriter()
                for (end, shape) in [("A", [2, 6]), ("B", [4, 2])] {
                    try writer.add("unet.conv_in.lora_\(end).weight", type: type, shape: shape) {
                        sink throws(LoragenError) in
                        let bytes = [UInt8](repeating: byte, count: shape[0] * shape[1])
                        try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
                    }
                }
                try writer.write(to: scratch("a.safetensors"))
                let adapter = try Adapter.read(path: scratch("a.safetensors"))
                #expect(adapter.copyValues().allSatisfy { $0 == value }, "\(type) \(byte)")
            }
        }
        #expect(Half.float(fromE4M3: 0x7f).isNaN && Half.float(fromE4M3: 0xff).isNaN)
    }

    // MARK: Other methods, and messages

    @Test("Other methods are named as what they are") func otherMethods() throws {
        let scratch = try Scratch()
        let good = pair("lora_unet_conv_in.lora_down.weight", "lora_unet_conv_in.lora_up.weight")
        let path = pair(
            "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
            "diffusion_model.blocks.0.self_attn.q.lora_up.weight")
        let cases: [([(String, [Int])], String)] = [
            ([("lora_unet_conv_in.hada_w1_a", [4, 2])], "LoHa"), ([("lycoris_conv_in.lokr_w1", [4, 2])], "LoKr"),
            ([("diffusion_model.blocks.0.self_attn.q.lokr_w2", [4, 2])], "LoKr"),
            ([("lora_unet_conv_in.oft_blocks", [4, 2])], "OFT"), ([("x.boft_R", [4])], "BOFT"),
            (good + [("lora_unet_conv_in.diff", [4])], "a whole change of a weight"),
            (path + [("diffusion_model.blocks.0.self_attn.q.diff_b", [4])], "a whole change of a bias"),
            (path + [("diffusion_model.blocks.0.cross_attn.norm_k.diff", [4])], "a whole change of a weight"),
            ([("base_model.model.m.vera_lambda_b", [4])], "give the folder"),
            ([("prompt_embeddings", [4, 2])], "prompt tuning"),
            ([("model.layers.0.self_attn.q_proj.weight", [4, 2])], "no adapter; none of its 1 tensors is LoRA's"),
            (pair("foo.bar.lora_A.weight", "foo.bar.lora_B.weight"), "named by none of the rules that are known"),
        ]
        for (tensors, says) in cases {
            try save(tensors, to: scratch("a.safetensors"))
            let error = failure { _ = try Adapter.read(path: scratch("a.safetensors")) }
            #expect(contains(error.message, says) && error.message.hasPrefix(scratch.path), "\(error.message)")
            #expect(!contains(error.message, "damaged") && error.code == .unsupported)
        }
    }

    // MARK: The LoRA part

    private func peft(
        _ scratch: Scratch, extra: [(String, [Int])] = [], fields: String = ""
    ) throws -> [String: [Float]] {
        mkdir(scratch("a"), 0o755)
        let config = #"{"peft_type":"LORA","r":2,"lora_alpha":2,"target_modules":["q_proj","lm_head"]\#(fields)}"#
        try AdaptersTests.write(config, to: scratch("a/adapter_config.json"))
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        return try save(
            pair(name + "A.weight", name + "B.weight") + extra, to: scratch("a/adapter_model.safetensors"))
    }

    static let extras: [(tensor: (String, [Int])?, fields: String, says: String)] = [
        (
            ("score.weight", [3, 6]), #","modules_to_save":["classifier","score"],"task_type":"SEQ_CLS""#,
            "score.weight"
        ),
        (nil, #","modules_to_save":["classifier","score"]"#, "fully trained modules"),
        (("lm_head.base_layer.weight", [8, 6]), "", "lm_head.base_layer.weight"),
        (
            ("model.embed_tokens.token_adapter.trainable_tokens_delta", [1, 6]), #","trainable_token_indices":[1]"#,
            "trainable_tokens"
        ),
        (("model.layers.0.self_attn.q_proj.lora_B.bias", [4]), #","lora_bias":true"#, "lora_B.bias"),
        (("model.layers.0.self_attn.q_proj.base_layer.bias", [4]), #","bias":"lora_only""#, "base_layer.bias"),
    ]

    @Test("The LoRA part on request, with what is left out said; the message says how", arguments: extras.indices)
    func loraPart(index: Int) throws {
        let (tensor, fields, says) = Self.extras[index]
        let scratch = try Scratch()
        _ = try peft(scratch, extra: tensor.map { [("base_model.model." + $0.0, $0.1)] } ?? [], fields: fields)
        let error = failure { _ = try Adapter.read(path: scratch("a")) }
        #expect(error.code == .unsupported && contains(error.message, "--lora-only"), "\(error.message)")
        var notes: [String] = []
        try Conversion.run(
            from: scratch("a"), to: scratch("o"), format: .peft, options: WriteOptions(), isLoRAEnough: true
        ) { notes.append($0) }
        #expect(notes.contains { contains($0, says) }, "\(notes)")
        #expect(try Adapter.read(path: scratch("o")).layout.modules.map(\.rank) == [2])
        let config = try JSON.read(path: scratch("o/adapter_config.json"))
        #expect(config["modules_to_save"]?.isNull ?? true)
    }

    @Test("A copy of the base's own table is left out unasked, and one that differs is not") func copies() throws {
        let scratch = try Scratch()
        mkdir(scratch("base"), 0o755)
        let table = try save(
            [("lm_head.weight", [8, 6]), ("model.layers.0.self_attn.q_proj.weight", [4, 6])],
            to: scratch("base/model.safetensors"), seed: 9)
        try AdaptersTests.write(#"{"model_type":"llama"}"#, to: scratch("base/config.json"))
        for (type, name) in [
            (ElementType.f32, "lm_head.base_layer.weight"), (.f16, "lm_head.weight"), (.bf16, "lm_head.weight"),
        ] {
            for change in [Float(0), 0.25] {
                _ = try peft(scratch, fields: #","modules_to_save":["lm_head"]"#)
                let own = try SafetensorsFile(path: scratch("a/adapter_model.safetensors"))
                var values = try #require(table["lm_head.weight"])
                values[17] += change
                var writer = SafetensorsWriter()
                for tensor in own.tensors {
                    try writer.add(tensor.name, shape: tensor.shape, elements: try own.floats(tensor.name))
                }
                try values.withUnsafeBufferPointer { values in
                    try writer.add("base_model.model." + name, shape: [8, 6], floats: values, as: type)
                    try writer.write(to: scratch("a/adapter_model.safetensors"))
                }
                var notes: [String] = []
                func merge() throws {
                    try Application.run(
                        model: scratch("base"), adapter: scratch("a"), to: scratch("m"), mode: .merge
                    ) { notes.append($0) }
                }
                if change == 0 {
                    try merge()
                    #expect(notes.contains { contains($0, "equal to the base model's") && contains($0, name) })
                } else {
                    let error = failure { try merge() }
                    #expect(error.code == .unsupported && contains(error.message, name), "\(error.message)")
                }
            }
        }
    }
}
