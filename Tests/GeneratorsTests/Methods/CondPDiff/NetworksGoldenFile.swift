import Foundation
import Tensor
import Testing

@testable import Files
@testable import Methods

/// What `Tests/golden/cond_pdiff.py` and `rpg.py` recorded; the head of the former describes the formula and the sketch.
struct GoldenFile: Decodable, Sendable {
    struct Lengths: Decodable {
        var padded: Int
        var lengths: [Int]
        var latent: Int
    }

    struct Case: Decodable {
        var count: Int
        var loss: Double
        var gradients: [String: Record]
        var encode: Record?
        var decode: Record?
        var encodeAfter: Record?
        var output: Record?
        var buffers: [String: Record]?
    }

    struct Record: Decodable {
        var shape: [Int]
        var norm: Double
        var entries: [[Double]]
        var sketch: [Double]

        /// How far a result is from the recorded one, relative to the recorded norm (or to `floor` if that is larger):
        /// the larger of the sketch's estimate of the whole distance and the worst recorded entry.
        func distance<E: Element>(_ result: Tensor<E>, floor: Double = 0) -> Double {
            guard result.shape == shape else { return .infinity }
            let values = result.values.map(Double.init)
            var sums = [Double](repeating: 0, count: sketch.count)
            let word = Formula.words("sketch", values.count)
            for (value, word) in zip(values, word) {
                for j in sums.indices { sums[j] += word >> UInt64(j) & 1 == 1 ? value : -value }
            }
            let square = zip(sums, sketch).map { ($0 - $1) * ($0 - $1) }.reduce(0, +) / Double(sketch.count)
            let worst = entries.map { abs(values[Int($0[0])] - $0[1]) }.max() ?? 0
            return max(square.squareRoot(), worst) / max(norm, floor, .leastNormalMagnitude)
        }
    }

    var lengths: [String: Lengths]
    var counts: [String: Int]
    var cases: [String: Case]

    static let shared = GoldenFile.read("cond_pdiff.json")
    static let rpg = GoldenFile.read("rpg.json")

    private static func read(_ name: String) -> GoldenFile {
        let path = repository.appendingPathComponent("Tests/golden/" + name)
        do {
            return try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: path))
        } catch {
            fatalError("\(path.path): \(error)")
        }
    }
}

/// Numbers that both sides compute from a name: splitmix64 started at the name's FNV-1a hash.
enum Formula {
    static func words(_ name: String, _ count: Int) -> [UInt64] {
        var state = name.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return (0..<count).map { _ in
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return z ^ z >> 31
        }
    }

    /// Uniform in [-1, 1).
    static func unit(_ name: String, _ shape: [Int]) -> [Double] {
        words(name, shape.reduce(1, *)).map { Double($0 >> 40) / 0x1p23 - 1 }
    }

    /// Variance 1.
    static func normalLike<E: Element>(_ name: String, _ shape: [Int], scale: Double = 1) -> Tensor<E> {
        Tensor(unit(name, shape).map { E($0 * 3.0.squareRoot() * scale) }, shape: shape)
    }

    static func parameter<E: Element>(_ name: String, _ shape: [Int]) -> Tensor<E> {
        let values = unit(name, shape)
        let bound = Double(shape.dropFirst().reduce(1, *)).squareRoot()
        if shape.count > 1 { return Tensor(values.map { E($0 / bound) }, shape: shape) }
        if name.hasSuffix("orm.weight") || name.hasSuffix(".running_var") {
            return Tensor(values.map { E(1 + $0 / 4) }, shape: shape)
        }
        return Tensor(values.map { E($0 / 10) }, shape: shape)
    }
}

@Suite struct CondPDiffNetworksGoldenFileTests {
    @Test func `the formula gives the numbers that the script gives`() {
        #expect(Formula.words("encoder.0.mix.weight", 2) == [0x6623_d033_14a3_e0ea, 0xc43c_cfb9_aa8a_8f0e])
        #expect(Formula.unit("encoder.0.mix.weight", [2]) == [-0.20203208923339844, 0.533105731010437])
        let many = Formula.unit("x", [1000])
        #expect(many.allSatisfy { $0 >= -1 && $0 < 1 })
        #expect(abs(many.reduce(0, +)) < 100)
    }

    @Test func `a sketch tells how far a large result is off, wherever it is off`() throws {
        let record = try #require(GoldenFile.shared.cases["convAutoencoderPublished"]?.decode)
        #expect(record.shape == [1, 73_728])
        var random = Random(seed: 1)
        let network = ConvAutoencoder<Float>(valueCount: 73_728, random: &random)
        fill(network)
        let right = withoutGradients { network.decode(Formula.normalLike("z", [1, 468], scale: 0.5)) }
        let noise: Tensor<Float> = random.normal(right.shape, deviation: 1e-3 * record.norm / 73_728.0.squareRoot())
        let distance = record.distance(right + noise)
        #expect(distance > 3e-4 && distance < 3e-3)
        #expect(record.distance(right.reshaped([73_728])) == .infinity)
    }
}
