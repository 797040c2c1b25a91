import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

@Suite("Application") struct ApplicationTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// An adapter of the linear layers of the models that Golden/make_hosts.py exports.
    private func modelAdapter() throws -> Adapter {
        let layout = try Layout(modules: [
            ModuleShape(name: "layers.0.q_proj", inputs: 6, outputs: 8, rank: 2, alpha: 3),
            ModuleShape(name: "layers.0.up_proj", inputs: 8, outputs: 5, rank: 3, alpha: 1),
            ModuleShape(name: "head", inputs: 5, outputs: 3, rank: 1, alpha: 1),
        ])
        var random = TestRandom(state: 2)
        return try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
    }

    @Test(
        "Shards: weights get the update, all other bytes stay, and unmerging undoes it",
        arguments: [ElementType.f32, .bf16])
    func shards(type: ElementType) throws {
        let adapter = try randomAdapter()
        try adapter.write(to: scratch("adapter"), format: .peft, options: WriteOptions(form: .kept))
        mkdir(scratch("base"), 0o777)
        var weights: [String: [Float]] = [:]
        var map: JSONObject = [:]
        for layer in 0..<2 {
            var writer = SafetensorsWriter(metadata: ["format": "pt"])
            var buffers: [UnsafeMutableBufferPointer<Float>] = []
            defer { for buffer in buffers { buffer.deallocate() } }
            for module in adapter.layout.modules where module.layerIndex == layer {
                let values = pattern(layer, module.inputs * module.outputs)
                let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: values.count)
                _ = buffer.initialize(from: values)
                buffers.append(buffer)
                weights[module.name] = values
                try writer.add(
                    module.name + ".weight", shape: [module.outputs, module.inputs],
                    floats: UnsafeBufferPointer(buffer),
                    as: type)
                map[module.name + ".weight"] = .string("shard-\(layer).safetensors")
            }
            try writer.add("norm.\(layer)", shape: [3], elements: [1, 2, 3] as [Float])
            try writer.write(to: scratch("base/shard-\(layer).safetensors"))
        }
        try write(
            try JSON.object(["weight_map": .object(map)]).text(), to: scratch("base/model.safetensors.index.json"))
        try write("{}", to: scratch("base/config.json"))
        try Application.run(
            model: scratch("base"), adapter: scratch("adapter"), to: scratch("merged"), mode: .merge, scale: 0.5)
        #expect(
            Scratch.names(scratch("merged")) == [
                "config.json", "model.safetensors.index.json", "shard-0.safetensors", "shard-1.safetensors",
            ])
        try Application.run(
            model: scratch("merged"), adapter: scratch("adapter"), to: scratch("back"), mode: .unmerge, scale: 0.5)
        for (i, module) in adapter.layout.modules.enumerated() {
            let name = "shard-\(module.layerIndex ?? 0).safetensors"
            let merged = try SafetensorsFile(path: scratch("merged/" + name))
            let back = try SafetensorsFile(path: scratch("back/" + name))
            let old = try #require(weights[module.name])
            let expected = zip(old, product(adapter, i)).map { Double($0) + 0.5 * $1 }
            let found = try merged.floats(module.name + ".weight")
            let tolerance = type == .f32 ? 1e-6 : 0x1p-8
            for (x, y) in zip(found, expected) {
                #expect(abs(Double(x) - y) <= tolerance * max(1, abs(y)))
                if type == .bf16, Half.float(fromBrain: Half.brain(Float(y))) != x {
                    #expect(abs(Double(x) - y) < 0x1p-7 * abs(y))
                }
            }
            for (x, y) in zip(try back.floats(module.name + ".weight"), old) {
                #expect(abs(x - y) <= Float(tolerance) * 16)
            }
            #expect(try merged.floats("norm.\(module.layerIndex ?? 0)") == [1, 2, 3])
            #expect(merged.metadata == ["format": "pt"])
        }
        let other = failure {
            try Application.run(model: scratch("base"), adapter: golden("peft-f32"), to: scratch("no"), mode: .merge)
        }
        #expect(other.code == .mismatch && !scratch.names.contains("no"))
    }

    @Test(
        "ONNX models of both exporters: put in, taken out to the same bytes, merged",
        arguments: ["torchscript", "dynamo"])
    func onnx(exporter: String) throws {
        let adapter = try modelAdapter()
        try adapter.write(to: scratch("adapter"), format: .peft, options: WriteOptions(form: .kept))
        let model = golden("hosts/\(exporter).onnx")
        for (mode, name) in [(Application.Mode.inject, "in.onnx"), (.inputs, "swap.onnx")] {
            try Application.run(model: model, adapter: scratch("adapter"), to: scratch(name), mode: mode)
            let graph = try ONNXGraph(path: scratch(name))
            #expect(graph.nodes.filter { $0.name.hasPrefix("loragen/") }.count == 9)
            let a = try #require(graph.initializers[ByteKey("layers.0.q_proj.lora_A.weight")])
            #expect(a.shape == (mode == .inject ? [6, 2] : [6, 0]))
            #expect(
                failure {
                    try Application.run(
                        model: scratch(name), adapter: scratch("adapter"), to: scratch("no.onnx"), mode: mode)
                }.code == .unsupported)
            try Application.run(model: scratch(name), adapter: nil, to: scratch("back.onnx"), mode: .remove)
            #expect(try contents(scratch("back.onnx")) == contents(model))
        }
        try Application.run(model: model, adapter: scratch("adapter"), to: scratch("merged.onnx"), mode: .merge)
        let (old, new) = (try ONNXGraph(path: model), try ONNXGraph(path: scratch("merged.onnx")))
        #expect(old.file.size == new.file.size)
        let layers = try old.layers()
        for (i, module) in adapter.layout.modules.enumerated() {
            let layer = try #require(try old.layers(for: module, in: layers).first)
            guard case .inside(let range) = layer.weight.data else { return #expect(Bool(false)) }
            func weight(_ graph: ONNXGraph) -> [Float] {
                (0..<(range.count / 4)).map {
                    graph.file.bytes.loadUnaligned(fromByteOffset: range.lowerBound + 4 * $0, as: Float.self)
                }
            }
            let (before, after, update) = (weight(old), weight(new), product(adapter, i))
            for row in 0..<module.outputs {
                for column in 0..<module.inputs {
                    let place =
                        layer.order == .outputsFirst ? row * module.inputs + column : column * module.outputs + row
                    let expected = Double(before[place]) + update[row * module.inputs + column]
                    #expect(abs(Double(after[place]) - expected) < 1e-6)
                }
            }
        }
    }

    @Test("Numbers beyond protobuf's limit go into a file beside the model")
    func externalData() throws {
        let adapter = try randomAdapter(metadata: ["loragen.origin": "{}"])
        for name in ["a.onnx", "b.onnx"] {
            try ONNX.write(adapter, to: scratch(name), options: WriteOptions(form: .kept), dataLimit: 100)
        }
        #expect(scratch.names == ["a.onnx", "a.onnx.data", "b.onnx", "b.onnx.data"])
        #expect(try contents(scratch("a.onnx.data")) == contents(scratch("b.onnx.data")))
        let back = try Adapter.read(path: scratch("a.onnx"))
        #expect(back.layout == adapter.layout && back.copyValues() == adapter.copyValues())
        #expect(back.metadata == adapter.metadata)
        try write(Array(contents(scratch("a.onnx.data")).dropLast()), to: scratch("a.onnx.data"))
        #expect(failure { _ = try Adapter.read(path: scratch("a.onnx")) }.code == .format)
    }

    @Test("Changed models are refused or read, and nothing else")
    func mutations() throws {
        try modelAdapter().write(to: scratch("adapter"), format: .peft)
        let good = try contents(golden("hosts/torchscript.onnx"))
        var random = TestRandom(state: 3)
        for _ in 0..<400 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            try write(bytes, to: scratch("m.onnx"))
            guard let graph = try? ONNXGraph(path: scratch("m.onnx")) else { continue }
            _ = try? graph.layers()
            try? ONNXMerge.run(model: scratch("m.onnx"), adapter: try modelAdapter(), to: scratch("n.onnx"), scale: 1)
        }
    }

    @Test("Conversion module by module writes the bytes that an adapter in memory writes")
    func streamedConversion() throws {
        let adapter = try randomAdapter(rank: 4, metadata: ["loragen.origin": "{}"])
        try adapter.write(to: scratch("source"), format: .peft, options: WriteOptions(form: .kept))
        try adapter.write(to: scratch("source.safetensors"), format: .safetensors, options: WriteOptions(form: .kept))
        for source in ["source", "source.safetensors"] {
            let all = [WriteOptions(), WriteOptions(form: .kept), WriteOptions(type: .bf16), WriteOptions(type: .f16)]
            for options in all {
                let held = try Adapter.read(path: scratch(source))
                try held.write(to: scratch("held"), format: .peft, options: options)
                try Conversion.run(from: scratch(source), to: scratch("streamed"), format: .peft, options: options)
                for file in ["adapter_model.safetensors", "adapter_config.json"] {
                    #expect(try contents(scratch("held/\(file)")) == contents(scratch("streamed/\(file)")))
                }
                try held.write(to: scratch("held.safetensors"), format: .safetensors, options: options)
                try Conversion.run(
                    from: scratch(source), to: scratch("streamed.safetensors"), format: .safetensors, options: options)
                #expect(try contents(scratch("held.safetensors")) == contents(scratch("streamed.safetensors")))
            }
        }
    }

    @Test("Conversion module by module names the file of a number that is not one, and writes nothing")
    func streamedNonFinite() throws {
        try randomAdapter(rank: 4).write(to: scratch("nan"), format: .peft, options: WriteOptions(form: .kept))
        var bytes = try contents(scratch("nan/adapter_model.safetensors"))
        bytes.replaceSubrange(bytes.count - 4..<bytes.count, with: [0, 0, 0xc0, 0x7f])
        try write(bytes, to: scratch("nan/adapter_model.safetensors"))
        let error = #expect(throws: LoragenError.self) {
            try Conversion.run(
                from: scratch("nan"), to: scratch("nan.safetensors"), format: .safetensors, options: WriteOptions())
        }
        #expect(error?.code == .nonFinite)
        #expect(error?.message.contains("nan/adapter_model.safetensors") == true)
        #expect(throws: LoragenError.self) { try Adapter.read(path: scratch("nan.safetensors")) }
    }

    @Test("Conversion says what is lost, and refuses what changes numbers")
    func conversion() throws {
        let adapter = try randomAdapter(rank: 32, metadata: ["loragen.origin": "{}"])
        var options = WriteOptions(form: .kept)
        for format in [AdapterFormat.safetensors, .peft, .gguf, .npz] {
            #expect(Conversion.losses(of: adapter, format: format, options: options).isEmpty)
        }
        options.quantized = true
        #expect(Conversion.losses(of: adapter, format: .gguf, options: options).contains { $0.changesNumbers })
        #expect(Conversion.losses(of: adapter, format: .onnxAdapter, options: WriteOptions()).count == 3)
        #expect(!Conversion.losses(of: adapter, format: .peft, options: WriteOptions(type: .bf16, form: .kept)).isEmpty)
    }

    @Test("A suffix says the format; an unknown one is refused and not taken for a folder's name")
    func suffixes() throws {
        let scratch = try Scratch()
        mkdir(scratch("folder.v"), 0o755)
        for (path, format) in [
            ("a.gguf", AdapterFormat.gguf), ("a.onnx_adapter", .onnxAdapter), ("a.onnx", .onnx), ("a.npz", .npz),
            ("x/a.safetensors", .safetensors), ("a", .peft), ("llama-3.1", .peft), ("llama-3.1-8b", .peft),
            (".a", .peft),
            ("../a", .peft), ("a.weird/", .peft), (scratch("folder.v"), .peft), ("x.d/a", .peft), (".", .peft),
        ] {
            #expect(try AdapterFormat(path: path) == format, "\(path)")
        }
        for path in ["out.weird", "a.bin", "a.safetensor", "x/a.PT"] {
            let error = failure { _ = try AdapterFormat(path: path) }
            #expect(error.code == .invalidArgument && contains(error.message, ".onnx_adapter"), "\(path)")
        }
    }
}
