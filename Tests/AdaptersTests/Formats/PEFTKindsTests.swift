import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

/// Every kind of module that PEFT adapts, against PEFT's own files and `get_delta_weight`, see Golden/make.py.
@Suite("Kinds of modules") struct PEFTKindsTests {
    static let names = ["peft-kinds", "peft-dora", "peft-gpt2"]

    /// A module's update as the base model's weight is laid out.
    func update(_ adapter: Adapter, _ index: Int) -> [Double] {
        let module = adapter.layout.modules[index]
        let flat = product(adapter, index)
        if module.kind == .linear || module.kind == .convolution { return flat }
        return (0..<module.columns).flatMap { column in
            (0..<module.outputs).map { flat[$0 * module.columns + column] }
        }
    }

    func shape(_ module: ModuleShape) -> [Int] {
        module.kind == .linear || module.kind == .convolution
            ? [module.outputs, module.inputs] + module.kernel : [module.inputs, module.outputs]
    }

    func compare(_ adapter: Adapter, _ name: String, _ bound: Double = 1e-6) throws {
        let deltas = try SafetensorsFile(path: golden(name + "/delta.safetensors"))
        #expect(adapter.layout.modules.count == deltas.tensors.count)
        for (i, module) in adapter.layout.modules.enumerated() {
            #expect(try deltas.require(module.name).shape == shape(module), "\(module.name)")
            let expected = try deltas.floats(module.name).map(Double.init)
            #expect(relativeError(update(adapter, i), expected) < bound, "\(module.name)")
        }
    }

    @Test("What PEFT saved has PEFT's update", arguments: names) func reads(name: String) throws {
        let adapter = try PEFTFolder.read(path: golden(name))
        #expect(try PEFTFolder.readHeader(path: golden(name)) == adapter.layout)
        try compare(adapter, name)
    }

    @Test("Kinds, kernels, groups and magnitudes are those of the modules") func kinds() throws {
        let layout = try PEFTFolder.readHeader(path: golden("peft-kinds"))
        func module(_ name: String) throws -> ModuleShape {
            try #require(layout.modules.first { $0.name == "layers.0." + name })
        }
        #expect(try module("table").kind == .embedding && module("table").inputs == 11 && module("table").alpha == 3)
        #expect(try module("conv1").kernel == [3] && module("conv2").kernel == [3, 2] && module("conv2").rank == 2)
        #expect(try module("point").kernel == [1, 1] && module("conv3").kernel == [2, 3, 1])
        #expect(try module("grouped").groups == 2 && module("grouped").inputs == 4 && module("linear").groups == 1)
        let gpt2 = try PEFTFolder.readHeader(path: golden("peft-gpt2"))
        #expect(gpt2.modules.allSatisfy { $0.kind == .transposedLinear && $0.scaling == .rankStabilised })
        let dora = try PEFTFolder.read(path: golden("peft-dora"))
        #expect(dora.layout.modules.allSatisfy(\.hasMagnitude) && dora.layout.parts.allSatisfy { $0.magnitude != nil })
        #expect(dora.layout.tensors.count == 3 * dora.layout.modules.count)
        for tensor in dora.tensors where tensor.layout.role == .magnitude {
            #expect(tensor.values.allSatisfy { (0.5...1.5).contains($0) }, "\(tensor.name)")
        }
        for (place, parts) in zip(dora.layout.modules.indices, dora.layout.parts) {
            #expect(dora.layout.tensors[parts.b].role == .b && dora.layout.tensors[parts.a].module == place)
        }
        for tensor in dora.layout.tensors { #expect(dora.layout.tensor(tensor.name) == tensor) }
    }

    @Test("Fused experts become a module each, and what PEFT 0.18 stored the other way round too") func experts() throws
    {
        let adapter = try PEFTFolder.read(path: golden("peft-experts"))
        #expect(adapter.layout.modules.count == 2 * (1 + 3 * 3))
        try compare(adapter, "peft-experts")
        let scratch = try Scratch()
        try adapter.write(to: scratch("a"), format: .peft)
        try compare(try PEFTFolder.read(path: scratch("a")), "peft-experts")
        #expect(
            try JSON.read(path: scratch("a/adapter_config.json"))["target_modules"] == [
                "down_proj", "gate_proj", "q_proj", "up_proj",
            ])
        // The same numbers with A and B exchanged, as PEFT 0.18 would have them: A'[e·r+k] = B[:, k·E+e], and back.
        let file = try SafetensorsFile(path: golden("peft-experts/adapter_model.safetensors"))
        var writer = SafetensorsWriter()
        for tensor in file.tensors {
            let values = try file.floats(tensor.name)
            guard contains(tensor.name, "experts") else {
                try writer.add(tensor.name, shape: tensor.shape, elements: values)
                continue
            }
            let isA = contains(tensor.name, "lora_A")
            let width = isA ? tensor.shape[1] : tensor.shape[0]
            var turned = [Float](repeating: 0, count: values.count)
            for (e, k) in (0..<3).flatMap({ e in (0..<2).map { (e, $0) } }) {
                for j in 0..<width {
                    let (a, b) = ((e * 2 + k) * width + j, j * 6 + k * 3 + e)
                    if isA { turned[b] = values[a] } else { turned[a] = values[b] }
                }
            }
            let name = tensor.name.split(separator: ".").map {
                $0 == "lora_A" ? "lora_B" : $0 == "lora_B" ? "lora_A" : $0
            }
            .joined(separator: ".")
            try writer.add(name, shape: isA ? [width, 6] : [6, width], elements: turned)
        }
        try PEFTFolder.write(adapter, to: scratch("old"))
        try writer.write(to: scratch("old/adapter_model.safetensors"))
        var config = try #require(try JSON.read(path: golden("peft-experts/adapter_config.json")).object)
        for (version, code) in [(JSON.string("0.18.1"), nil), (.null, LoragenError.Code.unsupported)] {
            config["peft_version"] = version
            try AtomicFile.write(JSON.object(config).text(), to: scratch("old/adapter_config.json"))
            if let code {
                #expect(failure { _ = try PEFTFolder.read(path: scratch("old")) }.code == code)
            } else {
                try compare(try PEFTFolder.read(path: scratch("old")), "peft-experts")
            }
        }
    }

    @Test("Written and read back: the same update, and kept as it is the same bytes of weights", arguments: names)
    func roundTrip(name: String) throws {
        let scratch = try Scratch()
        let adapter = try PEFTFolder.read(path: golden(name))
        try adapter.write(to: scratch("kept"), format: .peft, options: WriteOptions(form: .kept))
        #expect(
            try contents(scratch("kept/adapter_model.safetensors"))
                == contents(golden(name + "/adapter_model.safetensors")))
        let kept = try PEFTFolder.read(path: scratch("kept"))
        #expect(kept.layout == adapter.layout)
        for format in [AdapterFormat.peft, .safetensors] {
            try adapter.write(to: scratch("\(format)"), format: format)
            let baked = try Adapter.read(path: scratch("\(format)"))
            #expect(baked.layout.modules.allSatisfy { $0.scale == 1 && $0.rank == baked.layout.modules[0].rank })
            try compare(baked, name)
            for (a, b) in zip(adapter.layout.parts, baked.layout.parts) {
                guard let a = a.magnitude, let b = b.magnitude else { continue }
                #expect(Array(adapter.tensor(at: a).values) == Array(baked.tensor(at: b).values))
            }
        }
        try adapter.write(to: scratch("file"), format: .safetensors, options: WriteOptions(form: .kept))
        let file = try Adapter.read(path: scratch("file"))
        #expect(file.layout == adapter.layout && file.copyValues() == adapter.copyValues())
    }

    @Test("The canonical form keeps every kind's update, and magnitudes", arguments: names)
    func canonical(name: String) throws {
        let adapter = try PEFTFolder.read(path: golden(name))
        let canonical = try adapter.canonical()
        try compare(canonical, name, 1e-5)
        try compare(try adapter.aligned(to: canonical), name, 1e-5)
        let larger = try adapter.recut(rank: 8)
        try compare(larger.adapter, name, 1e-5)
        #expect(larger.energyLost.allSatisfy { $0 < 1e-12 })
        for (i, module) in adapter.layout.modules.enumerated() where module.hasMagnitude {
            let (a, b) = (
                try #require(adapter.layout.parts[i].magnitude), try #require(canonical.layout.parts[i].magnitude)
            )
            #expect(Array(adapter.tensor(at: a).values) == Array(canonical.tensor(at: b).values))
        }
    }

    @Test("A rank that the groups do not divide is refused") func groups() throws {
        let adapter = try PEFTFolder.read(path: golden("peft-kinds"))
        let error = failure { _ = try adapter.recut(rank: 3) }
        #expect(error.code == .invalidArgument && contains(error.message, "2 groups for rank 3"))
    }

    @Test("One config cannot hold two kinds of linear layers, or DoRA and LoRA") func mixed() throws {
        let scratch = try Scratch()
        func write(_ modules: [ModuleShape]) throws {
            let layout = try Layout(modules: modules)
            let values = [Float](repeating: 1, count: layout.valueCount)
            try Adapter(layout: layout, values: values).write(to: scratch("a"), format: .peft)
        }
        let plain = try ModuleShape(name: "h.0.q", inputs: 3, outputs: 2, rank: 1, alpha: 1)
        let turned = try ModuleShape(
            name: "h.0.c_attn", kind: .transposedLinear, inputs: 3, outputs: 2, rank: 1, alpha: 1)
        let odd = try ModuleShape(name: "h.0.c_fc", inputs: 3, outputs: 2, rank: 1, alpha: 1)
        let dora = try ModuleShape(name: "h.0.k", inputs: 3, outputs: 2, rank: 1, alpha: 1, hasMagnitude: true)
        #expect(contains(failure { try write([odd, turned]) }.message, "'h.0.c_fc' keeps its weight as [out, in]"))
        #expect(contains(failure { try write([plain, dora]) }.message, "'h.0.q' is without magnitudes"))
        #expect(scratch.names == [])
        try write([turned])
        #expect(try JSON.read(path: scratch("a/adapter_config.json"))["fan_in_fan_out"] == true)
        // PEFT looks at each layer, so these go together.
        try write([plain, turned])
        #expect(try PEFTFolder.readHeader(path: scratch("a")).modules.map(\.kind) == [.transposedLinear, .linear])
    }

    @Test("fan_in_fan_out turns Conv1D alone: PEFT resets it on an ordinary linear layer") func fanInFanOut() throws {
        let scratch = try Scratch()
        for (name, kind) in [
            ("model.layers.0.self_attn.q_proj", ModuleKind.linear), ("encoder.layer.0.attention.self.query", .linear),
            ("transformer.h.0.attn.c_attn", .transposedLinear), ("c_fc", .transposedLinear), ("h.0.xc_fc", .linear),
        ] {
            let module = try ModuleShape(name: name, inputs: 6, outputs: 4, rank: 2, alpha: 2)
            let layout = try Layout(modules: [module])
            let adapter = try Adapter(layout: layout, values: [Float](repeating: 1, count: layout.valueCount))
            try adapter.write(to: scratch("a"), format: .peft)
            var config = try #require(try JSON.read(path: scratch("a/adapter_config.json")).object)
            config["fan_in_fan_out"] = true
            try AdaptersTests.write(try JSON.object(config).text(), to: scratch("a/adapter_config.json"))
            let back = try #require(try PEFTFolder.readHeader(path: scratch("a")).modules.first)
            #expect(back.kind == kind && back.inputs == 6 && back.outputs == 4, "\(name)")
        }
    }

    @Test("Portable: zeros where layers lack a module, a server's rank, and a reason for what it cannot hold")
    func portable() throws {
        let scratch = try Scratch()
        func linear(_ name: String, rank: Int = 4) throws -> ModuleShape {
            try ModuleShape(name: name, inputs: 6, outputs: 5, rank: rank, alpha: 6)
        }
        func adapter(_ modules: [ModuleShape]) throws -> Adapter {
            var random = TestRandom(state: 7)
            let layout = try Layout(modules: modules)
            return try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
        }
        let source = try adapter([
            linear("model.layers.0.self_attn.q_proj"), linear("model.layers.2.self_attn.q_proj", rank: 3),
            linear("model.layers.1.mlp.up_proj"),
        ])
        try source.write(to: scratch("a"), format: .peft, options: WriteOptions(form: .portable, layerCount: 4))
        let back = try PEFTFolder.read(path: scratch("a"))
        #expect(back.layout.modules.count == 8 && back.layout.targetModules == ["q_proj", "up_proj"])
        #expect(back.layout.modules.allSatisfy { $0.rank == 8 && $0.alpha == 8 && $0.scaling == .standard })
        for (i, module) in back.layout.modules.enumerated() {
            let place = source.layout.modules.firstIndex { $0.name == module.name }
            let expected = place.map { product(source, $0) } ?? [Double](repeating: 0, count: 30)
            #expect(relativeError(product(back, i), expected) < 1e-6, "\(module.name)")
        }
        let refused: [(ModuleShape, String)] = [
            (try linear("model.layers.0.self_attn.query"), "does not end in one of"),
            (try linear("model.layers.0.mlp.experts.0.up_proj"), "an expert"),
            (try linear("q_proj"), "outside the layers"),
            (
                try ModuleShape(name: "m.0.q_proj", inputs: 1, outputs: 1, rank: 1, alpha: 1, hasMagnitude: true),
                "DoRA"
            ),
            (
                try ModuleShape(name: "m.0.q_proj", kind: .embedding, inputs: 1, outputs: 1, rank: 1, alpha: 1),
                "embedding"
            ),
            (try linear("m.0.q_proj", rank: 513), "513"),
        ]
        for (module, says) in refused {
            let error = failure {
                try adapter([module]).write(to: scratch("b"), format: .peft, options: WriteOptions(form: .portable))
            }
            #expect(error.code == .unsupported && contains(error.message, says), "\(error.message)")
        }
        let shallow = WriteOptions(form: .portable, layerCount: 2)
        #expect(failure { try source.write(to: scratch("b"), format: .peft, options: shallow) }.code == .mismatch)
        #expect(scratch.names == ["a"])
    }
}

extension AtomicFile {
    fileprivate static func write(_ text: String, to path: String) throws {
        let file = try AtomicFile(path: path)
        try file.append(text)
        try file.commit()
    }
}
