import Tensor
import Testing

@testable import Learning

@Suite struct NormaliserTests {
    /// Four tasks of three rows each, elements of very different sizes, one that never moves.
    private static let groups: [Int32] = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
    private static let tensors: [(range: Range<Int>, isA: Bool)] = [(0..<4, true), (4..<7, false)]

    private static func rows() -> Tensor<Float> {
        var random = Random(seed: 4)
        let noise: Tensor<Float> = random.normal([12, 7])
        var values = noise.values
        for i in 0..<12 {
            values[i * 7] = values[i * 7] * 1e-4 + 2
            values[i * 7 + 1] *= 300
            values[i * 7 + 6] = -0.5
        }
        return Tensor(values, shape: [12, 7])
    }

    private static func make(_ kind: Normaliser.Kind) -> Normaliser {
        // swift-format-ignore: NeverUseForceTry
        try! Normaliser(kind: kind, rows: TensorRows(rows()), groups: groups, groupCount: 4, tensors: tensors)
    }

    @Test("the inverse gives the vectors back", arguments: Normaliser.Kind.allCases)
    func inverse(kind: Normaliser.Kind) {
        let normaliser = Self.make(kind)
        let back = normaliser.inverse(normaliser(Self.rows(), groups: Self.groups), groups: Self.groups)
        #expect(relativeError(back, Self.rows()) < 1e-6)
    }

    @Test func `a zero vector under per-task statistics is the mean of its task`() {
        let normaliser = Self.make(.perTask)
        for task in 0..<4 {
            let zero = normaliser.inverse(.zeros([1, 7]), groups: [Int32(task)]).values
            for j in 0..<7 {
                let own = (0..<12).filter { Self.groups[$0] == task }.map { Double(Self.rows()[$0, j]) }
                let mean = own.reduce(0, +) / Double(own.count)
                #expect(abs(Double(zero[j]) - mean) <= 1e-6 * max(1, abs(mean)))
            }
        }
    }

    @Test func `constants are 0.2 for lora_A and 200 for lora_B, with no shift`() {
        let normalised = Self.make(.constant)(Tensor([Float](repeating: 1, count: 7), shape: [1, 7]), groups: [0])
        for (j, value) in normalised.values.enumerated() { #expect(abs(value - (j < 4 ? 0.2 : 200)) < 1e-4) }
    }

    @Test("pooled vectors have mean 0 and the unit deviation that their kind promises")
    func moments() {
        for (kind, ranges) in [
            (Normaliser.Kind.global, [0..<7]), (.perTensor, [0..<4, 4..<7]),
            (.perElement, (0..<6).map { $0..<($0 + 1) }),
        ] {
            let x = Self.make(kind)(Self.rows(), groups: Self.groups)
            for j in 0..<7 {
                let mean = (0..<12).reduce(0.0) { $0 + Double(x[$1, j]) } / 12
                #expect(abs(mean) < (kind == .perElement && j == 0 ? 2e-3 : 1e-5), "\(kind) element \(j)")
            }
            for range in ranges {
                let squares = range.reduce(0.0) { sum, j in
                    sum + (0..<12).reduce(0.0) { $0 + Double(x[$1, j] * x[$1, j]) }
                }
                let deviation = (squares / Double(11 * range.count)).squareRoot()
                #expect(abs(deviation - 1) < 1e-3, "\(kind) \(range): \(deviation)")
            }
        }
    }

    @Test("elements that never move stay finite", arguments: Normaliser.Kind.allCases)
    func still(kind: Normaliser.Kind) throws {
        let rows = Tensor<Float>([Float](repeating: 3, count: 6), shape: [3, 2])
        let normaliser = try Normaliser(
            kind: kind, rows: TensorRows(rows), groups: [0, 0, 1], groupCount: 2,
            tensors: [(0..<1, true), (1..<2, false)])
        let x = normaliser(rows, groups: [0, 0, 1])
        #expect(x.isFinite)
        #expect(relativeError(normaliser.inverse(x, groups: [0, 0, 1]), rows) < 1e-6)
    }
}
