import Testing

@testable import Tensor

/// One head after another with the whole matrix of scores.
private func plainAttention<E: Element>(
    _ q: Tensor<E>, _ k: Tensor<E>, _ v: Tensor<E>, heads: Int, causal: Bool
) -> Tensor<E> {
    let (width, keys) = (q.shape[2] / heads, k.shape[1])
    var mask = Tensor<E>.zeros([q.shape[1], keys])
    if causal {
        mask.withUnsafeMutableBufferPointer { to in
            for i in 0..<q.shape[1] { for j in 0..<keys where j > i { to[i * keys + j] = -1e30 } }
        }
    }
    func head(_ x: Tensor<E>, _ h: Int) -> Tensor<E> { x.slice(axis: 2, h * width..<(h + 1) * width) }
    let parts = (0..<heads).map { h in
        let scores = Tensor.matmul(head(q, h), head(k, h), transposeB: true) * (1 / Double(width).squareRoot())
        return Tensor.matmul((scores + mask).softmax(), head(v, h))
    }
    return Tensor.concatenate(parts, axis: 2)
}

@Suite("Attention") struct AttentionTests {
    struct Case: Sendable, CustomStringConvertible {
        let queries, keys, features, heads: Int
        let causal: Bool
        var description: String { "\(queries) x \(keys), \(heads) heads of \(features / heads), causal \(causal)" }
    }
    static let cases = [
        Case(queries: 1, keys: 1, features: 4, heads: 1, causal: true),
        Case(queries: 130, keys: 130, features: 128, heads: 2, causal: true),
        Case(queries: 300, keys: 300, features: 64, heads: 1, causal: true),
        Case(queries: 49, keys: 530, features: 32, heads: 2, causal: false),
        Case(queries: 97, keys: 257, features: 15, heads: 3, causal: false),
    ]

    private func errors<E: Element>(_ c: Case, _ type: E.Type, magnitude: Double = 1) -> (
        value: Double, gradient: Double
    ) {
        var random = Random(seed: 3)
        let shapes = [[2, c.queries, c.features], [2, c.keys, c.features], [2, c.keys, c.features]]
        let inputs: [Tensor<Float>] = shapes.map { random.normal($0, deviation: magnitude) }
        let weights: Tensor<Float> = random.normal(shapes[0])
        let x = inputs.map { $0.converted(to: E.self).requiringGradient() }
        let y = inputs.map { $0.converted(to: Double.self).requiringGradient() }
        let fast = attention(x[0], x[1], x[2], heads: c.heads, causal: c.causal)
        let plain = plainAttention(y[0], y[1], y[2], heads: c.heads, causal: c.causal)
        (fast * weights.converted()).sum().backward()
        (plain * weights.converted()).sum().backward()
        return (
            relativeError(fast, plain), zip(x, y).map { relativeError($0.gradient!, $1.gradient!) }.max()!
        )
    }

    @Test("Tiles give what the whole matrix of scores gives, value and gradients", arguments: cases)
    func tiles(_ c: Case) {
        let (double, float) = (errors(c, Double.self), errors(c, Float.self))
        // A single key's weight is 1: its gradient with respect to q and k is 0 up to rounding.
        let degenerate = c.keys == 1
        #expect(double.value < 1e-12 && (degenerate || double.gradient < 1e-12), "\(double)")
        #expect(float.value < 1e-5 && (degenerate || float.gradient < 1e-5), "\(float)")
    }

    @Test("Scores of hundreds neither overflow nor lose the sum")
    func largeScores() {
        let c = Case(queries: 60, keys: 300, features: 64, heads: 1, causal: false)
        let (value, gradient) = errors(c, Double.self, magnitude: 30)
        #expect(value < 1e-12 && gradient < 1e-9, "\(value) \(gradient)")
    }

    @Test("A packed tensor and three tensors give the same bytes")
    func packed() {
        var random = Random(seed: 4)
        let qkv: Tensor<Float> = random.normal([2, 70, 96])
        let parts = qkv.split(axis: 2, [32, 32, 32])
        let apart = attention(parts[0], parts[1], parts[2], heads: 2, causal: true)
        #expect(selfAttention(qkv, heads: 2, causal: true).values == apart.values)
    }

    @Test("A later token never changes an earlier result")
    func causality() {
        var random = Random(seed: 5)
        let qkv: Tensor<Float> = random.normal([1, 310, 48])
        var changed = qkv
        changed.withUnsafeMutableBufferPointer { for i in 290 * 48..<$0.count { $0[i] += 1 } }
        let (a, b) = (selfAttention(qkv, heads: 2, causal: true), selfAttention(changed, heads: 2, causal: true))
        #expect(a.slice(axis: 1, 0..<290).values == b.slice(axis: 1, 0..<290).values)
        #expect(a.slice(axis: 1, 290..<310).values != b.slice(axis: 1, 290..<310).values)
    }

    @Test("Through a cache, in pieces of any size, the results are those of the whole sequence")
    func cache() {
        var random = Random(seed: 6)
        let qkv: Tensor<Float> = random.normal([2, 301, 3 * 32])
        let whole = selfAttention(qkv, heads: 2, causal: true)
        let cache = KeyValueCache<Float>(batch: 2, heads: 2, features: 32, capacity: 303)
        var parts: [Tensor<Float>] = []
        for (first, last) in [(0, 100), (100, 101), (101, 102), (102, 260), (260, 300), (300, 301)] {
            parts.append(cache.attend(qkv.slice(axis: 1, first..<last)))
        }
        #expect(cache.count == 301)
        #expect(relativeError(Tensor.concatenate(parts, axis: 1), whole) < 1e-6)
        cache.truncate(to: 260)
        let again = cache.attend(qkv.slice(axis: 1, 260..<301))
        #expect(relativeError(again, whole.slice(axis: 1, 260..<301)) < 1e-6)
    }
}
