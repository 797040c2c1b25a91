import Tensor
import Testing

@testable import Adapters
@testable import Formats
@testable import Learning
@testable import Reports

@Suite struct ProductSpaceTests {
    private static func adapters(_ count: Int = 6, rank: Int = 2) throws -> [Adapter] {
        try (0..<count).map { try randomAdapter(seed: UInt64($0), rank: rank) }
    }

    /// Frames as wide as the modules.
    private static func full(_ adapters: [Adapter]) throws -> ProductSpace {
        try ProductSpace(fitting: adapters, outputs: 100, inputs: 100, random: Random(seed: 1))
    }

    @Test func `decoding what was encoded gives the product back when the frames are full`() throws {
        let adapters = try Self.adapters()
        let space = try Self.full(adapters)
        for adapter in adapters + [try randomAdapter(seed: 99)] {
            let back = try space.decode(try space.encode(adapter))
            #expect(relativeError(products(back), products(adapter)) < 1e-5)
        }
    }

    @Test func `the frames are orthonormal`() throws {
        let space = try ProductSpace(fitting: try Self.adapters(), outputs: 2, inputs: 1, random: Random(seed: 1))
        for frame in space.frames {
            for side in [frame.u, frame.v] {
                let dense = Dense(side)
                let gram = dense.transposed * dense
                for i in 0..<gram.rows {
                    for j in 0..<gram.rows { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-5) }
                }
            }
        }
    }

    @Test func `narrow frames lose nothing of adapters that lie in them`() throws {
        // Two adapters of rank 2 need at most 4 directions on each side.
        let adapters = try Self.adapters(2)
        let space = try ProductSpace(fitting: adapters, outputs: 2, inputs: 2, random: Random(seed: 1))
        for adapter in adapters {
            #expect(relativeError(products(try space.decode(try space.encode(adapter))), products(adapter)) < 1e-5)
        }
    }

    @Test func `narrow frames keep what the best frames would keep`() throws {
        // One side alone, against the dominant left singular vectors of the products side by side.
        let adapters = try Self.adapters(5)
        let space = try ProductSpace(fitting: adapters, outputs: 1, inputs: 100, random: Random(seed: 1))
        var stack = Dense(8, 0)
        for adapter in adapters {
            let next = product(adapter, 0)
            var joined = Dense(8, stack.columns + next.columns)
            for i in 0..<8 {
                for j in 0..<joined.columns {
                    joined[i, j] = j < stack.columns ? stack[i, j] : next[i, j - stack.columns]
                }
            }
            stack = joined
        }
        let svd = try thinSVD(Tensor<Double>(stack.values, shape: [8, stack.columns]))
        let best = svd.s.values.prefix(2).reduce(0) { $0 + $1 * $1 }
        let kept = norm((Dense(space.frames[0].u).transposed * stack).values)
        #expect(space.frames[0].p == 2)
        #expect(kept * kept > best * 0.999)
    }

    @Test func `decoding a core of full rank gives its best approximation of the layout's rank`() throws {
        let space = try Self.full(try Self.adapters())
        var random = Random(seed: 12)
        let cores: Tensor<Float> = random.normal([space.count])
        let made = try space.decode(cores.values)
        for (i, frame) in space.frames.enumerated() {
            let core = Dense(
                frame.p, frame.q, cores.values[frame.offset..<(frame.offset + frame.count)].map(Double.init))
            let whole = Dense(frame.u) * core * Dense(frame.v).transposed
            let sigma = try thinSVD(Tensor<Double>(core.values, shape: [core.rows, core.columns])).s.values
            let lost = norm(Array(sigma.dropFirst(2)))
            let error = norm(zip(whole.values, product(made, i).values).map { $0 - $1 })
            #expect(abs(error - lost) < 1e-4 * norm(sigma), "module \(i)")
        }
    }

    @Test func `cores do not depend on the factors of a product`() throws {
        let adapters = try Self.adapters()
        let space = try Self.full(adapters)
        let adapter = adapters[0]
        // B·R⁻¹ and R·A with R = [[2, 1], [0, 0.5]].
        var values = adapter.copyValues()
        for i in adapter.layout.modules.indices {
            let (a, b) = (adapter.layout.tensors[2 * i], adapter.layout.tensors[2 * i + 1])
            let inputs = a.shape[1]
            for j in 0..<inputs {
                let (x, y) = (values[a.offset + j], values[a.offset + inputs + j])
                values[a.offset + j] = 2 * x + y
                values[a.offset + inputs + j] = 0.5 * y
            }
            for o in 0..<b.shape[0] {
                let (x, y) = (values[b.offset + 2 * o], values[b.offset + 2 * o + 1])
                values[b.offset + 2 * o] = 0.5 * x
                values[b.offset + 2 * o + 1] = 2 * y - x
            }
        }
        let turned = try Adapter(layout: adapter.layout, values: values)
        let expected = try space.encode(adapter).map(Double.init)
        #expect(relativeError(try space.encode(turned).map(Double.init), expected) < 1e-5)
        let recut = try adapter.recut(rank: 5).adapter
        #expect(relativeError(try space.encode(recut).map(Double.init), expected) < 1e-5)
    }

    @Test func `cores are linear in the product`() throws {
        let adapters = try Self.adapters()
        let space = try ProductSpace(fitting: adapters, outputs: 1, inputs: 1, random: Random(seed: 1))
        // The sum of two products of rank 2 as one of rank 4: A stacked, B side by side.
        let layout = try Synthetic.layout(rank: 4, alpha: 6)
        let (x, y) = (adapters[0], adapters[1])
        let sum = try Adapter(layout: layout) { (target) throws(LoragenError) in
            for (i, place) in layout.tensors.enumerated() {
                let (p, q) = (Array(x.tensor(at: i).values), Array(y.tensor(at: i).values))
                if i % 2 == 0 {
                    for (k, value) in (p + q).enumerated() { target[place.offset + k] = value }
                } else {
                    for row in 0..<place.shape[0] {
                        let joined = p[(2 * row)..<(2 * row + 2)] + q[(2 * row)..<(2 * row + 2)]
                        for (k, value) in joined.enumerated() { target[place.offset + 4 * row + k] = value }
                    }
                }
            }
        }
        let expected = zip(try space.encode(x), try space.encode(y)).map { Double($0 + $1) }
        #expect(relativeError(try space.encode(sum).map(Double.init), expected) < 1e-5)
    }

    @Test func `the factors that come back are the canonical ones`() throws {
        let adapters = try Self.adapters()
        let space = try Self.full(adapters)
        let made = try space.decode(try space.encode(adapters[3]))
        let canonical = try adapters[3].canonical()
        #expect(made.layout == canonical.layout)
        #expect(relativeError(made.copyValues().map(Double.init), canonical.copyValues().map(Double.init)) < 1e-4)
    }

    @Test func `zero adapters have frames, and zero comes back`() throws {
        let layout = try Synthetic.layout()
        let zero = try Adapter(layout: layout, values: [Float](repeating: 0, count: layout.valueCount))
        let space = try Self.full([zero, zero])
        #expect(try space.decode(try space.encode(zero)).copyValues().allSatisfy { $0 == 0 })
    }

    @Test func `a rank above the module's dimensions is decoded with zeros`() throws {
        let adapters = try Self.adapters(3, rank: 9)
        let space = try Self.full(adapters)
        let made = try space.decode(try space.encode(adapters[0]))
        #expect(made.layout.modules.allSatisfy { $0.rank == 9 })
        #expect(relativeError(products(made), products(adapters[0])) < 1e-5)
    }

    @Test func `the distance of two adapters is that of their products, at any ranks`() throws {
        for (x, y) in [
            (try randomAdapter(seed: 1), try randomAdapter(seed: 2)),
            (try randomAdapter(seed: 1, rank: 3, alpha: 5), try randomAdapter(seed: 2, rank: 1, alpha: 0.5)),
        ] {
            let difference = norm(zip(products(x), products(y)).map { $0 - $1 })
            #expect(abs(productDistance(x, y) - difference * difference) < 1e-5 * difference * difference)
        }
        let x = try randomAdapter(seed: 1)
        #expect(productDistance(x, try x.canonical()) < 1e-4 * norm(products(x)))
        #expect(abs(x.squaredNorms()[1].squareRoot() / norm(product(x, 1).values) - 1) < 1e-5)
    }
}

@Suite struct SketchTests {
    @Test func `sketches keep distances`() {
        var random = Random(seed: 3)
        var ratios: [Double] = []
        for _ in 0..<20 {
            let x: Tensor<Float> = random.normal([3000])
            let y: Tensor<Float> = random.normal([3000])
            let sketch = Sketch.make(unsafe: y)
            let found = Sketch.make(unsafe: x).withUnsafeBufferPointer { Sketch.distance($0, sketch) }
            let distance = norm(zip(x.values, y.values).map { Double($0 - $1) })
            ratios.append(found * found / (distance * distance))
        }
        // Unbiased, relative deviation √(2/512) = 6 %.
        let mean = ratios.reduce(0, +) / 20
        #expect(abs(mean - 1) < 4 * 0.0625 / 20.0.squareRoot())
        #expect(ratios.allSatisfy { abs($0 - 1) < 0.3 })
    }
}

extension Sketch {
    fileprivate static func make(unsafe x: Tensor<Float>) -> [Float] {
        var sketch = Sketch()
        x.withUnsafeBufferPointer { sketch.add($0) }
        return sketch.buckets
    }
}
