import Testing

@testable import Adapters
@testable import Learning

@Suite struct FactorSpaceTests {
    @Test("every kind of factors keeps the product", arguments: FactorSpace.Factors.allCases)
    func product(factors: FactorSpace.Factors) throws {
        let reference = try randomAdapter(seed: 1)
        let codec = try FactorSpace(factors: factors, corpusLayout: reference.layout, adapters: [reference])
        let adapter = try randomAdapter(seed: 2)
        let coded = try codec.encode(adapter)
        #expect(coded.layout == codec.layout)
        #expect(relativeError(products(coded), products(adapter)) < 1e-5)
    }

    @Test(
        "canonical and aligned factors are those of the product alone",
        arguments: [FactorSpace.Factors.canonical, .aligned])
    func unique(factors: FactorSpace.Factors) throws {
        let reference = try randomAdapter(seed: 1)
        let codec = try FactorSpace(factors: factors, corpusLayout: reference.layout, adapters: [reference])
        let adapter = try randomAdapter(seed: 2)
        // B/3 and 3·A.
        let scaled = try Adapter(
            layout: adapter.layout,
            values: adapter.layout.tensors.enumerated().flatMap { i, place in
                adapter.copyValues()[place.range].map { i % 2 == 0 ? $0 * 3 : $0 / 3 }
            })
        let (x, y) = (try codec.encode(adapter).copyValues(), try codec.encode(scaled).copyValues())
        #expect(relativeError(x.map(Double.init), y.map(Double.init)) < 1e-4)
    }

    @Test func `raw factors are the adapter's own`() throws {
        let adapter = try randomAdapter(seed: 2)
        let codec = try FactorSpace(factors: .raw, corpusLayout: adapter.layout, adapters: [adapter])
        #expect(try codec.encode(adapter).copyValues() == adapter.copyValues())
    }

    @Test("a representation gives adapters back", arguments: ["product", "factors"])
    func representation(space: String) throws {
        let adapters = try (0..<6).map { try randomAdapter(seed: UInt64($0)) }
        let settings = spaceSettings(space, normaliser: "per-tensor")
        let groups = [Int32](repeating: 0, count: 6)
        let made = try Representation(settings, fitting: adapters, groups: groups, groupCount: 1, seed: 1)
        let vectors = try made.encode(adapters, groups: groups)
        #expect(vectors.shape == [6, made.count])
        for (i, adapter) in adapters.enumerated() {
            let back = try made.decode(vectors.slice(axis: 0, i..<(i + 1)), group: 0)
            #expect(relativeError(products(back), products(adapter)) < 1e-4)
        }
    }

    @Test func `vectors that are not finite are refused`() throws {
        let adapters = try (0..<3).map { try randomAdapter(seed: UInt64($0)) }
        let made = try Representation(spaceSettings(), fitting: adapters, groups: [0, 0, 0], groupCount: 1, seed: 1)
        expectFailure(.nonFinite) { _ = try made.decode(.full([1, made.count], .nan), group: 0) }
        expectFailure(.nonFinite) { _ = try made.decode(.full([1, made.count], 3e38), group: 0) }
    }
}
