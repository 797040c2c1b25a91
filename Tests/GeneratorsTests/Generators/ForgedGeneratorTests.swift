import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Generators
@testable import Methods

/// A generator file of the method "mean" put together from parts, none of which training would have to make.
private struct Forgery {
    var modules: [[String: Any]] = [Self.linear()]
    var settings: [String: Any] = [
        "space": "factors", "factors": "raw", "normaliser": "global", "outputFrame": 8, "inputFrame": 4,
    ]
    var values = 32
    var conditions = 1
    var schema: [[String: Any]] = [["name": "condition", "kind": "vector", "length": 1]]
    var about: [String: Any] = [:]
    var tensors: [String: [Int]] = [:]
    var method = "mean"

    static func linear(_ changes: [String: Any] = [:]) -> [String: Any] {
        ["name": "m.l", "kind": "linear", "inputs": 8, "outputs": 8, "rank": 2, "alpha": 2].merging(changes) { $1 }
    }

    /// Writes the file; numbers are small and differ.
    func save(to path: String) throws {
        let generator: [String: Any] = [
            "method": method, "preset": "default", "settings": settings, "seed": "0",
            "layout": ["version": 1, "modules": modules], "schema": schema, "values": values, "examples": 1, "runs": 1,
            "tasks": ["t"], "medianDistance": 1.0,
            "hash": String(repeating: "0", count: 64),
        ].merging(about) { $1 }
        let shapes = [
            "condition.shift": [conditions], "condition.scale": [conditions], "normaliser.shift": [1, values],
            "normaliser.scale": [1, values], "training.conditions": [1, conditions], "training.sketches": [1, 512],
            "model.mean": [1, values],
        ].merging(tensors) { $1 }
        var header: [String: Any] = [:]
        var data = Data()
        for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
            let start = data.count
            for i in 0..<shape.reduce(1, *) {
                withUnsafeBytes(of: Float(i % 7) / 8 + 0.1) { data.append(contentsOf: $0) }
            }
            header[name] = ["dtype": "F32", "shape": shape, "data_offsets": [start, data.count]]
        }
        var bytes = SafetensorsBytes(header: header, data: data)
        bytes.metadata = ["format": "loragen.generator", "version": "2", "report": "{}"]
        bytes[json: "generator"] = generator
        try bytes.save(to: path)
    }
}

@Suite struct ForgedGeneratorTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// Opens the file and asks for an adapter.
    private func made(_ forgery: Forgery) throws -> Adapter {
        try forgery.save(to: scratch("g"))
        let generator = try Generator(path: scratch("g"))
        var ask = GenerationRequest()
        if generator.schema.width > 0 { ask.vector = [Float](repeating: 1, count: generator.schema.width) }
        return try generator.generate(ask)[0]
    }

    private func expectRefusal(_ part: String, _ forgery: Forgery) throws {
        try forgery.save(to: scratch("g"))
        expectFailure(.format, scratch("g"), part) { _ = try Generator(path: scratch("g")) }
    }

    private static func product(_ module: [String: Any], u: [Int], v: [Int]) -> Forgery {
        var forgery = Forgery()
        forgery.settings["space"] = "product"
        forgery.modules = [module]
        forgery.values = u[1] * v[1]
        forgery.tensors = ["frames.0.u": u, "frames.0.v": v]
        return forgery
    }

    @Test func `what is put together from sound parts opens and generates`() throws {
        #expect(try made(Forgery()).copyValues().count == 32)
        #expect(try made(Self.product(Forgery.linear(), u: [8, 3], v: [8, 2])).copyValues().count == 32)
    }

    @Test(
        "a product space has no grouped convolution and no DoRA, in a file as in training",
        arguments: [(64, 4096), (2, 64), (64, 64)])
    func productSpace(groups: Int, outputs: Int) throws {
        let module: [String: Any] = [
            "name": "m.c", "kind": "convolution", "inputs": 64, "outputs": outputs, "kernel": [1], "groups": groups,
            "rank": 64, "alpha": 64,
        ]
        try expectRefusal("grouped convolution", Self.product(module, u: [outputs, 64], v: [64, 64]))
        try expectRefusal("DoRA", Self.product(Forgery.linear(["dora": true]), u: [8, 3], v: [8, 2]))
    }

    @Test func `frames of other shapes than the layout's are refused`() throws {
        for (u, v) in [([9, 3], [8, 2]), ([8, 3], [7, 2]), ([8, 9], [8, 2]), ([8, 3, 1], [8, 2])] {
            try expectRefusal("frames", Self.product(Forgery.linear(), u: u, v: v))
        }
    }

    @Test func `modules of product, canonical and aligned spaces have the scale 1`() throws {
        try expectRefusal("scale", Self.product(Forgery.linear(["alpha": 4]), u: [8, 3], v: [8, 2]))
        for factors in ["canonical", "aligned"] {
            var forgery = Forgery()
            forgery.settings["factors"] = factors
            forgery.tensors = ["factors.reference": [32]]
            #expect(try made(forgery).copyValues().count == 32)
            forgery.modules = [Forgery.linear(["alpha": 4])]
            try expectRefusal("scale", forgery)
        }
    }

    @Test func `the normaliser of constants has none for magnitudes, in a file as in training`() throws {
        var forgery = Forgery()
        forgery.settings["normaliser"] = "constant"
        #expect(try made(forgery).copyValues().count == 32)
        forgery.modules = [Forgery.linear(["dora": true])]
        forgery.values = 40
        try expectRefusal("magnitudes", forgery)
    }

    @Test(
        "the parts of the condition and the numbers' scales agree",
        arguments: [
            ([("a", "vector", 1)], 0), ([], 1), ([("a", "bits", 2)], 1), ([("a", "bits", 1), ("b", "bits", 1)], 1),
            ([("a", "bits", 1), ("a", "vector", 1)], 2), ([("a", "vector", 1 << 24), ("b", "vector", 1)], 1),
        ])
    func conditions(parts: [(String, String, Int)], length: Int) throws {
        var forgery = Forgery()
        forgery.schema = parts.map { ["name": $0.0, "kind": $0.1, "length": $0.2] }
        forgery.conditions = length
        try expectRefusal("condition", forgery)
    }

    @Test func `a condition beyond what standardises to a number is told`() throws {
        try Forgery().save(to: scratch("g"))
        var bytes = try SafetensorsBytes(path: scratch("g"))
        bytes.fill("condition.scale") { _ in 1e30 }
        try bytes.save(to: scratch("g"))
        let generator = try Generator(path: scratch("g"))
        expectFailure(.nonFinite, "condition") { _ = try generator.generate(request { $0.vector = [3e38] }) }
    }

    @Test func `shifts of conditions that are no numbers are refused at once`() throws {
        try Forgery().save(to: scratch("g"))
        var bytes = try SafetensorsBytes(path: scratch("g"))
        bytes.fill("condition.shift") { _ in .infinity }
        try bytes.save(to: scratch("g"))
        expectFailure(.nonFinite, scratch("g")) { _ = try Generator(path: scratch("g")) }
    }

    /// A file with a hole of terabytes, which costs a few kilobytes of disk.
    private func sparse(_ forgery: Forgery, tensor: String, type: String, shape: [Int], bits: Int) throws {
        try forgery.save(to: scratch("g"))
        var bytes = try SafetensorsBytes(path: scratch("g"))
        let size = shape.reduce(1, *) * bits / 8
        bytes.header[tensor] = [
            "dtype": type, "shape": shape, "data_offsets": [bytes.data.count, bytes.data.count + size],
        ]
        try bytes.save(to: scratch("g"))
        let length = try contents(scratch("g")).count
        try #require(truncate(scratch("g"), length + size) == 0)
    }

    @Test("terabytes of another element type are no weights", arguments: [("I8", 8), ("F4", 4), ("U8", 8)])
    func sparseWeights(type: String, bits: Int) throws {
        var forgery = Forgery()
        forgery.method = "rpg"
        let preset = try #require(methods("rpg").settings(preset: "default").values.members)
        for member in preset where forgery.settings[member.name] == nil {
            forgery.settings[member.name] = try JSONSerialization.jsonObject(
                with: Data(member.value.text().utf8), options: .fragmentsAllowed)
        }
        forgery.settings["state"] = "run"
        forgery.about = ["runs": 1 << 28]
        // 2^28 states of 512 numbers: half a terabyte of weights.
        try sparse(forgery, tensor: "model.states", type: type, shape: [1 << 28, 512 << 4], bits: bits)
        expectFailure(.format, scratch("g"), "weights") { _ = try Generator(path: scratch("g")) }
    }

    @Test func `weights that are there as a hole take no memory to open`() throws {
        var forgery = Forgery()
        forgery.method = "nearest"
        forgery.about = ["examples": 1 << 28]
        forgery.tensors = ["model.conditions": [1, 1]]
        try forgery.save(to: scratch("g"))
        var bytes = try SafetensorsBytes(path: scratch("g"))
        bytes.header["model.conditions"] = nil
        let before = Memory.currentBytes
        // Nothing of what is claimed may be taken before it is found missing.
        _ = try? Generator(path: scratch("g"))
        #expect(Memory.currentBytes - before < 1 << 20)
    }
}
