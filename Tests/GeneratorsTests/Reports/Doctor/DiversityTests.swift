import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Generators
@testable import Reports

/// What the doctor measures on Gram matrices that are singular, or far from 1.
@Suite("Diversity on singular and far-off Gram matrices") struct DiversityTests {
    /// Points of some dimension, with the rounding of single precision in their inner products.
    private static func points(_ count: Int, dimension: Int, offset: Double = 0) -> [[Double]] {
        var random = Random(seed: 3)
        let x: Tensor<Double> = random.normal([count, dimension]) + offset
        return (0..<count).map { i in (0..<dimension).map { x[i, $0] } }
    }

    private static func gram(_ points: [[Double]], size: Double = 1) -> Gram {
        var random = Random(seed: 4)
        var values: [Double] = []
        for (i, x) in points.enumerated() {
            for (j, y) in points.enumerated() {
                if j < i {
                    values.append(values[j * points.count + i])
                } else {
                    let norms = (norm(x) * norm(y))
                    let rounding: Tensor<Double> = random.normal([1])
                    values.append(zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } + 1e-7 * norms * rounding.item)
                }
            }
        }
        return Gram(count: points.count, values: values.map { $0 * size })
    }

    @Test("adapters of a few exact dimensions explain each other", arguments: [(100, 8), (400, 3), (500, 60)])
    func lowDimensional(count: Int, dimension: Int) throws {
        let points = Self.points(count, dimension: dimension)
        let found = try Diversity(
            Self.gram(points), blocks: Array(0..<count), conditions: points.map { $0.map { Float($0) } })
        #expect(try #require(found.spanSkill) > 0.999)
        #expect(try #require(found.halfSpanSkill) > 0.999)
        #expect(try #require(found.ridgeSkill) > 0.99)
        #expect(found.components90 <= dimension)
        #expect(abs(found.participation - Double(dimension)) < 0.25 * Double(dimension))
        // Blocks of many members, as runs and tasks make them.
        let blocks = (0..<count).map { $0 / 20 }
        #expect(try #require(Diversity(Self.gram(points), blocks: blocks, conditions: nil).spanSkill) > 0.999)
    }

    @Test("every adapter twice, its copy in its block, says what each once says")
    func copies() throws {
        let points = Self.points(40, dimension: 60)
        let once = try Diversity(Self.gram(points), blocks: Array(0..<40), conditions: nil)
        let twice = try Diversity(Self.gram(points + points), blocks: Array(0..<40) + Array(0..<40), conditions: nil)
        #expect(abs(try #require(once.spanSkill) - #require(twice.spanSkill)) < 1e-3)
        #expect(abs(once.participation - twice.participation) < 1e-2)
    }

    @Test("the unit does not matter", arguments: [1e-150, 1e-40, 1e40, 1e150])
    func units(size: Double) throws {
        let points = Self.points(30, dimension: 20)
        let conditions = points.map { [Float($0[0]), Float($0[1])] }
        let plain = try Diversity(Self.gram(points), blocks: Array(0..<30), conditions: conditions)
        let other = try Diversity(Self.gram(points, size: size), blocks: Array(0..<30), conditions: conditions)
        for (a, b) in [
            (plain.spanSkill, other.spanSkill), (plain.nearestSkill, other.nearestSkill),
            (plain.ridgeSkill, other.ridgeSkill), (plain.twoNN, other.twoNN),
            (plain.participation, other.participation),
        ] {
            #expect(abs(try #require(a) - #require(b)) < 1e-9)
        }
    }

    @Test("adapters that are all the same have no diversity, and no number out of their rounding")
    func same() throws {
        let points = Self.points(1, dimension: 30)
        let found = try Diversity(
            Self.gram([[Double]](repeating: points[0], count: 24)), blocks: Array(0..<24),
            conditions: (0..<24).map { [Float($0)] })
        #expect(found.spanSkill == nil && found.nearestSkill == nil && found.ridgeSkill == nil && found.twoNN == nil)
        #expect(found.variances.isEmpty && found.participation == 0)
    }

    @Test(
        "a folder of adapters is seen alike in any unit that single precision holds",
        arguments: [1e-19, 1e-10, 1e10, 1e17])
    func folders(size: Double) throws {
        func diagnosis(_ factor: Double) throws -> (Diagnosis, Diversity) {
            let scratch = try Scratch()
            for i in 0..<16 {
                let adapter = try Synthetic.adapter(Synthetic.bits(2 * i))
                let values = adapter.copyValues().map { $0 * Float(factor) }
                try Synthetic.write(try Adapter(layout: adapter.layout, values: values), to: scratch("t\(i)"))
            }
            let found = try Diagnosis(path: scratch.path)
            _ = (found.text, found.svg)
            return (found, try #require(found.charts.first?.diversity))
        }
        // Both factors: updates of the square.
        let (plain, other) = (try diagnosis(1), try diagnosis(size))
        #expect(plain.0.findings.map(\.code) == other.0.findings.map(\.code))
        #expect(abs(try #require(plain.1.spanSkill) - #require(other.1.spanSkill)) < 1e-4)
        #expect(abs(plain.1.participation - other.1.participation) < 1e-3)
        #expect(plain.0.verdict == other.0.verdict)
    }
}
