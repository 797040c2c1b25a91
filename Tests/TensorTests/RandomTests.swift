import CKernels
import Testing

@testable import Tensor

@Suite("Random") struct RandomTests {
    // Known answers of Random123 1.14, file kat_vectors: philox4x32, 10 rounds: counter, key, result.
    static let known: [([UInt32], [UInt32], [UInt32])] = [
        ([0, 0, 0, 0], [0, 0], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        (
            [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0xffff_ffff, 0xffff_ffff],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        ),
    ]

    @Test("Philox-4x32-10 gives the published answers", arguments: known)
    func philox(_ counter: [UInt32], _ key: [UInt32], _ expected: [UInt32]) {
        func joined(_ low: UInt32, _ high: UInt32) -> UInt64 { UInt64(high) << 32 | UInt64(low) }
        var random = Random(
            seed: joined(key[0], key[1]), stream: joined(counter[2], counter[3]),
            position: joined(counter[0], counter[1]))
        #expect(random.words(4) == expected)
    }

    @Test("Element i depends on seed, stream and i alone, however the sequence is cut")
    func counterBased() {
        var whole = Random(seed: 9, stream: 4)
        let all: Tensor<Float> = whole.normal([100_003])
        var part = Random(seed: 9, stream: 4, position: 5000)
        let tail: Tensor<Float> = part.normal([1003])
        #expect(all.slice(axis: 0, 20_000..<21_003).values == tail.values)
        #expect(whole.position == 25_001)
        var other = Random(seed: 9, stream: 5)
        #expect((other.normal([4]) as Tensor<Float>).values != all.slice(axis: 0, 0..<4).values)
    }

    @Test("Normal numbers in Float are those in Double, rounded; their bytes are fixed")
    func normalBytes() {
        var (a, b) = (Random(seed: 1), Random(seed: 1))
        let single: Tensor<Float> = a.normal([4097])
        let double: Tensor<Double> = b.normal([4097])
        #expect(single.values == double.values.map { Float($0) })
        #expect(relativeError(double.slice(axis: 0, 0..<4), Tensor(Golden.normals)) < 1e-15)
        // As written down on Zen 4: computed without fused operations, so every CPU must agree.
        let bits: [UInt64] = [
            4_600_524_310_332_922_637, 13_822_380_924_747_042_210, 13_821_519_637_593_669_048,
            13_830_571_737_099_923_879,
        ]
        #expect(double.values[..<4].map { $0.bitPattern } == bits)
    }

    @Test("Moments: mean 0, deviation 1, kurtosis 3; uniform in [low, high) with its mean and variance")
    func moments() {
        let n = 1_000_000
        var random = Random(seed: 12)
        let z: Tensor<Double> = random.normal([n])
        #expect(z.mean().item.magnitude < 4e-3)
        #expect((z.square().mean().item - 1).magnitude < 6e-3)
        #expect((z.square().square().mean().item - 3).magnitude < 0.05)
        let u: Tensor<Float> = random.uniform([n], low: -2, high: 3)
        #expect(u.values.allSatisfy { $0 >= -2 && $0 < 3 })
        #expect((Double(u.mean().item) - 0.5).magnitude < 6e-3)
        #expect((Double(((u - 0.5).square()).mean().item) - 25.0 / 12).magnitude < 0.02)
        let d: Tensor<Double> = random.uniform([n])
        #expect((d.mean().item - 0.5).magnitude < 2e-3)
    }

    @Test("A permutation holds every number once; integers below n reach all of them evenly")
    func integers() {
        var random = Random(seed: 3)
        #expect(random.permutation(1000).sorted() == Array(0..<1000))
        #expect(random.permutation(0) == [] && random.permutation(1) == [0])
        var counts = [Int](repeating: 0, count: 7)
        for i in random.integers(70_000, below: 7) { counts[i] += 1 }
        #expect(counts.allSatisfy { abs($0 - 10_000) < 500 })
    }
}
