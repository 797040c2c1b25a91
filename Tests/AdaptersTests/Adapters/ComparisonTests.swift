import Testing

@testable import Adapters
@testable import Files

/// Against NumPy and SciPy on products that were formed in full (Golden/analysis.py).
@Suite("Analysis on canonical factors")
struct ComparisonTests {
    private func expected(_ pair: String) throws -> JSON {
        try #require(try JSON.read(path: golden("analysis/expected.json"))[pair])
    }

    private func adapter(_ name: String) throws -> Adapter { try Adapter.read(path: golden("analysis/" + name)) }

    private func expectClose(_ value: Double?, _ json: JSON?, _ tolerance: Double, _ what: String) {
        switch (value, json?.double) {
        case (nil, nil): break
        case (let value?, let wanted?):
            #expect(abs(value - wanted) <= tolerance * max(1, abs(wanted)), "\(what): \(value), expected \(wanted)")
        default: Issue.record("\(what): \(String(describing: value)), expected \(String(describing: json))")
        }
    }

    private func expectClose(_ values: [Double], _ json: JSON?, _ tolerance: Double, _ what: String) throws {
        let wanted = try #require(json?.array)
        #expect(values.count == wanted.count, "\(what): \(values), expected \(wanted)")
        for (value, wanted) in zip(values, wanted) { expectClose(value, wanted, tolerance, what) }
    }

    @Test("A pair of adapters", arguments: ["first second", "second first", "first third", "first first"])
    func pair(_ pair: String) throws {
        let names = pair.split(separator: " ").map(String.init)
        let comparison = try Comparison(adapter(names[0]), adapter(names[1]))
        let wanted = try expected(pair)
        expectClose(comparison.similarity, wanted["similarity"], 1e-12, "similarity")
        expectClose(comparison.distance, wanted["distance"], 1e-12, "distance")
        try expectClose([comparison.norms.0, comparison.norms.1], wanted["norms"], 1e-12, "norms")
        let modules = try #require(wanted["modules"]?.array)
        for module in comparison.modules {
            let wanted = try #require(modules.first { $0["name"]?.string == module.name })
            expectClose(module.similarity, wanted["similarity"], 1e-12, module.name)
            expectClose(module.distance, wanted["distance"], 1e-12, module.name)
            // SciPy knows angles near zero to about 3e-8.
            try expectClose(module.leftAngles, wanted["left_angles"], 1e-7, module.name)
            try expectClose(module.rightAngles, wanted["right_angles"], 1e-7, module.name)
            for (spectrum, i) in [(module.spectra.0, 0), (module.spectra.1, 1)] {
                let wanted = try #require(wanted["spectra"]?.array?[i])
                try expectClose(spectrum.values, wanted["singular_values"], 1e-12, module.name)
                expectClose(spectrum.norm, wanted["norm"], 1e-12, module.name)
                expectClose(spectrum.effectiveRank, wanted["effective_rank"], 1e-12, module.name)
                expectClose(spectrum.stableRank, wanted["stable_rank"], 1e-12, module.name)
            }
        }
        #expect(comparison.modules.count == modules.count)
    }

    @Test("Other factors of the same product are the same adapter")
    func gauge() throws {
        let adapter = try randomAdapter(seed: 3)
        let comparison = try Comparison(adapter, adapter.canonical())
        #expect(comparison.distance < 1e-6 * comparison.norms.0)
        #expect(try #require(comparison.similarity) > 1 - 1e-12)
        #expect(comparison.modules.allSatisfy { $0.leftOverlap > 1 - 1e-9 && $0.rightOverlap > 1 - 1e-9 })
    }

    @Test("The Gram matrix is that of the flattened products, and a digest is near it")
    func gram() throws {
        // Different ranks, so that the tiles are ragged.
        let adapters = try (0..<9).map { try randomAdapter(seed: UInt64($0), rank: 1 + $0 % 4) }
        let flat = adapters.map { adapter in adapter.layout.modules.indices.flatMap { product(adapter, $0) } }
        let updates = try adapters.map { try Update($0) }
        let gram = Gram(updates)
        let sketch = UpdateSketch(modules: updates[0].modules, width: 30_000)
        let estimated = Gram(sketches: updates.map(sketch.digest), norms: updates.map(\.norm))
        for i in 0..<9 {
            for j in 0..<9 {
                let wanted = zip(flat[i], flat[j]).reduce(0) { $0 + $1.0 * $1.1 }
                let size = (gram[i, i] * gram[j, j]).squareRoot()
                #expect(abs(gram[i, j] - wanted) < 1e-6 * size)
                #expect(gram[i, j] == gram[j, i])
                // Five deviations of √(8/30,000).
                #expect(abs(estimated[i, j] - wanted) < 0.082 * size)
            }
        }
        #expect(gram.subset([7, 2])[0, 1] == gram[7, 2])
    }

    @Test("A convolution of several groups is one product")
    func groups() throws {
        let layout = try Layout(modules: [
            ModuleShape(
                name: "conv", kind: .convolution, inputs: 3, outputs: 8, kernel: [2, 2], groups: 2, rank: 4, alpha: 6)
        ])
        var random = TestRandom(state: 5)
        let pair = try (0..<2).map { _ in
            try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
        }
        let (x, y) = (product(pair[0], 0), product(pair[1], 0))
        let comparison = try Comparison(pair[0], pair[1])
        let distance = zip(x, y).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        #expect(abs(comparison.distance - distance) < 1e-12 * distance)
        let norm = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
        #expect(abs(comparison.norms.0 - norm) < 1e-12 * norm)
    }

    @Test("What does not fit together is refused")
    func mismatches() throws {
        let adapter = try adapter("first")
        let other = try Adapter(
            layout: Layout(modules: [
                ModuleShape(name: "model.layers.0.self_attn.q_proj", inputs: 17, outputs: 12, rank: 1, alpha: 1)
            ]), values: [Float](repeating: 1, count: 29))
        #expect(contains(failure { _ = try Comparison(adapter, other) }.message, "[12, 16]"))
        let foreign = try Adapter(
            layout: Layout(modules: [ModuleShape(name: "x", inputs: 1, outputs: 1, rank: 1, alpha: 1)]), values: [1, 1])
        #expect(failure { _ = try Comparison(adapter, foreign) }.code == .mismatch)
        let broken = try Adapter(layout: foreign.layout, values: [.nan, 1])
        #expect(failure { _ = try broken.spectra() }.code == .nonFinite)
        #expect(failure { _ = try Update(broken) }.code == .nonFinite)
    }
}
