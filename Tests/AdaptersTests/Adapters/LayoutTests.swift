import Tensor
import Testing

@testable import Adapters
@testable import Files

@Suite("Layout") struct LayoutTests {
    func module(
        _ name: String, inputs: Int = 4, outputs: Int = 3, rank: Int = 2, alpha: Double = 4
    ) throws -> ModuleShape {
        try ModuleShape(name: name, inputs: inputs, outputs: outputs, rank: rank, alpha: alpha)
    }

    @Test("Modules are ordered by the bytes of their keys, tensors follow without gaps") func order() throws {
        let names = (0..<12).map { "model.layers.\($0).q_proj" } + ["a-b.x", "a.b", "é.z"]
        let layout = try Layout(modules: try names.shuffled().map { try module($0) })
        #expect(layout.tensors.map(\.name) == layout.tensors.map(\.name).sorted { precedes($0, $1) })
        #expect(
            layout.modules.map(\.name).prefix(6)
                == [
                    "a-b.x", "a.b", "model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.10.q_proj",
                    "model.layers.11.q_proj",
                ])
        var next = 0
        for (i, tensor) in layout.tensors.enumerated() {
            #expect(tensor.offset == next && tensor.module == i / 2)
            #expect(
                tensor.shape == (i % 2 == 0 ? [2, 4] : [3, 2]) && tensor.count == tensor.shape[0] * tensor.shape[1])
            next += tensor.count
        }
        #expect(layout.valueCount == next)
        for tensor in layout.tensors { #expect(layout.tensor(tensor.name) == tensor) }
        #expect(layout.tensor("none") == nil && layout.tensor("") == nil && layout.tensor("zzz") == nil)
    }

    @Test("The layer is the first whole number of the name") func layer() throws {
        #expect(try module("vit.encoder.layer.7.attention.0.query").layerIndex == 7)
        #expect(try module("classifier").layerIndex == nil)
        #expect(try module("a.-3.b").layerIndex == nil)
        #expect(try module("a.99999999999999999999.b").layerIndex == nil)
    }

    @Test("Scales") func scales() throws {
        #expect(try module("a", rank: 4, alpha: 8).scale == 2)
        #expect(
            try ModuleShape(name: "a", inputs: 1, outputs: 1, rank: 4, alpha: 8, scaling: .rankStabilised).scale == 4)
        #expect(try module("a", rank: 4, alpha: 8).withRank(3).scale == 1)
    }

    @Test("What is out of range is refused") func refused() throws {
        for name in [
            "", ".", "a..b", ".a", "a.", "a b", "a\nb", "a/b", "a.lora_A", "lora_B.x", "a\0",
            String(repeating: "n", count: 1025),
        ] {
            #expect(failure { _ = try module(name) }.code == .invalidArgument, "\(name)")
        }
        for bad in [0, -1, .min, .max] {
            #expect(failure { _ = try module("a", inputs: bad) }.code == .invalidArgument)
            #expect(failure { _ = try module("a", outputs: bad) }.code == .invalidArgument)
            #expect(failure { _ = try module("a", rank: bad) }.code == .invalidArgument)
        }
        for bad in [0, .nan, .infinity, -.infinity, 1e300] as [Double] {
            #expect(failure { _ = try module("a", alpha: bad) }.code == .invalidArgument)
        }
        #expect(failure { _ = try Layout(modules: []) }.code == .invalidArgument)
        #expect(
            contains(
                failure { _ = try Layout(modules: [module("a"), module("b"), module("a")]) }.message,
                "'a' is in the layout twice"))
        let huge = try ModuleShape(name: "a", inputs: 1 << 30, outputs: 1 << 30, rank: 1 << 14, alpha: 1)
        #expect(failure { _ = try Layout(modules: [huge]) }.code == .invalidArgument)
    }

    @Test("The JSON form reads back as itself") func json() throws {
        let layout = try Layout(
            modules: [
                module("m.0.q"), module("m.1.q", alpha: 2.5),
                ModuleShape(name: "m.2.q", inputs: 2, outputs: 7, rank: 1, alpha: 3, scaling: .rankStabilised),
                ModuleShape(
                    name: "m.3.c", kind: .convolution, inputs: 2, outputs: 6, kernel: [3, 1], groups: 2, rank: 4,
                    alpha: 4),
                ModuleShape(name: "m.3.d", inputs: 2, outputs: 7, rank: 1, alpha: 3, hasMagnitude: true),
                ModuleShape(name: "m.3.e", kind: .embedding, inputs: 9, outputs: 2, rank: 1, alpha: 1),
                ModuleShape(name: "m.3.t", kind: .transposedLinear, inputs: 9, outputs: 2, rank: 1, alpha: 1),
            ], baseModel: "org/model \"x\"", targetModules: ["q"])
        let text = try layout.json.text()
        #expect(try Layout(json: JSON.parse(text, source: "t"), source: "t") == layout)
        #expect(try layout.json.text() == text)
    }

    @Test("What was written before there were other kinds still reads") func oldJSON() throws {
        let text = """
            {"version":1,"base_model":"b","target_modules":["q"],"modules":[{"name":"m.0.q","kind":"linear","inputs":4,\
            "outputs":3,"rank":2,"alpha":4}]}
            """
        let layout = try Layout(json: JSON.parse(text, source: "f"), source: "f")
        #expect(
            try layout
                == Layout(
                    modules: [ModuleShape(name: "m.0.q", inputs: 4, outputs: 3, rank: 2, alpha: 4)], baseModel: "b",
                    targetModules: ["q"]))
        #expect(try layout.json.text() == text)
    }

    @Test("Sizes that are not those of the kind are refused") func kinds() throws {
        typealias Change = (kind: ModuleKind, kernel: [Int], groups: Int, rank: Int, says: String)
        let changes: [Change] = [
            (.linear, [1], 1, 2, "a kernel of 1 sizes; expected none"), (.convolution, [], 1, 2, "expected 1 to 3"),
            (.convolution, [1, 1, 1, 1], 1, 2, "expected 1 to 3"), (.convolution, [0], 1, 2, "a kernel [0]"),
            (.convolution, [-1, -1], 1, 2, "a kernel [-1, -1]"),
            (.convolution, [1 << 30, 1 << 30, 2], 1, 2, "a kernel"),
            (.linear, [], 2, 2, "2 groups"), (.convolution, [1], 2, 3, "2 groups for rank 3"),
            (.convolution, [1], 4, 4, "4 groups for rank 4 and 6 outputs"), (.convolution, [1], 0, 2, "0 groups"),
        ]
        for change in changes {
            let error = failure {
                _ = try ModuleShape(
                    name: "m.0.q", kind: change.kind, inputs: 4, outputs: 6, kernel: change.kernel,
                    groups: change.groups,
                    rank: change.rank, alpha: 1)
            }
            #expect(error.code == .invalidArgument && contains(error.message, change.says), "\(error.message)")
        }
    }

    static let broken: [(from: String, to: String, says: String, code: LoragenError.Code)] = [
        ("\"version\":1", "\"version\":2", "version 2", .version), ("\"version\":1,", "", "no version", .format),
        ("\"version\":1", "\"version\":1,\"x\":0", "unknown member 'x'", .format),
        ("\"modules\":[", "\"modules\":[3,", "module 0 of the layout is the number 3", .format),
        ("\"rank\":2", "\"rank\":0", "rank is 0", .format),
        ("\"rank\":2", "\"rank\":2.0", "'rank' is the number 2.0", .format),
        ("\"rank\":2,", "", "'rank' is missing", .format),
        ("\"rank\":2", "\"rank\":9223372036854775807", "rank is 9223372036854775807", .format),
        ("\"inputs\":4", "\"inputs\":-4", "inputs is -4", .format),
        ("\"outputs\":3", "\"outputs\":\"3\"", "'outputs' is the string", .format),
        ("\"alpha\":4", "\"alpha\":0", "alpha is 0", .format),
        ("\"alpha\":4", "\"alpha\":null", "'alpha' is null", .format),
        ("\"linear\"", "\"conv\"", "'kind' is the string \"conv\"", .format),
        ("\"kind\"", "\"kinds\"", "unknown member 'kinds'", .format), ("\"m.1.q\"", "\"m.0.q\"", "twice", .format),
        ("\"m.0.q\"", "\"m.9.q\"", "not sorted", .format), ("\"m.0.q\"", "\"\"", "module ''", .format),
        ("\"b\"", "7", "base_model is the number 7", .format), ("[\"q\"]", "[1]", "target_modules", .format),
        ("[\"q\"]", "\"q\"", "target_modules", .format),
        ("\"alpha\":4", "\"scaling\":\"x\",\"alpha\":4", "'scaling' is the string", .format),
        ("\"alpha\":4", "\"kernel\":[null],\"alpha\":4", "'kernel' is an array", .format),
        ("\"alpha\":4", "\"kernel\":[3],\"alpha\":4", "a kernel of 1 sizes", .format),
        ("\"alpha\":4", "\"groups\":\"2\",\"alpha\":4", "'groups' is the string", .format),
        ("\"alpha\":4", "\"dora\":1,\"alpha\":4", "'dora' is the number 1", .format),
    ]

    @Test("Broken JSON forms are refused by name", arguments: broken.indices) func brokenJSON(index: Int) throws {
        let (from, to, says, code) = Self.broken[index]
        let layout = try Layout(modules: [module("m.0.q"), module("m.1.q")], baseModel: "b", targetModules: ["q"])
        var text = try layout.json.text()
        let place = try #require((0..<text.utf8.count).first { text.dropFirst($0).hasPrefix(from) })
        text = text.prefix(place) + to + text.dropFirst(place + from.count)
        let error = failure { _ = try Layout(json: JSON.parse(text, source: "f"), source: "f") }
        #expect(
            error.code == code && contains(error.message, says) && error.message.hasPrefix("f: "), "\(error.message)")
    }

    @Test("The first difference of two layouts is named") func difference() throws {
        let a = try Layout(modules: [module("m.0.q"), module("m.1.q")])
        #expect(a.difference(from: a) == nil)
        #expect(a.difference(from: try a.withRank(3)) == "module 'm.0.q' has rank 2 where 3 is expected")
        #expect(a.difference(from: try a.withRank(3), ignoringRank: true) == nil)
        #expect(
            a.difference(from: try a.withRank(2)) == "module 'm.0.q' has scale 2.0 (alpha 4.0) where 1.0 is expected")
        let first = try Layout(modules: [module("m.0.q")])
        #expect(a.difference(from: first) == "it has module 'm.1.q', which is not expected")
        #expect(first.difference(from: a) == "it has no module 'm.1.q'")
        let third = try Layout(modules: [module("m.0.q"), module("m.2.q")])
        #expect(third.difference(from: a) == "it has no module 'm.1.q'")
        #expect(a.difference(from: third) == "it has module 'm.1.q', which is not expected")
        #expect(a.difference(from: try Layout(modules: [module("m.0.k")])) == "it has no module 'm.0.k'")
        #expect(
            a.difference(from: try Layout(modules: [module("m.0.q", inputs: 5), module("m.1.q")]), ignoringRank: true)
                == "module 'm.0.q' is linear [3, 4] where linear [3, 5] is expected")
    }
}

@Suite("Adapter") struct AdapterTests {
    @Test("Tensors are views of one aligned block") func views() throws {
        let adapter = try randomAdapter()
        defer { withExtendedLifetime(adapter) {} }
        #expect(Int(bitPattern: adapter.values.baseAddress) % 64 == 0)
        #expect(adapter.values.count == adapter.layout.valueCount)
        for (i, tensor) in adapter.tensors.enumerated() {
            #expect(
                tensor.values.baseAddress == adapter.values.baseAddress.map { $0 + adapter.layout.tensors[i].offset })
            #expect(adapter[tensor.name]?.values.baseAddress == tensor.values.baseAddress)
        }
        #expect(adapter["none"] == nil)
    }

    @Test("Another count of values is refused; NaN is found by name") func refused() throws {
        let adapter = try randomAdapter()
        #expect(failure { _ = try Adapter(layout: adapter.layout, values: [1]) }.code == .invalidArgument)
        var values = adapter.copyValues()
        values[adapter.layout.tensors[3].offset + 5] = -.infinity
        let bad = try Adapter(layout: adapter.layout, values: values)
        let error = failure { try bad.checkFinite(source: "here") }
        #expect(error.code == .nonFinite)
        #expect(
            error.message
                == "here: tensor '\(adapter.layout.tensors[3].name)': element 5 is -inf; expected a finite number")
    }
}
