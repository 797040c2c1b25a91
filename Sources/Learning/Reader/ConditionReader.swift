import Conditions
import NN
import Tensor

/// A small transformer over the tokens of a condition's texts or pictures, together with tokens of its own, whose last
/// states are the features. Parts of numbers go by it and stand behind them.
public final class ConditionReader: FeatureReader, Module, Sendable {
    /// Where a part stands among the numbers.
    private struct Slot: Sendable {
        let range: Range<Int>
        let tokens: Int
        let norm: LayerNorm<Float>
        let embed: Linear<Float>
        /// [1, tokens, width]
        let positions: Parameter<Float>
    }

    private let settings: ReaderSettings
    private let slots: [Slot]
    /// Numbers that are features as they are.
    private let plain: [Range<Int>]
    /// [1, queries, width]
    private let queries: Parameter<Float>
    private let transformer: Transformer<Float>
    public let width: Int

    /// Numbers that a reader of these parts gives.
    public static func width(_ parts: [Schema.Part], _ settings: ReaderSettings) -> Int {
        settings.queries * settings.width + parts.reduce(0) { $0 + ($1.tokens == nil ? $1.length : 0) }
    }

    public static func weightCount(_ parts: [Schema.Part], _ settings: ReaderSettings) -> Int {
        let width = settings.width
        let own = settings.layers * (12 * width * width + 13 * width) + (settings.queries + 2) * width
        return parts.reduce(own) { count, part in
            guard let tokens = part.tokens else { return count }
            let states = part.length / tokens.count
            return count + (states + 1 + tokens.count) * width + 2 * states
        }
    }

    public init(_ parts: [Schema.Part], _ settings: ReaderSettings, _ random: Random) {
        var random = random
        self.settings = settings
        var (slots, plain, start) = ([Slot](), [Range<Int>](), 0)
        for part in parts {
            let range = start..<(start + part.length)
            start = range.upperBound
            guard let tokens = part.tokens else {
                plain.append(range)
                continue
            }
            let states = part.length / tokens.count
            slots.append(
                Slot(
                    range: range, tokens: tokens.count, norm: LayerNorm(features: states, eps: 1e-5),
                    embed: Linear(inputs: states, outputs: settings.width, random: &random),
                    positions: Parameter(0.02 * random.normal([1, tokens.count, settings.width]))))
        }
        (self.slots, self.plain) = (slots, plain)
        queries = Parameter(0.02 * random.normal([1, settings.queries, settings.width]))
        transformer = Transformer(
            TransformerConfiguration(
                layers: settings.layers, features: settings.width, heads: settings.heads, causal: false),
            random: &random)
        width = Self.width(parts, settings)
    }

    public func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.parameter("queries", queries)
        for (i, slot) in slots.enumerated() {
            visitor.child("parts.\(i).norm", slot.norm)
            visitor.child("parts.\(i).embed", slot.embed)
            visitor.parameter("parts.\(i).positions", slot.positions)
        }
        visitor.child("transformer", transformer)
    }

    public func features(_ numbers: Tensor<Float>) -> Tensor<Float> { self(numbers, random: nil) }

    /// [n, numbers] to [n, width]; with dropout while it is trained.
    func callAsFunction(_ numbers: Tensor<Float>, random: Random?) -> Tensor<Float> {
        var random = random
        func dropped(_ x: Tensor<Float>) -> Tensor<Float> {
            guard settings.dropout > 0, let mask: Tensor<Float> = random?.dropout(x.shape, rate: settings.dropout)
            else { return x }
            return x * mask
        }
        let n = numbers.shape[0]
        var sequence = [queries.value + Tensor<Float>.zeros([n, settings.queries, settings.width])]
        for slot in slots {
            let states = numbers.slice(axis: 1, slot.range).reshaped([n, slot.tokens, slot.range.count / slot.tokens])
            sequence.append(slot.embed(slot.norm(states)) + slot.positions.value)
        }
        var x = Tensor.concatenate(sequence, axis: 1)
        for block in transformer.blocks {
            // What a block adds is dropped, not what it adds to.
            x = x + dropped(block.attention(block.attentionNorm(x)))
            x = x + dropped(block.down(block.up(block.perceptronNorm(x)).gelu()))
        }
        x = x.slice(axis: 1, 0..<settings.queries)
        let read = (transformer.norm?(x) ?? x).reshaped([n, settings.queries * settings.width])
        return plain.isEmpty
            ? read : Tensor.concatenate([read] + plain.map { numbers.slice(axis: 1, $0) }, axis: 1)
    }
}
