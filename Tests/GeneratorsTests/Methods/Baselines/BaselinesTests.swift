import Tensor
import Testing

@testable import Files
@testable import Formats
@testable import Learning
@testable import Methods
@testable import Reports

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
    func data(validation: Example? = nil, tasks: [Int32] = []) -> TrainingData {
        TrainingData(
            vectors: values, conditions: conditions, validationConditions: validation?.conditions ?? .zeros([0, 3]),
            skill: { (predicted) throws(LoragenError) in
                validation.map { 1 - (predicted - $0.values).square().sum().values.reduce(0) { $0 + Double($1) } }
            }, seed: 1, tasks: tasks)
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
            for exponent in [-4.0, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2] {
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

    @Test("where conditions carry nothing the mean is chosen, or something close to it", arguments: 1...12)
    func nothing(seed: Int) throws {
        for width in [1, 2, 6, 40] {
            var random = Random(seed: UInt64(seed))
            let (n, held) = (48, 200)
            let conditions: Tensor<Float> = random.normal([n, width])
            var values: Tensor<Float> = random.normal([n, 60])
            values = values - values.mean(axes: [0], keepDims: true)
            let ridge = KernelRidge(size: ProblemSize(values: 60, conditions: width, examples: n), values: 60)
            try ridge.fit(conditions, values)
            // What is predicted is independent of what is right, so its square is the loss of skill.
            let loss = ridge(random.normal([held, width])).sumOfSquares / Double(held * 60)
            #expect(loss < 0.03, "width \(width): \(loss)")
        }
    }

    @Test func `the mean of a constant is what every condition gets`() throws {
        // One condition for all: nothing tells them apart.
        let values = Tensor<Float>([1, 2, 3, 4, 5, 9], shape: [3, 2])
        let ridge = KernelRidge(size: ProblemSize(values: 2, conditions: 1, examples: 3), values: 2)
        try ridge.fit(.ones([3, 1]), values)
        #expect(
            relativeError(ridge(Tensor([1, -7, 1e18], shape: [3, 1])), Tensor([3, 5, 3, 5, 3, 5], shape: [3, 2])) < 1e-6
        )
    }

    @Test("every example twice is every example once, by its task or by its condition", arguments: [1, 2, 3])
    func copies(seed: UInt64) throws {
        let (example, other) = (Example(seed: seed), Example(seed: seed + 50))
        let once = KernelRidge(size: example.size, values: 2)
        try once.fit(example.conditions, example.values)
        var size = example.size
        size.examples = 24
        func doubled(_ x: Tensor<Float>) -> Tensor<Float> { .concatenate([x, x], axis: 0) }
        let twice = KernelRidge(size: size, values: 2)
        try twice.fit(doubled(example.conditions), doubled(example.values))
        #expect(twice.width.value.item == once.width.value.item)
        #expect(relativeError(twice(other.conditions), once(other.conditions)) < 1e-4)
        // Copies whose conditions were measured anew, a little differently, but of known tasks.
        var random = Random(seed: 9)
        let noise: Tensor<Float> = random.normal([24, 3])
        let tasks = (0..<24).map { Int32($0 % 12) }
        try twice.fit(doubled(example.conditions) + noise * 1e-3, doubled(example.values), tasks: tasks)
        #expect(relativeError(twice(other.conditions), once(other.conditions)) < 0.02)
    }

    @Test("tasks that are left out whole are those of really leaving them out", arguments: [1, 2])
    func leaveTasksOut(seed: UInt64) throws {
        let example = Example(seed: seed)
        let (c, y) = (Dense(example.conditions), Dense(example.values))
        let tasks = (0..<12).map { Int32($0 / 3) }
        let system = try KernelSystem(Tensor(kernel(c, c, 2).values, shape: [12, 12]))
        let target: Tensor<Double> = example.values.converted()
        let blocks = ExampleBlocks(conditions: example.conditions, tasks: tasks)
        #expect(blocks.members == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
        let found = try system.residuals(
            system.coefficients(system.turned(target), lambda: 0.3), lambda: 0.3, blocks: blocks)
        let ofMean = blocks.residualsOfMean(target)
        for block in blocks.members {
            let rest = (0..<12).filter { !block.contains($0) }
            let others = Dense(9, 3, rest.flatMap { row(c, $0) })
            let values = Dense(9, 2, rest.flatMap { row(y, $0) })
            let alpha = ridged(kernel(others, others, 2), 0.3).solving(values)
            for i in block {
                let made = kernel(Dense(1, 3, row(c, i)), others, 2) * alpha
                for j in 0..<2 {
                    #expect(abs(found[i, j] - (y[i, j] - made[0, j])) < 1e-9)
                    let mean = rest.reduce(0) { $0 + y[$1, j] } / 9
                    #expect(abs(ofMean[i, j] - (y[i, j] - mean)) < 1e-12)
                }
            }
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
        for lambda in [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 10, 100, 1000] {
            let weights = ridged(x.transposed * x, lambda * 12).solving(x.transposed * Dense(example.values))
            let error = zip((held * weights).values, validation.values.values).reduce(0) {
                $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1))
            }
            if best.map({ error < $0.error }) ?? true { best = (error, weights) }
        }
        let expected = try #require(best?.weights)
        #expect(relativeError(ridge.weights.value.values.map(Double.init), expected.values) < 1e-4)
        #expect(ridge.weights.value.shape == [Ridge.termCount(example.size, order: order), 2])
    }

    @Test(
        "with more features than examples the dual form gives the same numbers", arguments: [(1, 40), (2, 5), (2, 150)])
    func dual(order: Int, width: Int) throws {
        var random = Random(seed: 8)
        let (n, held) = (14, 6)
        let (c, other): (Tensor<Float>, Tensor<Float>) = (random.normal([n, width]), random.normal([held, width]))
        let map: Tensor<Float> = random.normal([width, 3])
        let (y, wanted) = (c.matmul(map), other.matmul(map))
        let size = ProblemSize(values: 3, conditions: width, examples: n)
        let data = TrainingData(
            vectors: y, conditions: c, validationConditions: other,
            skill: { (predicted) throws(LoragenError) in 1 - (predicted - wanted).sumOfSquares / wanted.sumOfSquares },
            seed: 1)
        let ridge = Ridge(size: size, order: order)
        #expect(ridge.conditions != nil && ridge.weights.value.shape == [n, 3])
        try ridge.fit(data)
        // The primal solution, in double.
        let (x, z) = (Self.features(Dense(c), pairs: order == 2), Self.features(Dense(other), pairs: order == 2))
        #expect(x.columns == Ridge.termCount(size, order: order))
        let mean = y.mean(axes: [0], keepDims: true)
        let rows = Dense(.concatenate([Tensor<Float>](repeating: mean, count: held), axis: 0))
        func error(_ made: Dense) -> Double {
            zip(made.values, wanted.values).reduce(0) { $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1)) }
        }
        var best = (error: error(rows), made: rows)
        for lambda in [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 10, 100, 1000] {
            let weights =
                x.columns > 2000
                ? x.transposed * ridged(x * x.transposed, lambda * Double(n)).solving(Dense(y))
                : ridged(x.transposed * x, lambda * Double(n)).solving(x.transposed * Dense(y))
            let made = z * weights
            if error(made) < best.error { best = (error(made), made) }
        }
        #expect(relativeError(ridge(other).values.map(Double.init), best.made.values) < 1e-4)
    }

    @Test(
        "where conditions carry nothing it gives the mean, or nearly",
        arguments: [(1, 4, true), (2, 60, true), (1, 60, false), (2, 4, false)])
    func nothing(order: Int, width: Int, validates: Bool) throws {
        var random = Random(seed: 3)
        let n = 30
        let (c, other): (Tensor<Float>, Tensor<Float>) = (random.normal([n, width]), random.normal([n, width]))
        let (values, wanted): (Tensor<Float>, Tensor<Float>) = (random.normal([n, 50]), random.normal([n, 50]))
        let y = values - values.mean(axes: [0], keepDims: true)
        let data = TrainingData(
            vectors: y, conditions: c, validationConditions: other,
            skill: { (predicted) throws(LoragenError) in
                validates ? 1 - (predicted - wanted).sumOfSquares / wanted.sumOfSquares : nil
            }, seed: 1)
        let ridge = Ridge(size: ProblemSize(values: 50, conditions: width, examples: n), order: order)
        try ridge.fit(data)
        // What is predicted is independent of what is right, so its square is the loss of skill.
        #expect(ridge(random.normal([100, width])).sumOfSquares / 5000 < 0.02)
    }

    @Test("without validation the ridge is that of the least error on examples left out", arguments: [1, 2])
    func leftOut(order: Int) throws {
        let example = Example()
        let ridge = Ridge(size: example.size, order: order)
        try ridge.fit(example.data())
        let (x, y) = (Self.features(Dense(example.conditions), pairs: order == 2), Dense(example.values))
        var best: (error: Double, weights: Dense)?
        for lambda in [1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 10, 100, 1000] {
            func solved(_ x: Dense, _ y: Dense) -> Dense {
                ridged(x.transposed * x, lambda * 12).solving(x.transposed * y)
            }
            var error = 0.0
            for i in 0..<12 {
                let made = Dense(1, x.columns, row(x, i)) * solved(without(x, i), without(y, i))
                for j in 0..<2 { error += (made[0, j] - y[i, j]) * (made[0, j] - y[i, j]) }
            }
            if best.map({ error < $0.error }) ?? true { best = (error, solved(x, y)) }
        }
        let expected = try #require(best?.weights)
        #expect(relativeError(ridge.weights.value.values.map(Double.init), expected.values) < 1e-4)
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
        try methods("mlp").settings(preset: "default").overridden(by: changes)
    }

    @Test("the weights counted beforehand are those it has", arguments: [(1, 3), (2, 0), (4, 5)])
    func weightCount(layers: Int, conditions: Int) throws {
        let settings = try Self.settings(#"{"layers": \#(layers), "width": 7}"#)
        let size = ProblemSize(values: 11, conditions: conditions, examples: 4)
        let parsed = try MLPSettings(settings, size)
        #expect(MLPMethod(parsed, Random(seed: 1)).parameterCount == parsed.weightCount)
    }

    @Test func `it can become the mean`() throws {
        let example = Example()
        let mlp = MLPMethod(
            try MLPSettings(Self.settings(#"{"layers": 2, "width": 5}"#), example.size), Random(seed: 1))
        var data = example.data()
        data.rows = TensorRows(example.values + 3)
        _ = try mlp.stages(data)
        try mlp.rest()
        for value in mlp(example.conditions).values { #expect(abs(value - 3) < 1e-5) }
    }

    @Test func `it is linear layers with rectifiers between`() throws {
        let size = ProblemSize(values: 4, conditions: 3, examples: 4)
        let mlp = MLPMethod(try MLPSettings(Self.settings(#"{"layers": 2, "width": 5}"#), size), Random(seed: 1))
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
