import Adapters
import Conditions
import Files
import Formats
import Generators
import Learning
import Methods
import NN
import Tensor

/// Writes a generator with random weights, for measurements of speed and memory: no corpus is needed, and no weights are
/// held. Linear layers are in bf16.
package func writeUntrainedGenerator(
    path: String, layout: Layout, method: String, preset: String, settings text: String? = nil
) throws(LoragenError) {
    var settings = try methods(method).settings(preset: preset)
    if let text { settings = try settings.overridden(by: text) }
    let space = try FactorSpace(factors: .raw, layout: layout, reference: nil)
    let shift = Tensor<Float>.pending([1, layout.valueCount])
    let representation = try Representation(
        space: space, normaliser: Normaliser(kind: .insideTensor, shift: shift, scale: shift))
    let size = ProblemSize(
        values: layout.valueCount, conditions: 0, examples: 1, tensors: representation.space.tensors.map(\.shape))
    let model = try methods(method).plan(settings, size).make(representation, .none)
    var random = Random(seed: 1)
    var writer = SafetensorsWriter()
    func add(_ name: String, _ tensor: Tensor<Float>) throws(LoragenError) { try writer.add(name, tensor) }
    /// Numbers of one shape that are made while they are written.
    func add(_ name: String, _ shape: [Int], _ type: ElementType, mean: Double, deviation: Double) throws(LoragenError)
    {
        let source = random
        random.position &+= UInt64(shape.reduce(1, *)) / 4 + 1
        try writer.add(name, type: type, shape: shape) { (sink) throws(LoragenError) in
            var random = source
            let row = shape.last ?? 1
            var left = shape.reduce(1, *)
            while left > 0 {
                // Whole rows, about a million numbers of them.
                let count = min(left, max(1, (1 << 20) / row) * row)
                let values: Tensor<Float> = random.normal([count / row, row], mean: mean, deviation: deviation)
                let bytes = { (raw: UnsafeRawBufferPointer) in Result { () throws(LoragenError) in try sink(raw) } }
                if type == .bf16 {
                    try HalfMatrix(values).withUnsafeBytes(bytes).get()
                } else {
                    try values.withUnsafeBytes(bytes).get()
                }
                left -= count
            }
        }
    }
    try add("condition.shift", .zeros([0]))
    try add("condition.scale", .zeros([0]))
    try add("training.conditions", .zeros([1, 0]))
    try add("training.sketches", .zeros([1, Sketch.width]))
    try add("normaliser.shift", [1, layout.valueCount], .f32, mean: 0, deviation: 0)
    try add("normaliser.scale", [1, layout.valueCount], .f32, mean: 0.02, deviation: 0)
    let factors = Set(model.module.namedFactors.map(\.name))
    for (name, tensor) in model.module.namedTensors() {
        if name.hasSuffix("A_log") || name.hasSuffix("dt_bias") {
            try add("model." + name, .full(tensor.shape, name.hasSuffix("A_log") ? 0 : -3))
        } else if tensor.rank >= 2 {
            let fanIn = Double(tensor.shape.dropFirst().reduce(1, *))
            try add(
                "model." + name, tensor.shape, factors.contains(name) ? .bf16 : .f32, mean: 0,
                deviation: 1 / fanIn.squareRoot())
        } else {
            try add("model." + name, tensor)
        }
    }
    var digest = SHA256()
    writer.metadata = try GeneratorFile(
        method: method, preset: preset, settings: settings, size: size, conditionKind: .none,
        conditionScale: try ConditionScale(shift: [], scale: []), representation: representation,
        index: TrainingIndex(
            tasks: ["untrained"], conditions: .zeros([1, 0]), sketches: .zeros([1, Sketch.width]), medianDistance: 0),
        report: .object(["verdict": "untrained: random weights"]), seed: 1
    ).metadata(hash: &digest)
    try writer.write(to: path)
}
