import Glibc
import Tensor
import Testing

@testable import Files
@testable import Learning
@testable import Methods

@Suite struct WeightTokensTests {
    /// timm's vision transformer, 224 pixels, patches of 16.
    static func vit(_ d: Int, layers: Int = 12, head: [[Int]]? = nil) -> [[Int]] {
        var shapes = [[1, 1, d], [1, 197, d], [d, 3, 16, 16], [d]]
        for _ in 0..<layers {
            shapes += [[d], [d], [3 * d, d], [3 * d], [d, d], [d], [d], [d], [4 * d, d], [4 * d], [d, 4 * d], [d]]
        }
        return shapes + [[d], [d]] + (head ?? [[1000, d], [1000]])
    }

    /// timm's ConvNeXt with layer scales.
    static func convNeXt(_ widths: [Int], _ depths: [Int]) -> [[Int]] {
        var shapes = [[widths[0], 3, 4, 4], [widths[0]], [widths[0]], [widths[0]]]
        for (stage, d) in widths.enumerated() {
            if stage > 0 {
                let before = widths[stage - 1]
                shapes += [[before], [before], [d, before, 2, 2], [d]]
            }
            for _ in 0..<depths[stage] {
                shapes += [[d], [d, 1, 7, 7], [d], [d], [d], [4 * d, d], [4 * d], [d, 4 * d], [d]]
            }
        }
        return shapes + [[widths[3]], [widths[3]], [1000, widths[3]], [1000]]
    }

    /// DoRA on LLaMA-7B: magnitude, A and B of q, k, v, up and down.
    static func dora(_ rank: Int) -> [[Int]] {
        let sizes = [(4096, 4096), (4096, 4096), (4096, 4096), (4096, 11008), (11008, 4096)]
        return (0..<32).flatMap { _ in
            sizes.flatMap { inputs, outputs in [[outputs, 1], [rank, inputs], [outputs, rank]] }
        }
    }

    @Test func `lengths and padding are those of the published sequences`() throws {
        let binary = [[192, 192], [192], [2, 192]]
        let expected: [(name: String, shapes: [[Int]], tensors: Int, size: Int, tokens: Int, padding: Double)] = [
            ("ViT-Tiny", Self.vit(192), 152, 1024, 5654, 1.2), ("ViT-Tiny", Self.vit(192), 152, 2048, 2878, 3.0),
            ("ViT-Tiny", Self.vit(192), 152, 4096, 1490, 6.3), ("ViT-Tiny", Self.vit(192), 152, 8192, 808, 13.6),
            ("ViT-Tiny", Self.vit(192), 152, 16384, 461, 24.3),
            ("binary", Self.vit(192, head: binary), 153, 8192, 790, 14.1),
            ("CIFAR-10", Self.vit(192, head: [[10, 192], [10]]), 152, 4096, 1444, .nan),
            ("CIFAR-10", Self.vit(192, head: [[10, 192], [10]]), 152, 8192, 785, .nan),
            ("ViT-Small", Self.vit(384), 152, 8192, 2786, 3.4), ("ViT-Base", Self.vit(768), 152, 16384, 5378, 1.8),
            ("ConvNeXt-Atto", Self.convNeXt([40, 80, 160, 320], [2, 2, 6, 2]), 128, 8192, 552, 18.3),
            ("ConvNeXt-Large", Self.convNeXt([192, 384, 768, 1536], [3, 3, 27, 3]), 344, 16384, 12311, 2.0),
            ("DoRA r4", Self.dora(4), 480, 8192, 1088, 11.5), ("DoRA r16", Self.dora(16), 480, 8192, 3648, 3.2),
            ("DoRA r64", Self.dora(64), 480, 16384, 7008, 1.5),
        ]
        for (name, shapes, tensors, size, count, padding) in expected {
            let tokens = try WeightTokens(shapes: shapes, size: size)
            #expect(shapes.count == tensors, "\(name)")
            #expect(tokens.count == count, "\(name) in tokens of \(size)")
            #expect(tokens.tokens.last?.tensor == tensors - 1)
            if !padding.isNaN { #expect(abs(100 * tokens.padding - padding) < 0.051, "\(name): \(tokens.padding)") }
        }
    }

    @Test(
        "tokens cover a vector once, in order, and give it back",
        arguments: WeightTokens.Granularity.allCases)
    func roundTrip(granularity: WeightTokens.Granularity) throws {
        let shapes = [[1], [16], [17], [3, 5, 2], [7, 40], [2, 3, 50], [64, 4]]
        let tokens = try WeightTokens(shapes: shapes, size: 16, granularity: granularity)
        var end = 0
        for token in tokens.tokens {
            #expect(token.start == end && (1...16).contains(token.count))
            end += token.count
        }
        let values = shapes.reduce(0) { $0 + $1.reduce(1, *) }
        #expect(end == values && tokens.valueCount == values)
        var random = Random(seed: 1)
        let vectors: Tensor<Float> = random.normal([2, values])
        let picks = tokens.tokens.indices.map { WeightTokens.Pick(row: 1, token: $0) }
        let (cut, mask) = (try tokens.gather(TensorRows(vectors), picks), tokens.mask(picks))
        #expect(mask.sum().item == Float(values))
        #expect((cut * (mask - 1)).sumOfSquares == 0, "padding is zero")
        var back = Tensor<Float>.zeros([values])
        back.withUnsafeMutableBufferPointer { to in
            for (row, pick) in picks.enumerated() {
                tokens.scatter(cut, row: row, token: pick.token, into: to.baseAddress!)
            }
        }
        let same = back.values == vectors.slice(axis: 0, 1..<2).values
        #expect(same)
    }

    @Test func `tokens by channel hold whole rows, evenly divided`() throws {
        // 64 rows of 4 in tokens of 16: 4 rows each. 7 rows of 40: each row on its own, in 3 tokens of 16, 16, 8.
        let tokens = try WeightTokens(shapes: [[64, 4], [7, 40], [12, 5]], size: 16, granularity: .byChannel)
        #expect(tokens.tokens.filter { $0.tensor == 0 }.map(\.count) == [Int](repeating: 16, count: 16))
        #expect(tokens.tokens.filter { $0.tensor == 1 }.count == 7 * 40 / 10)
        #expect(tokens.tokens.filter { $0.tensor == 2 }.map(\.count) == [15, 15, 15, 15])
        #expect(tokens.tokens.filter { $0.tensor == 2 }.map(\.index) == [0, 1, 2, 3])
    }

    @Test func `a vector of more tokens than are allowed is refused before they are listed`() {
        expectFailure(.invalidArgument, "tokenSize") { _ = try WeightTokens(shapes: [[1 << 40]], size: 1) }
    }
}

@Suite struct TokenPositionsTests {
    @Test func `the position of token 2 in tensor 1 is that of the published formula`() throws {
        let tokens = try WeightTokens(shapes: [[5], [12]], size: 4)
        let positions = TokenPositions(kind: .grid, features: 8, tokens: tokens.tokens)
        let row: Tensor<Double> = positions(4..<5)
        #expect(tokens.tokens[4].tensor == 1 && tokens.tokens[4].index == 2)
        let expected = [sin(2), cos(2), sin(0.02), cos(0.02), sin(1), cos(1), sin(0.01), cos(0.01)]
        #expect(relativeError(row.values, expected) < 1e-15)
    }

    @Test func `a range of positions is the same rows of all of them`() throws {
        let tokens = try WeightTokens(shapes: [[5], [12], [40]], size: 4)
        for kind in [TokenPositions.Kind.grid, .line] {
            let positions = TokenPositions(kind: kind, features: 16, tokens: tokens.tokens)
            let all: Tensor<Float> = positions(0..<tokens.count)
            let part: Tensor<Float> = positions(3..<9)
            let same = part.values == all.slice(axis: 0, 3..<9).values
            #expect(same)
        }
    }
}
