import Tensor
import Testing

@testable import Files
@testable import Formats
@testable import Hosts

extension VerifyTests {
    /// Writes a base model's weights: names with types and shapes, all zero.
    private func weights(_ tensors: [(String, ElementType, [Int])]) throws -> String {
        var writer = SafetensorsWriter(metadata: [:])
        for (name, type, shape) in tensors {
            let size = try #require(type.byteCount(shape: shape)).bytes
            try writer.add(name, type: type, shape: shape) { (sink) throws(LoragenError) in
                let zeros = [UInt8](repeating: 0, count: size)
                try zeros.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        try writer.write(to: scratch("base.safetensors"))
        return scratch("base.safetensors")
    }

    @Test(
        "A quantised base has the modules: GPTQ, AWQ, bitsandbytes, FP8 and others",
        arguments: [
            [(".qweight", ElementType.i32, [1, 8]), (".qzeros", .i32, [1, 1]), (".scales", .f16, [1, 8])],
            [(".weight", .u8, [32, 1]), (".weight.absmax", .f32, [1])],
            [(".weight", .i8, [8, 8]), (".SCB", .f32, [8])],
            [(".weight", .f8E4M3, [8, 8]), (".weight_scale", .f32, [1])],
            [(".weight_packed", .i32, [8, 1]), (".weight_scale", .bf16, [8, 1])], [(".W_q", .u8, [4, 8])],
        ])
    func quantised(parts: [(String, ElementType, [Int])]) throws {
        let name = "model.layers.0.self_attn.q_proj"
        let path = try write([try module(name)])
        let base = try weights(parts.map { (name + $0.0, $0.1, $0.2) } + [("lm_head.weight", .f16, [20, 8])])
        let verification = try Verification(adapter: path, base: base)
        #expect(codes(verification) == [], "\(verification.text)")
        #expect(try verdict(verification, "PEFT").outcome == .asStated)
        let error = failure {
            try Application.run(model: base, adapter: path, to: scratch("m.safetensors"), mode: .merge)
        }
        #expect(error.code == .unsupported || contains(error.message, parts[0].1.rawValue), "\(error.message)")
    }

    @Test("The shape of FP8 weights is looked at") func quantisedShape() throws {
        let name = "model.layers.0.self_attn.q_proj"
        let base = try weights([(name + ".weight", .f8E4M3, [16, 8])])
        #expect(try codes(Verification(adapter: write([module(name)]), base: base)) == ["wrong-shape"])
    }

    @Test("A tied output layer is in the model, and merging into it is refused with that reason") func tiedHead() throws
    {
        let path = try write([try module("lm_head", (20, 8)), try module("model.layers.0.self_attn.q_proj")])
        let base = try weights([
            ("model.embed_tokens.weight", .f32, [20, 8]), ("model.layers.0.self_attn.q_proj.weight", .f32, [8, 8]),
        ])
        let verification = try Verification(adapter: path, base: base)
        #expect(codes(verification) == [] && codes(verification, .warning).contains("tied-embeddings"))
        #expect(try verdict(verification, "llama.cpp").outcome == .refused)
        let error = failure {
            try Application.run(model: base, adapter: path, to: scratch("m.safetensors"), mode: .merge)
        }
        #expect(error.code == .unsupported && contains(error.message, "tied"))
        let wrong = try write([try module("lm_head", (21, 8))])
        #expect(try codes(Verification(adapter: wrong, base: base)) == ["wrong-shape"])
    }

    @Test("Where modules are missing no host applies the adapter as stated", arguments: [1, 3])
    func hostsOfMisfits(missing: Int) throws {
        let names = ["query", "key", "value"]
        let modules = try names.enumerated().map {
            try module("model.layers.\($0).self_attn." + ($0 < missing ? $1 : "q_proj"))
        }
        let verification = try Verification(adapter: write(modules), base: base())
        #expect(codes(verification).contains("missing-module") && verification.hosts.count == 6)
        #expect(verification.hosts.allSatisfy { $0.outcome != .asStated })
        #expect(
            try verdict(verification, "PEFT").outcome == .partial && verdict(verification, "vLLM").outcome == .refused)
        #expect(try verdict(verification, "PEFT").reason.hasPrefix("\(missing) of 3"))
        let wide = try Verification(adapter: write([module("model.layers.0.self_attn.q_proj", (16, 8))]), base: base())
        #expect(codes(wide) == ["wrong-shape"] && wide.hosts.allSatisfy { $0.outcome == .refused })
    }

    @Test(
        "Another prefix is that of a class of transformers, or the module is not there",
        arguments: [
            ("model.", "", true), ("", "model.", true), ("model.language_model.", "model.", false),
            ("student.model.", "model.", false),
            ("module.", "", false), ("language_model.model.", "model.", true),
        ])
    func prefixes(theirs: String, ours: String, fits: Bool) throws {
        let base = try weights([(ours + "layers.0.self_attn.q_proj.weight", .f32, [8, 8])])
        let verification = try Verification(adapter: write([module(theirs + "layers.0.self_attn.q_proj")]), base: base)
        #expect(codes(verification) == (fits ? [] : ["missing-module"]), "\(verification.text)")
    }

    @Test(
        "Keys from a wrapped model are refused with the wrapper's name",
        arguments: [
            "_orig_mod.model.layers.0", "model.layers.0._fsdp_wrapped_module", "module.model.layers.0",
            "base_model.model.model.layers.0", "model._orig_mod.layers.0._checkpoint_wrapped_module",
            "thinker.base_model.model.layers.0",
        ])
    func wrapped(path: String) throws {
        let folder = try write([try module(path + ".self_attn.q_proj")])
        let verification = try Verification(adapter: folder)
        let wrapper = ["_orig_mod", "_fsdp", "module", "base_model.model"].first { contains(path, $0) } ?? ""
        #expect(codes(verification) == ["unreadable"] && verification.hosts.isEmpty)
        #expect(contains(verification.findings[0].message, wrapper))
    }

    @Test("ONNX Runtime's row follows from the model's inputs") func onnxInputs() throws {
        let model = golden("hosts/dynamo.onnx")
        let graph = try ONNXGraph(path: model)
        #expect(try !graph.inputs().isEmpty)
        let adapter = try write([try module("fc", (5, 6))])
        try Conversion.run(from: adapter, to: scratch("a.onnx_adapter"), format: .onnxAdapter, options: WriteOptions())
        let alone = try Verification(adapter: scratch("a.onnx_adapter"))
        #expect(alone.hosts.map(\.host) == ["ONNX Runtime 1.31"] && alone.hosts[0].outcome == .asStated)
        let verification = try Verification(adapter: scratch("a.onnx_adapter"), base: model)
        #expect(codes(verification).contains("missing-input") && verification.hosts[0].outcome == .refused)
        #expect(verification.findings.contains { contains($0.message, "apply MODEL ADAPTER --inputs") })
    }

    @Test("Empty tensors are named as what was not gathered") func empty() throws {
        let name = "model.layers.0.self_attn.q_proj"
        let folder = try write([try module(name)])
        for shapes in [[[0], [0]], [[0], [8, 2]], [[2, 8], [8, 0]]] {
            var writer = SafetensorsWriter(metadata: ["format": "pt"])
            for (side, shape) in zip(["A", "B"], shapes) {
                let zeros = [Float](repeating: 0, count: shape.reduce(1, *))
                try writer.add("base_model.model.\(name).lora_\(side).weight", shape: shape, elements: zeros)
            }
            try writer.write(to: folder + "/adapter_model.safetensors")
            let verification = try Verification(adapter: folder)
            #expect(codes(verification) == ["unreadable"] && verification.hosts.isEmpty)
            #expect(contains(verification.findings[0].message, "ZeRO-3"), "\(verification.findings[0].message)")
        }
    }
}
