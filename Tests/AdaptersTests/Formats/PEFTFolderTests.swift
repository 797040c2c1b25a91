import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

@Suite("PEFT folders") struct PEFTFolderTests {
    @Test("What PEFT saved has PEFT's product", arguments: ["peft-f32", "peft-bf16", "peft-f64", "peft-patterns"])
    func reads(name: String) throws {
        let adapter = try PEFTFolder.read(path: golden(name))
        let deltas = try SafetensorsFile(path: golden(name + "/delta.safetensors"))
        #expect(adapter.layout.modules.count == 24 && deltas.tensors.count == 24)
        #expect(adapter.layout.targetModules == ["q_proj", "v_proj"])
        #expect(try PEFTFolder.readHeader(path: golden(name)) == adapter.layout)
        for (i, module) in adapter.layout.modules.enumerated() {
            let expected = try deltas.floats(module.name).map(Double.init)
            #expect(relativeError(product(adapter, i), expected) < 1e-6, "\(module.name)")
        }
    }

    @Test("Patterns give each module its rank and alpha") func patterns() throws {
        let layout = try PEFTFolder.readHeader(path: golden("peft-patterns"))
        func module(_ name: String) throws -> ModuleShape { try #require(layout.modules.first { $0.name == name }) }
        #expect(try module("layers.1.q_proj").rank == 2 && module("layers.10.q_proj").rank == 3)
        #expect(try module("layers.5.v_proj").rank == 1 && module("layers.11.v_proj").alpha == 7)
        #expect(try module("layers.3.q_proj").alpha == 5 && module("layers.3.q_proj").scaling == .rankStabilised)
    }

    @Test(
        "What is written reads back: same product, and in the plain form same values",
        arguments: [WriteOptions.Form.baked, .kept])
    func roundTrip(form: WriteOptions.Form) throws {
        let scratch = try Scratch()
        for name in ["peft-f32", "peft-bf16", "peft-patterns"] {
            let adapter = try PEFTFolder.read(path: golden(name))
            try PEFTFolder.write(adapter, to: scratch(name), options: WriteOptions(form: form))
            #expect(Scratch.names(scratch(name)) == ["adapter_config.json", "adapter_model.safetensors"])
            let back = try PEFTFolder.read(path: scratch(name))
            if form == .baked {
                #expect(
                    Set(back.layout.modules.map(\.rank)).count == 1 && back.layout.modules.allSatisfy { $0.scale == 1 })
                #expect(back.layout.modules.allSatisfy { $0.alpha == Double($0.rank) && $0.scaling == .standard })
            } else {
                #expect(back.layout == adapter.layout && back.copyValues() == adapter.copyValues())
            }
            for i in adapter.layout.modules.indices {
                #expect(relativeError(product(back, i), product(adapter, i)) < 1e-6)
            }
        }
        #expect(scratch.names.count == 3)
    }

    @Test("The same adapter gives the same bytes") func deterministic() throws {
        let scratch = try Scratch()
        let adapter = try randomAdapter(metadata: [
            "loragen.origin": "{\"seed\":1}", "peft.task_type": "CAUSAL_LM", "z": "1",
        ])
        for format in [AdapterFormat.peft, .safetensors] {
            for name in ["a", "b"] { try adapter.write(to: scratch("\(name)-\(format)"), format: format) }
        }
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            #expect(try contents(scratch("a-peft/\(file)")) == contents(scratch("b-peft/\(file)")))
        }
        #expect(try contents(scratch("a-safetensors")) == contents(scratch("b-safetensors")))
        let weights = try SafetensorsFile(path: scratch("a-peft/adapter_model.safetensors"))
        #expect(weights.metadata == ["format": "pt", "loragen.origin": "{\"seed\":1}", "z": "1"])
        let config = try JSON.read(path: scratch("a-peft/adapter_config.json"))
        #expect(config["task_type"] == "CAUSAL_LM" && config["r"] == 4 && config["lora_alpha"] == 4)
        #expect(
            config["target_modules"] == ["q_proj", "up_proj", "v_proj"] && config["base_model_name_or_path"] == "tiny")
        let names = try #require(config.object).members.map(\.name)
        #expect(names == names.sorted())
    }

    @Test("Single files read back with layout, values and origin", arguments: [ElementType.f32, .f16, .bf16])
    func singleFile(type: ElementType) throws {
        let scratch = try Scratch()
        let adapter = try randomAdapter(metadata: ["loragen.origin": "x"])
        try adapter.write(to: scratch("a"), format: .safetensors, options: WriteOptions(type: type, form: .kept))
        let back = try Adapter.read(path: scratch("a"))
        #expect(back.layout == adapter.layout && back.metadata == adapter.metadata)
        #expect(try AdapterFile.readHeader(path: scratch("a")) == adapter.layout)
        let tolerance: Float = type == .f32 ? 0 : type == .f16 ? 0x1p-11 : 0x1p-8
        #expect(
            zip(back.copyValues(), adapter.copyValues()).allSatisfy { abs($0 - $1) <= tolerance * abs($1) + 0x1p-24 })
        let plain = golden("peft-f32/adapter_model.safetensors")
        #expect(
            contains(failure { _ = try Adapter.read(path: plain) }.message, "give the folder with adapter_config.json"))
        #expect(failure { _ = try Adapter.read(path: scratch("none")) }.code == .io)
    }

    @Test("A single file whose layout promises other tensors is refused before memory is asked for") func lyingLayout()
        throws
    {
        let scratch = try Scratch()
        let huge = try Layout(
            modules: [ModuleShape(name: "m", inputs: 1 << 20, outputs: 1 << 10, rank: 1 << 10, alpha: 1)])
        func file(_ shape: [Int], _ names: [String]) throws -> LoragenError {
            var writer = SafetensorsWriter(metadata: [AdapterFile.layoutKey: try huge.json.text()])
            for name in names { try writer.add(name, shape: shape, elements: [Float](repeating: 0, count: 4)) }
            try writer.write(to: scratch("a"))
            return failure { _ = try AdapterFile.read(path: scratch("a")) }
        }
        let names = huge.tensors.map(\.name)
        #expect(contains(try file([2, 2], names).message, "is [2, 2]; the file's layout says [1024, 1048576]"))
        #expect(contains(try file([2, 2], ["x"] + names).message, "'x' is not in the file's layout"))
        #expect(contains(try file([2, 2], ["x"]).message, "'x' is not in the file's layout"))
        #expect(contains(try file([2, 2], ["x", "y"]).message, "is missing"))
    }

    @Test("Target modules: short names only where they pick no more than the adapter has") func targets() throws {
        func targets(_ names: [String], given: [String] = []) throws -> [String] {
            var modules: [ModuleShape] = []
            for name in names { modules.append(try ModuleShape(name: name, inputs: 2, outputs: 2, rank: 1, alpha: 1)) }
            return PEFTConfig.targetModules(of: try Layout(modules: modules, targetModules: given))
        }
        #expect(try targets(["m.0.v", "m.0.q", "m.1.q", "m.1.v"]) == ["q", "v"])
        #expect(try targets(["m.0.v", "m.0.q", "m.1.q"]) == ["m.0.q", "m.0.v", "m.1.q"])
        #expect(try targets(["m.1.q", "m.2.q"]) == ["m.1.q", "m.2.q"])
        #expect(try targets(["m.0.q", "head"]) == ["head", "m.0.q"])
        #expect(try targets(["m.1.q"], given: ["q"]) == ["q"])
        #expect(try targets(["m.0.out.0", "m.1.out.0"]) == ["m.0.out.0", "m.1.out.0"])
        #expect(try targets(["m.1.q"], given: ["k"]) == ["m.1.q"])
    }

    // MARK: Refusals

    static let config = """
        {"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q"],"bias":"none","use_rslora":false}
        """

    /// A folder with one module m.0.q, [out 3, in 4].
    func folder(
        _ scratch: Scratch, config: String = PEFTFolderTests.config,
        tensors: [(String, [Int])] = [
            ("base_model.model.m.0.q.lora_A.weight", [2, 4]), ("base_model.model.m.0.q.lora_B.weight", [3, 2]),
        ], type: ElementType = .f32, value: UInt8 = 0
    ) throws -> String {
        let path = scratch("adapter")
        mkdir(path, 0o755)
        try AdaptersTests.write(config, to: path + "/adapter_config.json")
        var writer = SafetensorsWriter()
        for (name, shape) in tensors {
            let bytes = [UInt8](repeating: value, count: shape.reduce(1, *) * type.bits / 8)
            try writer.add(name, type: type, shape: shape) { sink throws(LoragenError) in
                try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        try writer.write(to: path + "/adapter_model.safetensors")
        return path
    }

    static let configs: [(change: String, says: String, code: LoragenError.Code)] = [
        (#""peft_type":null"#, "'peft_type' is null", .format),
        (#""peft_type":"lora""#, "'peft_type' is \"lora\"", .unsupported),
        (#""peft_type":"LOHA""#, "\"LOHA\"", .unsupported),
        (#""r":0"#, "'r' is the number 0", .format), (#""r":-1"#, "'r' is", .format),
        (#""r":"2""#, "'r' is the string", .format), (#""r":2.5"#, "'r' is", .format),
        (#""r":null"#, "'r' is null", .format),
        (#""r":3"#, "with rank 3 of", .mismatch), (#""r":99999999999"#, "'r' is", .format),
        (#""lora_alpha":null"#, "'lora_alpha' is null", .format),
        (#""lora_alpha":"4""#, "'lora_alpha' is the string", .format),
        (#""lora_alpha":0"#, "'lora_alpha' is the number 0", .format),
        (#""lora_alpha":1e300"#, "alpha is 1e+300", .unsupported),
        (#""target_modules":null"#, "'target_modules' is null", .format),
        (#""target_modules":[]"#, "an array of 0", .format),
        (#""target_modules":["v"]"#, "does not name module 'm.0.q'", .mismatch),
        (#""target_modules":["0.q.x","uq"]"#, "does not name", .mismatch),
        (#""target_modules":[1]"#, "'target_modules'", .format),
        (#""exclude_modules":["q"]"#, "'exclude_modules' names", .mismatch),
        (#""layers_to_transform":[1,2],"layers_pattern":"m""#, "leaves layer 0 out", .mismatch),
        (#""layers_to_transform":0"#, "no layer in the name of", .mismatch),
        (#""layers_to_transform":"0""#, "'layers_to_transform' is the string", .format),
        (#""task_type":"TALKING""#, "'task_type' is the string \"TALKING\"", .format),
        (#""task_type":1"#, "'task_type' is the number 1", .format),
        (#""bias":"all""#, "'bias' is the string \"all\"", .unsupported),
        (#""bias":"lora_only""#, "'bias'", .unsupported),
        (#""use_dora":true"#, "has no lora_magnitude_vector", .mismatch),
        (#""lora_bias":true"#, "bias in lora_B", .unsupported),
        (#""modules_to_save":["head"]"#, "fully trained modules", .unsupported),
        (#""target_parameters":["x"]"#, "'target_parameters' names 'x'", .unsupported),
        (#""trainable_token_indices":[1]"#, "trained tokens", .unsupported),
        (#""layer_replication":[[0,4]]"#, "replicated", .unsupported),
        (#""init_lora_weights":"pissa""#, "changes the base", .unsupported),
        (#""init_lora_weights":"pissa_niter_4""#, "changes the base", .unsupported),
        (#""use_rslora":"yes""#, "'use_rslora' is the string", .format),
        (#""rank_pattern":{"q":3}"#, "with rank 3", .mismatch), (#""rank_pattern":{"q":0}"#, "the rank 0.0", .format),
        (#""rank_pattern":{"q":"2"}"#, "expected a number", .format),
        (#""rank_pattern":[]"#, "'rank_pattern' is an array", .format),
        (#""alpha_pattern":{"(q)\\1":3}"#, "a reference to a group", .unsupported),
        (#""target_modules":".*(k|v)""#, "does not name module 'm.0.q'", .mismatch),
        (#""target_modules":".*\\Kq""#, "Python has no escape '\\K'", .format),
        (#""exclude_modules":".*q""#, "'exclude_modules' names", .mismatch),
        (#""layers_to_transform":0,"layers_pattern":"layers""#, "no layer in the name of", .mismatch),
        (#""alpha_pattern":{"q":0}"#, "alpha is 0", .unsupported),
        (#""base_model_name_or_path":3"#, "'base_model_name_or_path' is the number", .format),
        (#""use_qalora":true"#, "QALoRA", .unsupported), (#""alora_invocation_tokens":[1]"#, "activated", .unsupported),
    ]

    @Test("Configs that mean something else are refused by field", arguments: configs.indices)
    func configRefused(index: Int) throws {
        let (change, says, code) = Self.configs[index]
        let scratch = try Scratch()
        var object = try #require(try JSON.parse(Self.config, source: "").object)
        for member in try #require(try JSON.parse("{\(change)}", source: "").object).members {
            object[member.name] = member.value
        }
        let path = try folder(scratch, config: JSON.object(object).text())
        let error = failure { _ = try PEFTFolder.read(path: path) }
        #expect(error.code == code && contains(error.message, says), "\(error.message)")
        #expect(error.message.hasPrefix(path))
        #expect(failure { _ = try PEFTFolder.readHeader(path: path) } == error)
    }

    static let good = "base_model.model.m.0.q.lora_"
    static let tensors: [(tensors: [(String, [Int])], says: String, code: LoragenError.Code)] = [
        ([(good + "A.weight", [2, 4])], "has no lora_B", .format),
        ([(good + "B.weight", [3, 2])], "has no lora_A", .format),
        (
            [(good + "A.weight", [4, 2]), (good + "B.weight", [3, 2])], "lora_A [4, 2] and lora_B [3, 2]; with rank 2",
            .mismatch
        ), ([(good + "A.weight", [2, 4]), (good + "B.weight", [2, 3])], "with rank 2", .mismatch),
        ([(good + "A.weight", [8]), (good + "B.weight", [3, 2])], "with rank 2", .mismatch),
        ([(good + "A.weight", [2, 0]), (good + "B.weight", [3, 2])], "is empty", .format),
        (
            [(good + "A.weight", [2, 4, 3, 3]), (good + "B.weight", [3, 2, 1, 2])], "expected [2, in, kernel...]",
            .mismatch
        ),
        (
            [(good + "A.weight", [2, 4, 3]), (good + "B.weight", [3, 2, 1, 1])], "expected [2, in, kernel...]",
            .mismatch
        ),
        (
            [(good + "A.weight", [2, 4, 3]), (good + "B.weight", [3, 1, 1])], "2 groups for rank 2 and 3 outputs",
            .unsupported
        ),
        ([(good + "A.weight", [2, 4]), (good + "B.weight", [3, 1])], "with rank 2", .mismatch),
        ([(good + "A.weight", [2, 4]), (good + "B.weight", [3, 0])], "is empty", .format),
        (
            [
                (good + "A.weight", [2, 4]), (good + "B.weight", [3, 2]),
                ("base_model.model.m.0.q.lora_magnitude_vector", [3]),
            ], "while 'use_dora'", .mismatch
        ),
        (
            [(good + "A.weight", [2, 4]), (good + "B.weight", [3, 2]), ("base_model.model.head.weight", [3])],
            "not a LoRA tensor", .unsupported
        ),
        (
            [(good + "A.weight", [2, 4]), (good + "B.weight", [3, 2]), (good + "B.bias", [3])], "a bias in lora_B",
            .unsupported
        ),
        ([(good + "embedding_A", [2, 4]), (good + "B.weight", [3, 2])], "make no pair", .format),
        ([(good + "embedding_A.weight", [2, 4])], "not a LoRA tensor", .unsupported),
        (
            [("m.0.q.lora_A.weight", [2, 4]), ("m.0.q.lora_B.weight", [3, 2])],
            "does not begin with 'base_model.model.'", .format
        ),
        (
            [(good + "A.weight", [2, 4]), (good + "A.default.weight", [2, 4]), (good + "B.weight", [3, 2])],
            "are the same tensor", .format
        ), ([(good + "A.other.weight", [2, 4])], "has no lora_B", .format),
        (
            [(good + "A.other.weight", [2, 4]), (good + "B.weight", [3, 2])], "are of two adapters", .unsupported
        ), ([(good + "A.o.p.weight", [2, 4])], "not a LoRA tensor", .unsupported),
        (
            [("base_model.model..lora_A.weight", [2, 4]), ("base_model.model..lora_B.weight", [3, 2])], "", .unsupported
        ), ([("base_model.model.lora_A.weight", [2, 4])], "", .unsupported),
        ([("base_model.model.", [2, 4])], "not a LoRA tensor", .unsupported),
        (
            [
                (good + "A.weight", [2, 4]), (good + "B.weight", [3, 2]),
                ("base_model.model.m.0.v.lora_A.weight", [2, 4]), ("base_model.model.m.0.v.lora_B.weight", [3, 2]),
            ], "does not name module 'm.0.v'", .mismatch
        ),
    ]

    @Test("Tensors that are not what PEFT would use are refused by name", arguments: tensors.indices)
    func tensorsRefused(index: Int) throws {
        let (tensors, says, code) = Self.tensors[index]
        let scratch = try Scratch()
        let path = try folder(scratch, tensors: tensors)
        let error = failure { _ = try PEFTFolder.read(path: path) }
        #expect(error.code == code && contains(error.message, says), "\(error.message)")
        #expect(error.message.hasPrefix(path))
    }

    @Test("An adapter's name in the keys is tolerated, and other tensor types are not") func oddities() throws {
        let scratch = try Scratch()
        let named = [(Self.good + "A.ranking.weight", [2, 4]), (Self.good + "B.ranking.weight", [3, 2])]
        #expect(try PEFTFolder.read(path: folder(scratch, tensors: named)).layout.modules.map(\.name) == ["m.0.q"])
        let tensors = [(Self.good + "A.default.weight", [2, 4]), (Self.good + "B.default.weight", [3, 2])]
        #expect(try PEFTFolder.read(path: folder(scratch, tensors: tensors)).layout.modules.map(\.name) == ["m.0.q"])
        #expect(failure { _ = try PEFTFolder.read(path: folder(scratch, type: .i8)) }.code == .unsupported)
        #expect(failure { _ = try PEFTFolder.read(path: folder(scratch, type: .f32, value: 0xff)) }.code == .nonFinite)
    }

    @Test("Missing and broken files are named") func files() throws {
        let scratch = try Scratch()
        #expect(failure { _ = try PEFTFolder.read(path: scratch("none")) }.code == .io)
        #expect(contains(failure { _ = try PEFTFolder.read(path: golden("make.py")) }.message, "not a folder"))
        #expect(
            contains(
                failure { _ = try PEFTFolder.read(path: scratch.path) }.message, "adapter_config.json: cannot open it"))
        let path = try folder(scratch, config: "[]")
        #expect(
            contains(failure { _ = try PEFTFolder.read(path: path) }.message, "found an array of 0, expected an object")
        )
        try AdaptersTests.write("{\"r\":1,\"r\":2}", to: path + "/adapter_config.json")
        #expect(
            contains(failure { _ = try PEFTFolder.read(path: path) }.message, "byte 7: the name \"r\" a second time"))
        try AdaptersTests.write(Self.config, to: path + "/adapter_config.json")
        unlink(path + "/adapter_model.safetensors")
        #expect(
            contains(
                failure { _ = try PEFTFolder.read(path: path) }.message, "adapter_model.safetensors: there is no such"))
        try AdaptersTests.write("x", to: path + "/adapter_model.bin")
        #expect(contains(failure { _ = try PEFTFolder.read(path: path) }.message, "a pickle"))
    }

    @Test("Writing refuses what must not be written, and leaves the target as it was") func writeRefused() throws {
        let scratch = try Scratch()
        let adapter = try randomAdapter()
        try adapter.write(to: scratch("a"), format: .peft)
        let before = try contents(scratch("a/adapter_model.safetensors"))
        var values = adapter.copyValues()
        values[7] = .nan
        let bad = try Adapter(layout: adapter.layout, values: values)
        values[7] = 1e6
        let large = try Adapter(layout: adapter.layout, values: values)
        for format in [AdapterFormat.peft, .safetensors] {
            #expect(failure { try bad.write(to: scratch("a"), format: format) }.code == .nonFinite)
            #expect(
                failure { try large.write(to: scratch("b"), format: format, options: WriteOptions(type: .f16)) }.code
                    == .nonFinite)
            #expect(
                failure { try adapter.write(to: scratch("b"), format: format, options: WriteOptions(type: .f64)) }.code
                    == .invalidArgument)
            #expect(failure { try adapter.write(to: scratch("none/b"), format: format) }.code == .io)
        }
        #expect(failure { try adapter.write(to: scratch("a"), format: .safetensors) }.code == .io)
        #expect(scratch.names == ["a"] && Scratch.names(scratch("a")).count == 2)
        #expect(try contents(scratch("a/adapter_model.safetensors")) == before)
    }
}
