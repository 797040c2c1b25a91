import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

@Suite("Diffusion models") struct DiffusionTests {
    /// Kohya's names of diffusers' paths, as diffusers 0.42.1 maps them; Tests/acceptance checks every module of whole
    /// pipelines.
    static let names: [(DiffusionModel, path: String, kohya: String)] = [
        (.stableDiffusion1, "unet.conv_in", "lora_unet_conv_in"),
        (
            .stableDiffusion1, "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
        ),
        (
            .stableDiffusion1, "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0"
        ),
        (
            .stableDiffusion1, "unet.up_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj",
            "lora_unet_up_blocks_2_attentions_1_transformer_blocks_0_ff_net_0_proj"
        ),
        (
            .stableDiffusion1, "unet.down_blocks.0.resnets.1.time_emb_proj",
            "lora_unet_down_blocks_0_resnets_1_time_emb_proj"
        ),
        (.stableDiffusion1, "unet.time_embedding.linear_1", "lora_unet_time_embedding_linear_1"),
        (
            .stableDiffusion1, "text_encoder.text_model.encoder.layers.3.self_attn.out_proj",
            "lora_te_text_model_encoder_layers_3_self_attn_out_proj"
        ), (.stableDiffusionXL, "unet.conv_in", "lora_unet_input_blocks_0_0"),
        (.stableDiffusionXL, "unet.conv_out", "lora_unet_out_2"),
        (.stableDiffusionXL, "unet.time_embedding.linear_2", "lora_unet_time_embed_2"),
        (.stableDiffusionXL, "unet.add_embedding.linear_1", "lora_unet_label_emb_0_0"),
        (.stableDiffusionXL, "unet.down_blocks.0.resnets.1.conv1", "lora_unet_input_blocks_2_0_in_layers_2"),
        (.stableDiffusionXL, "unet.down_blocks.1.downsamplers.0.conv", "lora_unet_input_blocks_6_0_op"),
        (
            .stableDiffusionXL, "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
            "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"
        ),
        (.stableDiffusionXL, "unet.up_blocks.0.upsamplers.0.conv", "lora_unet_output_blocks_2_2_conv"),
        (.stableDiffusionXL, "unet.up_blocks.1.attentions.2.proj_in", "lora_unet_output_blocks_5_1_proj_in"),
        (.stableDiffusionXL, "unet.up_blocks.2.resnets.2.conv_shortcut", "lora_unet_output_blocks_8_0_skip_connection"),
        (
            .stableDiffusionXL, "text_encoder_2.text_model.encoder.layers.31.mlp.fc2",
            "lora_te2_text_model_encoder_layers_31_mlp_fc2"
        ), (.stableDiffusionXL, "text_encoder_2.text_projection", "lora_te2_text_projection"),
        (.flux, "transformer.transformer_blocks.7.attn.to_add_out", "lora_unet_double_blocks_7_txt_attn_proj"),
        (.flux, "transformer.transformer_blocks.18.ff_context.net.0.proj", "lora_unet_double_blocks_18_txt_mlp_0"),
        (.flux, "transformer.single_transformer_blocks.37.proj_out", "lora_unet_single_blocks_37_linear2"),
        (.flux, "transformer.single_transformer_blocks.0.norm.linear", "lora_unet_single_blocks_0_modulation_lin"),
    ]

    func adapter(
        _ names: [String], ranks: [Int] = [3], alpha: Double = 6, inputs: Int = 4, kernel: [Int] = [],
        outputs: (String) -> Int = { _ in 5 }
    ) throws -> Adapter {
        var modules: [ModuleShape] = []
        for (i, name) in names.enumerated() {
            modules.append(
                try ModuleShape(
                    name: name, kind: kernel.isEmpty ? .linear : .convolution, inputs: inputs, outputs: outputs(name),
                    kernel: kernel, rank: ranks[i % ranks.count], alpha: alpha))
        }
        let layout = try Layout(modules: modules)
        var random = TestRandom(state: 3)
        return try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
    }

    func expectSame(_ a: Adapter, _ b: Adapter, _ bound: Double = 1e-6) {
        #expect(a.layout.modules.map(\.name) == b.layout.modules.map(\.name))
        for i in a.layout.modules.indices {
            #expect(relativeError(product(a, i), product(b, i)) < bound, "\(a.layout.modules[i].name)")
        }
    }

    @Test("Every path gets its name, and the name its path", arguments: names.indices) func name(index: Int) throws {
        let (model, path, kohya) = Self.names[index]
        let scratch = try Scratch()
        let adapter = try adapter([path])
        try adapter.write(to: scratch("a.safetensors"), format: .kohya, options: WriteOptions(model: model))
        let file = try SafetensorsFile(path: scratch("a.safetensors"))
        #expect(
            file.tensors.map(\.name).sorted()
                == ["alpha", "lora_down.weight", "lora_up.weight"].map { "\(kohya).\($0)" })
        expectSame(try Adapter.read(path: scratch("a.safetensors")), adapter)
    }

    @Test("Kohya's alpha: the rank, which is one for all modules, as every release of diffusers reads it") func alpha()
        throws
    {
        let scratch = try Scratch()
        let names = ["unet.conv_in", "unet.mid_block.attentions.0.proj_in", "unet.mid_block.attentions.0.proj_out"]
        func write(_ adapter: Adapter, _ form: WriteOptions.Form, _ model: DiffusionModel? = .stableDiffusion1) throws
            -> SafetensorsFile
        {
            try adapter.write(
                to: scratch("a.safetensors"), format: .kohya, options: WriteOptions(form: form, model: model))
            return try SafetensorsFile(path: scratch("a.safetensors"))
        }
        let even = try adapter(names, kernel: [3, 3])
        #expect(try write(even, .baked).floats("lora_unet_conv_in.alpha") == [3])
        #expect(try write(even, .kept).floats("lora_unet_conv_in.alpha") == [6])
        expectSame(try Adapter.read(path: scratch("a.safetensors")), even)
        let odd = try adapter(names, ranks: [2, 3])
        let file = try write(odd, .baked)
        for name in ["conv_in", "mid_block_attentions_0_proj_in", "mid_block_attentions_0_proj_out"] {
            #expect(file.tensor("lora_unet_\(name).lora_down.weight")?.shape[0] == 3)
            #expect(try file.floats("lora_unet_\(name).alpha") == [3])
        }
        #expect(file.metadata["ss_network_dim"] == "3" && file.metadata["ss_network_alpha"] == "3.0")
        #expect(file.metadata["modelspec.architecture"] == "stable-diffusion-v1/lora")
        expectSame(try Adapter.read(path: scratch("a.safetensors")), odd)
        #expect(contains(failure { _ = try write(odd, .kept) }.message, "diffusers misreads alphas"))
        #expect(contains(failure { _ = try write(even, .baked, nil) }.message, "sd1, sdxl or flux"))
        #expect(failure { _ = try write(even, .portable) }.code == .unsupported)
    }

    @Test("Flux: fused matrices block by block, zeros for what the adapter lacks") func flux() throws {
        let scratch = try Scratch()
        let names =
            ["attn.to_q", "attn.to_v", "attn.add_k_proj", "norm1.linear"].map {
                "transformer.transformer_blocks.1.\($0)"
            }
            + ["attn.to_k", "proj_mlp"].map { "transformer.single_transformer_blocks.0.\($0)" }
            + ["text_encoder.text_model.encoder.layers.0.mlp.fc1"]
        func rows(_ name: String) -> Int {
            name.hasSuffix("proj_mlp") ? 16 : name.hasSuffix("norm1.linear") ? 24 : 4
        }
        for ranks in [[2], [2, 3]] {
            let source = try adapter(names, ranks: ranks, outputs: rows)
            try source.write(to: scratch("a.safetensors"), format: .kohya)
            let file = try SafetensorsFile(path: scratch("a.safetensors"))
            let rank = try #require(file.tensor("lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight")).shape[0]
            #expect(try file.floats("lora_unet_double_blocks_1_img_attn_qkv.alpha") == [Float(rank)])
            #expect(file.tensor("lora_unet_single_blocks_0_linear1.lora_up.weight")?.shape[0] == 28)
            #expect(file.metadata["ss_base_model_version"] == "flux1")
            expectSame(try Adapter.read(path: scratch("a.safetensors")), source)
        }
        // One lora_down for all parts, as some trainers write it.
        var writer = SafetensorsWriter()
        let down = (0..<8).map { Float($0) }
        let up = (0..<24).map { Float($0) - 7 }
        let name = "lora_unet_double_blocks_0_img_attn_qkv"
        try writer.add(name + ".lora_down.weight", shape: [2, 4], elements: down)
        try writer.add(name + ".lora_up.weight", shape: [12, 2], elements: up)
        try writer.add(name + ".alpha", shape: [1], elements: [Int64(4)])
        try writer.write(to: scratch("b.safetensors"))
        let read = try Adapter.read(path: scratch("b.safetensors"))
        #expect(read.layout.modules.count == 3)
        for (i, module) in read.layout.modules.enumerated() {
            let part = try #require(["to_k", "to_q", "to_v"].firstIndex { module.name.hasSuffix($0) })
            let start = [1, 0, 2][part] * 4
            let expected = (0..<16).map { k -> Double in
                let (row, column) = (start + k / 4, k % 4)
                return 2 * Double(up[2 * row] * down[column] + up[2 * row + 1] * down[4 + column])
            }
            #expect(relativeError(product(read, i), expected) < 1e-6)
        }
    }

    @Test("diffusers' file: with and without metadata, and PEFT of one component") func diffusers() throws {
        let scratch = try Scratch()
        let names = ["unet.conv_in", "unet.mid_block.attentions.0.proj_in", "text_encoder.encoder.layers.0.mlp.fc1"]
        let source = try adapter(names, ranks: [2, 3])
        for form in [WriteOptions.Form.baked, .kept] {
            try source.write(to: scratch("a.safetensors"), format: .diffusers, options: WriteOptions(form: form))
            let file = try SafetensorsFile(path: scratch("a.safetensors"))
            #expect(file.tensor("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight") != nil)
            #expect((file.metadata["lora_adapter_metadata"] != nil) == (form == .kept))
            let back = try Adapter.read(path: scratch("a.safetensors"))
            #expect(form == .baked || back.layout.modules.map(\.alpha) == source.layout.modules.map(\.alpha))
            for (i, module) in source.layout.modules.enumerated() {
                let name = DiffusionName(module.name)?.text
                let place = try #require(back.layout.modules.firstIndex { $0.name == name })
                #expect(relativeError(product(back, place), product(source, i)) < 1e-6)
            }
        }
        let error = failure { try source.write(to: scratch("p"), format: .peft) }
        #expect(contains(error.message, "for one model") && contains(error.message, "text_encoder, unet"))
        let unet = try adapter(Array(names.prefix(2)))
        try unet.write(to: scratch("p"), format: .peft)
        #expect(
            try PEFTFolder.read(path: scratch("p")).layout.modules.map(\.name) == [
                "conv_in", "mid_block.attentions.0.proj_in",
            ])
        let pixart = try adapter(["transformer_blocks.0.attn1.to_q"])
        for format in [AdapterFormat.diffusers, .kohya] {
            #expect(
                contains(
                    failure { try pixart.write(to: scratch("x"), format: format) }.message, "PeftModel.from_pretrained")
            )
        }
        #expect(
            contains(
                failure { try randomAdapter().write(to: scratch("x"), format: .kohya) }.message, "diffusion pipeline"))
        let dora = try ModuleShape(name: "unet.conv_in", inputs: 1, outputs: 1, rank: 1, alpha: 1, hasMagnitude: true)
        let magnitudes = try Adapter(layout: Layout(modules: [dora]), values: [1, 1, 1])
        #expect(contains(failure { try magnitudes.write(to: scratch("x"), format: .diffusers) }.message, "is DoRA"))
        #expect(!scratch.names.contains("x"))
    }

    @Test("Files that hosts misread or drop parts of are refused by tensor") func refused() throws {
        let scratch = try Scratch()
        func read(_ tensors: [(String, [Int])]) throws -> LoragenError {
            var writer = SafetensorsWriter()
            for (name, shape) in tensors {
                try writer.add(name, shape: shape, elements: [Float](repeating: 1, count: shape.reduce(1, *)))
            }
            try writer.write(to: scratch("a.safetensors"))
            return failure { _ = try Adapter.read(path: scratch("a.safetensors")) }
        }
        let good = [
            ("lora_unet_conv_in.lora_down.weight", [2, 4, 3, 3]), ("lora_unet_conv_in.lora_up.weight", [5, 2, 1, 1]),
        ]
        let cases: [([(String, [Int])], String)] = [
            ([good[0]], "has no lora_up"), ([good[1]], "has no lora_down"),
            (good + [("lora_unet_conv_in.dora_scale", [5])], "DoRA's scale"),
            (good + [("lora_unet_conv_in.lora_mid.weight", [2, 2, 3, 3])], "Tucker"),
            (good + [("lora_unet_conv_in.alpha", [2])], "expected one number"),
            (good + [("unet.conv_in.lora_A.weight", [2, 4])], "none of kohya's"),
            (good + [("x", [1])], "none of kohya's"),
            ([good[0], ("lora_unet_conv_in.lora_up.weight", [5, 3, 1, 1])], "expected [rank, in, kernel...]"),
            ([("lora_unet_foo.lora_down.weight", [2, 4]), ("lora_unet_foo.lora_up.weight", [5, 2])], "is no module"),
            (
                [("lora_te3_encoder.lora_down.weight", [2, 4]), ("lora_te3_encoder.lora_up.weight", [5, 2])],
                "is no module"
            ),
            (
                [
                    ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", [3, 4]),
                    ("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", [11, 3]),
                ], "expected 12 rows"
            ), ([("unet.conv_in.lora_A.weight", [2, 4])], "has no lora_B"),
            ([("unet.foo.lora_A.weight", [2, 4])], "of no module that is known"),
            ([("unet.base_model.model.conv_in.lora_A.weight", [2, 4])], "of no module that is known"),
        ]
        for (tensors, says) in cases {
            let error = try read(tensors)
            #expect(contains(error.message, says) && error.message.hasPrefix(scratch.path), "\(error.message)")
        }
    }
}
