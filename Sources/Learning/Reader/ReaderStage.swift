import NN
import Tensor

/// Trains a reader to say the adapter that is asked for: a perceptron, which is let go of afterwards, makes the normalised
/// vector of what it reads.
final class ReaderStage: TrainingStage {
    private final class Network: Module {
        let reader: ConditionReader
        let hidden: Linear<Float>
        let output: Linear<Float>

        init(_ reader: ConditionReader, hidden: Int, values: Int, _ random: Random) {
            var random = random
            self.reader = reader
            self.hidden = Linear(inputs: reader.width, outputs: hidden, random: &random)
            output = Linear(inputs: hidden, outputs: values, random: &random)
        }

        func visit(_ visitor: ModuleVisitor<Float>) {
            visitor.child("reader", reader)
            visitor.child("hidden", hidden)
            visitor.child("output", output)
        }

        func callAsFunction(_ numbers: Tensor<Float>, random: Random? = nil) -> Tensor<Float> {
            var random = random
            return output(hidden(reader(numbers, random: &random)).gelu())
        }
    }

    let name = "reader"
    let optimisation: Optimisation
    private let network: Network
    private let settings: ReaderSettings
    private let data: TrainingData

    var module: any Module<Float> { network }
    var cost: Double { 6 * Double(settings.batch) * Double(network.parameterCount) }

    /// `data` has standardised numbers for conditions.
    init(_ reader: ConditionReader, _ settings: ReaderSettings, _ data: TrainingData) {
        (self.settings, self.data, optimisation) = (settings, data, settings.optimisation)
        network = Network(
            reader, hidden: settings.hidden, values: data.width,
            Random(seed: data.seed, stream: RandomStreams.weights, position: 1 << 40))
    }

    func prepare() {}

    func loss(step: Int) throws(LoragenError) -> Tensor<Float> {
        let rows = batchRows(step: step, batch: settings.batch, of: data.count, seed: data.seed)
        let random = Random(seed: data.seed, stream: RandomStreams.noise, position: UInt64(step) << 32)
        return mseLoss(network(data.conditions.gather(rows), random: random), try data.batch(rows))
    }

    func validationSkill() throws(LoragenError) -> Double? {
        guard data.validation.conditions.shape[0] > 0 else { return nil }
        return try data.skill(withoutGradients { network(data.validation.conditions) })
    }
}
