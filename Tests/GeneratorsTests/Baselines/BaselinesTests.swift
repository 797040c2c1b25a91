import Adapters
import NN
import Tensor
import Testing

@testable import Generators

/// Twelve examples of three numbers each, with two values that are smooth in them.
private struct Example {
    let conditions: Tensor<Float>
    let values: Tensor<Float>

    init(seed: UInt64 = 1, count: Int = 12) {
        var random = Random(seed: seed)
        conditions = random.normal([count, 3])
        let noise: Tensor<Float> = random.normal([count, 2])
        var values: [Float] = []
        for i in 0..<count {
            let (a, b, c) = (conditions[i, 0], conditions[i, 1], conditions[i, 2])
            values += [a * b + 0.1 * noise[i, 0], c - a + 0.1 * noise[i, 1]]
        }
        let mean0 = (0..<count).reduce(Float(0)) { $0 + values[2 * $1] } / Float(count)
        let mean1 = (0..<count).reduce(Float(0)) { $0 + values[2 * $1 + 1] } / Float(count)
        self.values = Tensor(values.enumerated().map { $1 - ($0 % 2 == 0 ? mean0 : mean1) }, shape: [count, 2])
    }

    var size: ProblemSize { ProblemSize(values: 2, conditions: 3, examples: conditions.shape[0]) }

    /// With a skill that is 1 − the error on some validation values.
    func data(validation: Example? = nil) -> TrainingData {
        TrainingData(
            vectors: values, conditions: conditions, validationConditions: validation?.conditions ?? .zeros([0, 3]),
            skill: { (predicted) throws(LoragenError) in
                validation.map { 1 - (predicted - $0.values).square().sum().values.reduce(0) { $0 + Double($1) } }
            }, seed: 1)
    }
}

private func row(_ x: Dense, _ i: Int) -> [Double] { (0..<x.columns).map { x[i, $0] } }

private func without(_ x: Dense, _ left: Int) -> Dense {
    Dense(x.rows - 1, x.columns, (0..<x.rows).filter { $0 != left }.flatMap { row(x, $0) })
}

private func kernel(_ a: Dense, _ b: Dense, _ width: Double) -> Dense {
    var result = Dense(a.rows, b.rows)
    for i in 0..<a.rows {
        for j in 0..<b.rows {
            let square = (0..<a.columns).reduce(0) { $0 + (a[i, $1] - b[j, $1]) * (a[i, $1] - b[j, $1]) }
            result[i, j] = fexp(-square / (2 * width * width))
        }
    }
    return result
}

/// e^x by squaring a series.
private func fexp(_ x: Double) -> Double {
    var (term, sum) = (1.0, 1.0)
    for k in 1..<12 {
        term *= x / 1024 / Double(k)
        sum += term
    }
    for _ in 0..<10 { sum *= sum }
    return sum
}

private func ridged(_ x: Dense, _ lambda: Double) -> Dense {
    var result = x
    for i in 0..<x.rows { result[i, i] += lambda }
    return result
}

@Suite struct KernelRidgeTests {
    /// The width and ridge with the least leave-one-out error, by really leaving each example out and solving again.
    private static func best(_ example: Example) -> (width: Double, lambda: Double, leftOut: Dense) {
        let (c, y) = (Dense(example.conditions), Dense(example.values))
        var best: (error: Double, width: Double, lambda: Double, leftOut: Dense)?
        for factor in [0.5, 0.7, 1.0, 1.4, 2.0, 2.8] {
            for exponent in [-4.0, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0] {
                let (width, lambda) = (factor * 3.0.squareRoot(), fexp(exponent * 2.302585092994046))
                var predictions: [Double] = []
                for i in 0..<c.rows {
                    let (others, values) = (without(c, i), without(y, i))
                    let alpha = ridged(kernel(others, others, width), lambda).solving(values)
                    predictions += (kernel(Dense(1, 3, row(c, i)), others, width) * alpha).values
                }
                let error = zip(predictions, y.values).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
                if best.map({ error < $0.error }) ?? true {
                    best = (error, width, lambda, Dense(c.rows, 2, predictions))
                }
            }
        }
        return best.map { ($0.width, $0.lambda, $0.leftOut) } ?? (0, 0, y)
    }

    @Test(
        "leave-one-out predictions are those of really leaving one out, and choose width and ridge",
        arguments: [1, 2, 3])
    func leaveOneOut(seed: UInt64) throws {
        let example = Example(seed: seed)
        let ridge = KernelRidge(size: example.size, values: 2)
        let leftOut = try ridge.fit(example.conditions, example.values)
        let best = Self.best(example)
        #expect(abs(Double(ridge.width.value.item) - best.width) < 1e-6)
        #expect(relativeError(leftOut.values.map(Double.init), best.leftOut.values) < 1e-4)
    }

    @Test func `coefficients and predictions are those of a dense solution in double`() throws {
        let (example, other) = (Example(seed: 4), Example(seed: 5))
        let ridge = KernelRidge(size: example.size, values: 2)
        try ridge.fit(example.conditions, example.values)
        let best = Self.best(example)
        let (c, y) = (Dense(example.conditions), Dense(example.values))
        let alpha = ridged(kernel(c, c, best.width), best.lambda).solving(y)
        #expect(relativeError(ridge.coefficients.value.values.map(Double.init), alpha.values) < 1e-3)
        let expected = kernel(Dense(other.conditions), c, best.width) * alpha
        #expect(relativeError(ridge(other.conditions).values.map(Double.init), expected.values) < 1e-4)
    }

    @Test func `one example, equal conditions and no conditions are fitted`() throws {
        for conditions in [Tensor<Float>([1, 2], shape: [1, 2]), .ones([4, 2]), .zeros([3, 0])] {
            let n = conditions.shape[0]
            let size = ProblemSize(values: 2, conditions: conditions.shape[1], examples: n)
            let ridge = KernelRidge(size: size, values: 2)
            var random = Random(seed: 1)
            try ridge.fit(conditions, random.normal([n, 2]))
            #expect(ridge(conditions).isFinite)
        }
    }

    @Test func `values that are not finite are refused`() {
        let example = Example()
        expectFailure(.nonFinite) {
            try KernelRidge(size: example.size, values: 2).fit(example.conditions, .full([12, 2], .nan))
        }
    }
}

@Suite struct RidgeTests {
    private static func features(_ c: Dense, pairs: Bool) -> Dense {
        var values: [Double] = []
        for i in 0..<c.rows {
            values += [1] + row(c, i)
            if pairs {
                for a in 0..<c.columns { for b in (a + 1)..<max(a + 1, c.columns) { values.append(c[i, a] * c[i, b]) } }
            }
        }
        return Dense(c.rows, values.count / c.rows, values)
    }

    @Test("weights are those of a dense solution in double, of the ridge that validates best", arguments: [1, 2])
    func dense(order: Int) throws {
        let (example, validation) = (Example(seed: 1), Example(seed: 2))
        let ridge = Ridge(size: example.size, order: order)
        try ridge.fit(example.data(validation: validation))
        let x = Self.features(Dense(example.conditions), pairs: order == 2)
        let held = Self.features(Dense(validation.conditions), pairs: order == 2)
        var best: (error: Double, weights: Dense)?
        for lambda in [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1] {
            let weights = ridged(x.transposed * x, lambda * 12).solving(x.transposed * Dense(example.values))
            let error = zip((held * weights).values, validation.values.values).reduce(0) {
                $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1))
            }
            if best.map({ error < $0.error }) ?? true { best = (error, weights) }
        }
        let expected = try #require(best?.weights)
        #expect(relativeError(ridge.weights.value.values.map(Double.init), expected.values) < 1e-4)
        #expect(ridge.weights.value.shape == [try Ridge.termCount(example.size, order: order), 2])
    }

    @Test func `without validation the least ridge is taken`() throws {
        let example = Example()
        let ridge = Ridge(size: example.size, order: 1)
        try ridge.fit(example.data())
        let x = Self.features(Dense(example.conditions), pairs: false)
        let expected = ridged(x.transposed * x, 12e-4).solving(x.transposed * Dense(example.values))
        #expect(relativeError(ridge.weights.value.values.map(Double.init), expected.values) < 1e-4)
    }

    @Test func `long conditions are refused with a word on what to use`() {
        expectFailure(.unsupported, "129", "kernel-ridge") {
            _ = try Ridge.termCount(ProblemSize(values: 1, conditions: 129, examples: 1), order: 2)
        }
    }
}

@Suite struct SimpleBaselinesTests {
    @Test func `nearest gives the mean of those that tie`() throws {
        let size = ProblemSize(values: 1, conditions: 2, examples: 4)
        let nearest = NearestMethod(size)
        try nearest.fit(
            TrainingData(
                vectors: Tensor([1, 3, 10, 50], shape: [4, 1]),
                conditions: Tensor([0, 1, 1, 0, 1, 1, 5, 5], shape: [4, 2]), validationConditions: .zeros([0, 2]),
                skill: { _ in nil }, seed: 0))
        #expect(nearest.predict(Tensor([0, 0], shape: [1, 2])).values == [2])
        #expect(nearest.predict(Tensor([0.9, 1], shape: [1, 2])).values == [10])
        #expect(nearest.predict(Tensor([90, 80], shape: [1, 2])).values == [50])
    }

    @Test func `the mean is the mean, whatever is asked for`() throws {
        let example = Example()
        let mean = MeanMethod(example.size)
        try mean.fit(example.data())
        for (j, value) in mean.predict(Tensor([9, 9, 9], shape: [1, 3])).values.enumerated() {
            let expected = (0..<12).reduce(0) { $0 + Double(example.values[$1, j]) } / 12
            #expect(abs(Double(value) - expected) < 1e-6)
        }
    }
}

@Suite struct MLPTests {
    private static func settings(_ changes: String = "{}") throws -> Settings {
        try MethodRegistry.settings(method: "mlp", preset: "default").overridden(by: changes)
    }

    @Test("the weights counted beforehand are those it has", arguments: [(1, 3), (2, 0), (4, 5)])
    func weightCount(layers: Int, conditions: Int) throws {
        let settings = try Self.settings(#"{"layers": \#(layers), "width": 7}"#)
        let size = ProblemSize(values: 11, conditions: conditions, examples: 4)
        #expect(try MLPMethod(settings, size, Random(seed: 1)).parameterCount == MLPMethod.weightCount(settings, size))
    }

    @Test func `it is linear layers with rectifiers between`() throws {
        let size = ProblemSize(values: 4, conditions: 3, examples: 4)
        let mlp = try MLPMethod(try Self.settings(#"{"layers": 2, "width": 5}"#), size, Random(seed: 1))
        let c = Example().conditions
        var h = Dense(c)
        let tensors = mlp.namedTensors()
        for i in 0..<3 {
            let weight = Dense(try #require(tensors.first { $0.name == "layers.\(i).weight" }?.tensor))
            let bias = try #require(tensors.first { $0.name == "layers.\(i).bias" }?.tensor).values
            if i > 0 { h.values = h.values.map { max(0, $0) } }
            h = h * weight.transposed
            for r in 0..<h.rows { for j in 0..<h.columns { h[r, j] += Double(bias[j]) } }
        }
        #expect(relativeError(mlp(c).values.map(Double.init), h.values) < 1e-5)
    }
}

@Suite struct BatchRowsTests {
    @Test(
        "every epoch has every example once, however batches lie across it",
        arguments: [(10, 4), (7, 7), (3, 8), (64, 1)])
    func epochs(count: Int, batch: Int) {
        let rows = (0..<(3 * count)).flatMap { batchRows(step: $0, batch: batch, of: count, seed: 5) }
        #expect(rows.count == 3 * count * batch)
        for epoch in 0..<(rows.count / count) {
            #expect(rows[(epoch * count)..<((epoch + 1) * count)].sorted() == (0..<Int32(count)).map { $0 })
        }
    }

    @Test func `batches are a function of step and seed, and epochs differ`() {
        let all = (0..<8).map { batchRows(step: $0, batch: 32, of: 32, seed: 5) }
        #expect(batchRows(step: 6, batch: 32, of: 32, seed: 5) == all[6])
        #expect(Set(all).count == 8)
        #expect(batchRows(step: 6, batch: 32, of: 32, seed: 6) != all[6])
    }
}
