import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

/// Adapters that are sound as files and whose names or sizes are not what any model has.
@Suite("Hostile adapters") struct HostileTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private static let indices = [
        "1048575", "4611686018427387904", "9223372036854775807", "18446744073709551616", "-9223372036854775808", "+7",
    ]

    private func adapter(_ names: [String], rank: Int = 1, size: Int = 8) throws -> Adapter {
        let layout = try Layout(
            modules: names.map { try ModuleShape(name: $0, inputs: size, outputs: size, rank: rank, alpha: 1) })
        return try Adapter(layout: layout, values: [Float](repeating: 1, count: layout.valueCount))
    }

    /// Every way out of the library; an error is fine.
    private func tryEverything(_ adapter: Adapter, _ path: String) throws {
        let formats: [AdapterFormat] = [.peft, .safetensors, .diffusers, .kohya, .gguf, .onnxAdapter, .npz]
        for format in formats {
            for form in [WriteOptions.Form.kept, .portable] {
                for model in [nil, DiffusionModel.stableDiffusion1, .stableDiffusionXL, .flux] {
                    if model != nil && format != .kohya { continue }
                    var options = WriteOptions(form: form, model: model)
                    options.base = "architecture=qwen2moe,heads=2,experts=2"
                    let target = scratch("out")
                    do throws(LoragenError) {
                        try adapter.write(to: target, format: format, options: options)
                        _ = try Adapter.read(path: target, base: options.base)
                    } catch { #expect(error.code != .internalError, "\(format) \(form): \(error)") }
                    _ = Conversion.losses(of: adapter, format: format, options: options)
                    for name in Scratch.names(scratch("out")) { unlink(scratch("out/\(name)")) }
                    if unlink(scratch("out")) != 0 { rmdir(scratch("out")) }
                }
            }
        }
        let check = try Verification(adapter: path)
        #expect(!check.text.isEmpty)
        _ = try check.json.text()
    }

    @Test("an index of a layer that no model has is no layer, wherever names are read", arguments: indices)
    func layers(index: String) throws {
        for pattern in [
            "model.layers.N.self_attn.q_proj", "text_encoder.text_model.encoder.layers.N.self_attn.q_proj",
            "unet.down_blocks.N.attentions.0.proj_in", "unet.down_blocks.1.attentions.N.proj_in",
            "unet.mid_block.resnets.N.conv1", "unet.mid_block.attentions.N.proj_in", "unet.up_blocks.N.resnets.N.conv2",
            "transformer.transformer_blocks.N.attn.to_q", "transformer.single_transformer_blocks.N.proj_out",
            "model.layers.0.mlp.experts.N.gate_proj", "model.layers.N.mlp.experts.N.down_proj",
        ] {
            let name = String(pattern.split(separator: "N", omittingEmptySubsequences: false).joined(separator: index))
            let made = try adapter([name])
            try made.write(to: scratch("folder"), format: .peft, options: WriteOptions(form: .kept))
            try tryEverything(made, scratch("folder"))
            let layer = made.layout.modules[0].layerIndex
            #expect(layer.map { (0..<nameIndexLimit).contains($0) } ?? true)
        }
    }

    @Test("kohya's names with such indices are refused", arguments: indices)
    func kohya(index: String) throws {
        for pattern in [
            "lora_unet_input_blocks_N_1_proj_in", "lora_unet_middle_block_N_proj_in",
            "lora_unet_output_blocks_N_0_in_layers_2",
            "lora_unet_double_blocks_N_img_attn_qkv", "lora_unet_down_blocks_N_attentions_N_proj_in",
        ] {
            let name = String(pattern.split(separator: "N", omittingEmptySubsequences: false).joined(separator: index))
            var writer = SafetensorsWriter(metadata: [:])
            try writer.add(name + ".lora_down.weight", shape: [1, 8], elements: [Float](repeating: 1, count: 8))
            try writer.add(name + ".lora_up.weight", shape: [24, 1], elements: [Float](repeating: 1, count: 24))
            try writer.write(to: scratch("kohya.safetensors"))
            do throws(LoragenError) { _ = try Adapter.read(path: scratch("kohya.safetensors")) } catch {
                #expect(error.code != .internalError, "\(error)")
            }
        }
    }

    @Test func `the portable form of a text encoder has names for the layers that were added`() throws {
        let made = try adapter(["text_encoder.text_model.encoder.layers.3.self_attn.q_proj"])
        try made.write(to: scratch("a.safetensors"), format: .diffusers, options: WriteOptions(form: .portable))
        let read = try Adapter.read(path: scratch("a.safetensors"))
        #expect(
            read.layout.modules.map(\.name)
                == (0...3).map { "text_encoder.text_model.encoder.layers.\($0).self_attn.q_proj" })
        for (i, square) in read.squaredNorms().enumerated() { #expect((square > 0) == (i == 3), "layer \(i)") }
    }

    @Test func `experts that a file of nothing claims are refused`() throws {
        // 2^62 rows of no columns take no byte.
        let key = "base_model.model.model.layers.0.mlp.experts"
        let header =
            "{\"\(key).lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,0],\"data_offsets\":[0,0]},"
            + "\"\(key).lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904],\"data_offsets\":[0,0]}}"
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
        try write(length + Array(header.utf8), to: scratch("adapter_model.safetensors"))
        try write(
            """
            {"peft_type":"LORA","r":1,"lora_alpha":1,"target_modules":[],"peft_version":"0.19.0","bias":"none",
            "target_parameters":["mlp.experts.gate_up_proj"]}
            """, to: scratch("adapter_config.json"))
        let error = failure { _ = try Adapter.read(path: scratch.path) }
        #expect([.unsupported, .format].contains(error.code), "\(error)")
    }

    @Test func `a model's config with counts that no model has says nothing of layers`() throws {
        for count in ["9223372036854775807", "-9223372036854775808", "1e300", "0"] {
            try write("{\"model_type\":\"llama\",\"num_hidden_layers\":\(count)}", to: scratch("config.json"))
            let made = try adapter(["model.layers.0.self_attn.q_proj"])
            try made.write(to: scratch("a"), format: .peft)
            do throws(LoragenError) {
                _ = try Verification(adapter: scratch("a"), base: scratch("config.json"))
            } catch { #expect(error.code == .unsupported, "\(error)") }
        }
    }
}
