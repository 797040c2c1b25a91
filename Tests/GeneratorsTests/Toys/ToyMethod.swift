import NN
import Tensor

@testable import Learning
@testable import Methods

/// The mean of the training adapters of the same condition, or of all: the smallest method that looks at its condition.
final class ToyMethod: VectorMethod, Module {
    static let entry = MethodEntry(
        name: "toy",
        presets: [
            ("default", Settings(["space": "factors", "factors": "raw", "normaliser": "global"]))
        ]
    ) { _, size throws(LoragenError) in
        Plan(
            weightCount: size.examples * (size.values + size.conditions), workspace: 0,
            vectors: { _ in ToyMethod(size) })
    }

    private let conditions: ModuleBuffer<Float>
    private let vectors: ModuleBuffer<Float>
    var module: any Module<Float> { self }
    var sampling: Sampling? { nil }

    init(_ size: ProblemSize) {
        conditions = ModuleBuffer(.pending([size.examples, size.conditions]))
        vectors = ModuleBuffer(.pending([size.examples, size.values]))
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.buffer("conditions", conditions)
        visitor.buffer("vectors", vectors)
    }

    func stages(_ data: TrainingData) throws(LoragenError) -> [any TrainingStage] {
        (conditions.value, vectors.value) = (data.conditions, try data.vectors)
        return []
    }

    func vector(
        condition: Tensor<Float>, random: Random, sampling: Sampling?, progress: (Int, Int) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Tensor<Float> {
        let distances = (conditions.value - condition).square().sum(axes: [1]).values
        let same = distances.indices.filter { distances[$0] < 1e-6 }
        let rows = (same.isEmpty ? Array(distances.indices) : same).map { Int32($0) }
        return vectors.value.gather(rows).mean(axes: [0], keepDims: true)
    }
}
