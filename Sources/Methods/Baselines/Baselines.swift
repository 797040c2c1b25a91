import Files
import Learning
import NN
import Tensor

// What every generator has to beat. Baselines are methods like any other: trained by the same call, kept in the same
// file, asked by the same generate_lora().

private let productSpace: JSONObject = [
    "space": "product", "factors": "raw", "normaliser": "global", "outputFrame": 8, "inputFrame": 4,
]
private let factorSpace = productSpace.changing(["space": "factors", "normaliser": "per-tensor"])

/// "default" works on the updates, as the report's baselines do; "factors" on the factors as they were trained.
private func presets(_ extra: JSONObject = [:]) -> [(name: String, settings: Settings)] {
    [("default", productSpace), ("factors", factorSpace)].map { ($0, Settings($1.changing(extra))) }
}

/// Features or kernel, moments and their solution, in double.
private func ridgeWorkspace(_ size: ProblemSize, order: Int) -> Double {
    let rows = Double(Ridge.rowCount(size, order: order))
    return 4 * rows * Double(size.examples) + 8 * rows * rows + 6 * rows * Double(size.values)
}

private func entry(
    _ name: String, weightCount: @escaping @Sendable (ProblemSize) -> Int,
    workspace: @escaping @Sendable (ProblemSize) -> Double = { _ in 0 },
    make: @escaping @Sendable (ProblemSize) -> any VectorMethod
) -> MethodEntry {
    MethodEntry(name: name, presets: presets(), isBaseline: true) { _, size throws(LoragenError) in
        Plan(weightCount: weightCount(size), workspace: workspace(size), vectors: { _ in make(size) })
    }
}

public let baselines: [MethodEntry] = [
    entry("mean") {
        $0.values
    } make: {
        MeanMethod($0)
    },
    entry("nearest") {
        $0.examples * ($0.values + $0.conditions)
    } make: {
        NearestMethod($0)
    },
    entry("ridge") {
        Ridge.weightCount($0, order: 1)
    } workspace: {
        ridgeWorkspace($0, order: 1)
    } make: {
        RidgeMethod($0, order: 1)
    },
    entry("ridge-pairs") {
        Ridge.weightCount($0, order: 2)
    } workspace: {
        ridgeWorkspace($0, order: 2)
    } make: {
        RidgeMethod($0, order: 2)
    },
    entry("kernel-ridge") {
        KernelRidge.weightCount($0)
    } workspace: {
        KernelRidge.workspace($0)
    } make: {
        KernelRidgeMethod($0)
    },
    .init(
        name: "mlp",
        presets: presets([
            "width": 256, "layers": 2, "steps": 4000, "batch": 64, "rate": 1e-3, "weightDecay": 1e-2, "patience": 10,
        ]), streams: true, isBaseline: true
    ) { settings, size throws(LoragenError) in
        Plan(try MLPSettings(settings, size)) { MLPMethod($0, $1) }
    },
]

/// A baseline that has a closed form and does not sample.
protocol ClosedForm: VectorMethod {
    func fit(_ data: TrainingData) throws(LoragenError)
    func predict(_ condition: Tensor<Float>) -> Tensor<Float>
}

extension ClosedForm {
    var sampling: Sampling? { nil }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        try fit(data)
        return []
    }

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> { predict(condition) }
}

/// The mean of all training adapters, whatever the condition. Normalised vectors have mean zero, except under constants.
final class MeanMethod: ClosedForm, Module {
    private let mean: ModuleBuffer<Float>
    var module: any Module<Float> { self }

    init(_ size: ProblemSize) { mean = ModuleBuffer(.pending([1, size.values])) }

    func visit(_ visitor: ModuleVisitor<Float>) { visitor.buffer("mean", mean) }
    func fit(_ data: TrainingData) throws(LoragenError) {
        mean.value = try data.vectors.mean(axes: [0], keepDims: true)
    }
    func predict(_ condition: Tensor<Float>) -> Tensor<Float> { mean.value }
}

/// The training adapter with the nearest condition (label bits: by Hamming distance), the mean of those that tie.
final class NearestMethod: ClosedForm, Module {
    private let conditions: ModuleBuffer<Float>
    private let vectors: ModuleBuffer<Float>
    var module: any Module<Float> { self }

    init(_ size: ProblemSize) {
        conditions = ModuleBuffer(.pending([size.examples, size.conditions]))
        vectors = ModuleBuffer(.pending([size.examples, size.values]))
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.buffer("conditions", conditions)
        visitor.buffer("vectors", vectors)
    }

    /// Differences from all conditions, their squares; and if all are as near, all vectors.
    var sampleMemory: Int { 3 * 4 * conditions.value.count + 4 * vectors.value.count }

    func fit(_ data: TrainingData) throws(LoragenError) {
        conditions.value = data.conditions
        vectors.value = try data.vectors
    }

    func predict(_ condition: Tensor<Float>) -> Tensor<Float> {
        let near = nearestConditions(conditions.value, condition)
        return vectors.value.gather(near.map { Int32($0) }).mean(axes: [0], keepDims: true)
    }
}

/// Rows of `conditions [n, C]` that are nearest to one, all that tie.
public func nearestConditions(_ conditions: Tensor<Float>, _ condition: Tensor<Float>) -> [Int] {
    let distances = (conditions - condition).square().sum(axes: [1]).values
    guard let least = distances.min() else { return [] }
    return distances.indices.filter { distances[$0] <= least * 1.0001 + 1e-6 }
}

final class RidgeMethod: ClosedForm {
    private let ridge: Ridge
    var module: any Module<Float> { ridge }

    init(_ size: ProblemSize, order: Int) { ridge = Ridge(size: size, order: order) }

    /// In the dual form all conditions in double, and their squares.
    var sampleMemory: Int { 2 * 8 * (ridge.conditions?.value.count ?? 0) }

    func fit(_ data: TrainingData) throws(LoragenError) { try ridge.fit(data) }
    func predict(_ condition: Tensor<Float>) -> Tensor<Float> { ridge(condition) }
}

final class KernelRidgeMethod: ClosedForm {
    private let ridge: KernelRidge
    var module: any Module<Float> { ridge }

    init(_ size: ProblemSize) { ridge = KernelRidge(size: size, values: size.values) }

    /// The squares of all conditions.
    var sampleMemory: Int { 4 * ridge.conditions.value.count }

    func fit(_ data: TrainingData) throws(LoragenError) {
        try ridge.fit(data.conditions, try data.vectors, tasks: data.tasks)
    }
    func predict(_ condition: Tensor<Float>) -> Tensor<Float> { ridge(condition) }
}
