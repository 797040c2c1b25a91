import Tensor
import Testing

@testable import Adapters

@Suite("Canonical form") struct CanonicalFormTests {
    /// The largest difference of two adapters' values, relative to the largest value.
    func difference(_ a: Adapter, _ b: Adapter) -> Float {
        let top = b.values.reduce(0) { max($0, abs($1)) }
        return zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } / max(top, .leastNormalMagnitude)
    }

    @Test("The product of every module is unchanged", arguments: [1, 2, 4, 20]) func product(rank: Int) throws {
        let adapter = try randomAdapter(rank: rank)
        let canonical = try adapter.canonical()
        for i in adapter.layout.modules.indices {
            #expect(relativeError(AdaptersTests.product(canonical, i), AdaptersTests.product(adapter, i)) < 1e-6)
            #expect(canonical.layout.modules[i].scale == 1)
        }
    }

    @Test("Factors are balanced, orthogonal, in falling order and of fixed sign") func form() throws {
        let canonical = try randomAdapter().canonical()
        defer { withExtendedLifetime(canonical) {} }
        for (i, module) in canonical.layout.modules.enumerated() {
            let (a, b) = (canonical.tensor(at: 2 * i).values, canonical.tensor(at: 2 * i + 1).values)
            var last = Double.infinity
            for p in 0..<min(module.rank, module.outputs) {
                for q in 0...p {
                    let dotA = (0..<module.inputs).reduce(0.0) {
                        $0 + Double(a[p * module.inputs + $1]) * Double(a[q * module.inputs + $1])
                    }
                    let dotB = (0..<module.outputs).reduce(0.0) {
                        $0 + Double(b[$1 * module.rank + p]) * Double(b[$1 * module.rank + q])
                    }
                    if p == q {
                        #expect(abs(dotA - dotB) < 1e-5 * dotA && dotA <= last)
                        last = dotA
                    } else {
                        #expect(abs(dotA) < 1e-4 && abs(dotB) < 1e-4)
                    }
                }
                let column = (0..<module.outputs).map { b[$0 * module.rank + p] }
                #expect(column.max { abs($0) < abs($1) } ?? 0 > 0)
            }
        }
    }

    @Test("All pairs (BR⁻¹, RA) have one form") func invariance() throws {
        let adapter = try randomAdapter(rank: 3)
        defer { withExtendedLifetime(adapter) {} }
        // R = product of a rotation, a shear and unequal scales; its inverse in closed form.
        let (c, s) = (Double(0.6), Double(0.8))
        let r: [[Double]] = [[2 * c, -2 * s, 1], [s, c, 0], [0, 0, 0.5]]
        let inverse: [[Double]] = [[c / 2, s, -c], [-s / 2, c, s], [0, 0, 2]]
        let other = try Adapter(layout: adapter.layout) { values throws(LoragenError) in
            for (i, module) in adapter.layout.modules.enumerated() {
                let (a, b) = (adapter.tensor(at: 2 * i), adapter.tensor(at: 2 * i + 1))
                for j in 0..<module.inputs {
                    for p in 0..<3 {
                        values[a.layout.offset + p * module.inputs + j] = Float(
                            (0..<3).reduce(0) { $0 + r[p][$1] * Double(a.values[$1 * module.inputs + j]) })
                    }
                }
                for j in 0..<module.outputs {
                    for p in 0..<3 {
                        values[b.layout.offset + j * 3 + p] = Float(
                            (0..<3).reduce(0) { $0 + Double(b.values[j * 3 + $1]) * inverse[$1][p] })
                    }
                }
            }
        }
        #expect(difference(try other.canonical(), try adapter.canonical()) < 1e-5)
    }

    @Test("The form of the form is the form") func idempotence() throws {
        let once = try randomAdapter().canonical()
        #expect(difference(try once.canonical(), once) < 1e-6)
        #expect(try once.canonical().layout == once.layout)
    }

    @Test("A zero adapter stays zero, also with a zero factor on one side only") func zero() throws {
        let layout = try randomAdapter().layout
        let zero = try Adapter(layout: layout, values: [Float](repeating: 0, count: layout.valueCount))
        #expect(try zero.canonical().copyValues().allSatisfy { $0 == 0 })
        #expect(try zero.recut(rank: 1).energyLost.allSatisfy { $0 == 0 })
        let half = try Adapter(layout: layout) { values throws(LoragenError) in
            for place in layout.tensors where place.name.hasSuffix("lora_A.weight") {
                for i in place.range { values[i] = 1 }
            }
        }
        #expect(try half.canonical().copyValues().allSatisfy { $0 == 0 })
    }

    @Test("Missing rank becomes exact zeros, not the root of rounding errors") func deficient() throws {
        let full = try randomAdapter(rank: 2)
        defer { withExtendedLifetime(full) {} }
        // Rank 2 dressed up as rank 6.
        let layout = try full.layout.withRank(6)
        let dressed = try Adapter(layout: layout) { values throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                let (a, b) = (full.tensor(at: 2 * i).values, full.tensor(at: 2 * i + 1).values)
                let (placeA, placeB) = (layout.tensors[2 * i].offset, layout.tensors[2 * i + 1].offset)
                for k in 0..<6 {
                    for j in 0..<module.inputs {
                        values[placeA + k * module.inputs + j] = a[(k % 2) * module.inputs + j]
                    }
                    for j in 0..<module.outputs { values[placeB + j * 6 + k] = Float(k + 1) * b[j * 2 + k % 2] }
                }
            }
        }
        let canonical = try dressed.canonical()
        defer { withExtendedLifetime(canonical) {} }
        for (i, module) in layout.modules.enumerated() {
            #expect(relativeError(AdaptersTests.product(canonical, i), AdaptersTests.product(dressed, i)) < 1e-6)
            #expect(canonical.tensor(at: 2 * i).values[(2 * module.inputs)...].allSatisfy { $0 == 0 })
        }
        let cut = try dressed.recut(rank: 2)
        #expect(cut.energyLost.allSatisfy { $0 < 1e-13 })
    }

    @Test("A cut loses what it says, and padding loses nothing") func recut() throws {
        let adapter = try randomAdapter(rank: 4)
        let cut = try adapter.recut(rank: 2)
        for i in adapter.layout.modules.indices {
            let error = relativeError(AdaptersTests.product(cut.adapter, i), AdaptersTests.product(adapter, i))
            #expect(abs(error * error - cut.energyLost[i]) < 1e-6)
            #expect(adapter.layout.modules[i].outputs < 3 || cut.energyLost[i] > 0)
        }
        let padded = try adapter.recut(ranks: [8, 5, 4, 4, 6, 7])
        #expect(padded.energyLost.allSatisfy { $0 == 0 })
        #expect(padded.adapter.layout.modules.map(\.rank) == [8, 5, 4, 4, 6, 7])
        for i in adapter.layout.modules.indices {
            #expect(relativeError(AdaptersTests.product(padded.adapter, i), AdaptersTests.product(adapter, i)) < 1e-6)
        }
        #expect(failure { _ = try adapter.recut(rank: 0) }.code == .invalidArgument)
        #expect(failure { _ = try adapter.recut(ranks: [1]) }.code == .invalidArgument)
    }

    @Test("Alignment keeps the product and finds a rotated reference") func aligned() throws {
        let reference = try randomAdapter(seed: 2).canonical()
        let adapter = try randomAdapter(seed: 2)
        #expect(difference(try adapter.aligned(to: reference), reference) < 1e-5)
        let other = try randomAdapter(seed: 3)
        let aligned = try other.aligned(to: reference)
        func distance(_ a: Adapter) -> Double {
            zip(a.values, reference.values).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
        }
        #expect(distance(aligned) < distance(try other.canonical()))
        for i in other.layout.modules.indices {
            #expect(relativeError(AdaptersTests.product(aligned, i), AdaptersTests.product(other, i)) < 1e-6)
        }
        let error = failure { _ = try other.aligned(to: randomAdapter(rank: 2).canonical()) }
        #expect(error.code == .mismatch && contains(error.message, "rank 2 where 4"))
    }

    @Test("Alignment of a small step is a small step, also where singular values cross") func smooth() throws {
        // Two singular values 1 + t and 1 - t swap at t = 0: the canonical form jumps there.
        let layout = try Layout(modules: [ModuleShape(name: "m", inputs: 2, outputs: 2, rank: 2, alpha: 2)])
        let reference = try Adapter(layout: layout, values: [1, 0, 0, 1, 1, 0, 0, 1])
        func at(_ t: Float) throws -> Adapter {
            try Adapter(layout: layout, values: [1 + t, 0, 0, 1 - t, 1, 0, 0, 1]).aligned(to: reference)
        }
        #expect(difference(try at(1e-3), try at(-1e-3)) < 3e-3)
    }

    @Test("Values that are not finite are refused, and finite ones with an infinite product") func notFinite() throws {
        let layout = try Layout(modules: [ModuleShape(name: "m", inputs: 2, outputs: 2, rank: 1, alpha: 1e9)])
        #expect(failure { _ = try Adapter(layout: layout, values: [1, .nan, 0, 1]).canonical() }.code == .nonFinite)
        #expect(
            failure { _ = try Adapter(layout: layout, values: [1, .infinity, 0, 1]).canonical() }.code == .nonFinite)
        // 3e38 · 3e38 · 1e9 has a root of 9e42, beyond float32.
        #expect(failure { _ = try Adapter(layout: layout, values: [3e38, 0, 0, 3e38]).canonical() }.code == .nonFinite)
    }
}
