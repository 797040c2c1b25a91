import Conditions
import NN
import Tensor

/// Learned pooling: a small transformer over the tokens of a condition's texts or pictures finds who plays which role, and
/// says for each of a few queries how much every token counts. The features are those means of the encoder's own states, in
/// which what no training task spoke of has its place too. Parts of numbers go by it and stand behind them.
public final class ConditionReader: FeatureReader, Module, Sendable {
    /// Where a part stands among the numbers.
    private struct Slot: Sendable {
        let range: Range<Int>
        let tokens: Int
        let norm: LayerNorm<Float>
        let embed: Linear<Float>
        /// How much a token counts for each query.
        let weights: Linear<Float>

        var states: Int { range.count / tokens }
    }

    private let settings: ReaderSettings
    private let slots: [Slot]
    /// Numbers that are features as they are.
    private let plain: [Range<Int>]
    private let transformer: Transformer<Float>
    public let width: Int

    /// Numbers that a reader of these parts gives.
    public static func width(_ parts: [Schema.Part], _ settings: ReaderSettings) -> Int {
        parts.reduce(0) { width, part in
            width + (part.tokens.map { settings.queries * (part.length / $0.count) } ?? part.length)
        }
    }

    public static func weightCount(_ parts: [Schema.Part], _ settings: ReaderSettings) -> Int {
        let (width, queries) = (settings.width, settings.queries)
        let transformer = settings.layers * (12 * width * width + 13 * width) + 2 * width
        return parts.reduce(transformer) { count, part in
            guard let tokens = part.tokens else { return count }
            let states = part.length / tokens.count
            return count + (states + 1 + queries) * width + 2 * states + queries
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
                    weights: Linear(inputs: settings.width, outputs: settings.queries, random: &random)))
        }
        (self.slots, self.plain) = (slots, plain)
        transformer = Transformer(
            TransformerConfiguration(
                layers: settings.layers, features: settings.width, heads: settings.heads, causal: false),
            random: &random)
        width = Self.width(parts, settings)
    }

    public func visit(_ visitor: ModuleVisitor<Float>) {
        for (i, slot) in slots.enumerated() {
            visitor.child("parts.\(i).norm", slot.norm)
            visitor.child("parts.\(i).embed", slot.embed)
            visitor.child("parts.\(i).weights", slot.weights)
        }
        visitor.child("transformer", transformer)
    }

    public func features(_ numbers: Tensor<Float>) -> Tensor<Float> {
        var none: Random?
        return self(numbers, random: &none)
    }

    /// [n, numbers] to [n, width]; with dropout while it is trained.
    func callAsFunction(_ numbers: Tensor<Float>, random: inout Random?) -> Tensor<Float> {
        let n = numbers.shape[0]
        // Where a token stands, the encoder's states say.
        let tokens = slots.map { slot in
            hidden(numbers.slice(axis: 1, slot.range).reshaped([n, slot.tokens, slot.states]), &random)
        }
        let states = zip(slots, tokens).map { $0.norm($1) }
        var x = Tensor.concatenate(zip(slots, states).map { $0.embed($1) }, axis: 1)
        for block in transformer.blocks {
            // What a block adds is dropped, not what it adds to.
            x = x + dropped(block.attention(block.attentionNorm(x)), &random)
            x = x + dropped(block.down(block.up(block.perceptronNorm(x)).gelu()), &random)
        }
        x = transformer.norm?(x) ?? x
        var (features, start) = ([Tensor<Float>](), 0)
        for (i, slot) in slots.enumerated() {
            let own = x.slice(axis: 1, start..<(start + slot.tokens))
            start += slot.tokens
            let shares = (slot.weights(own).permuted([0, 2, 1]) + absent(tokens[i])).softmax()
            let means = shares.matmul(states[i]).reshaped([n, settings.queries * slot.states])
            features.append(dropped(means, &random))
        }
        return .concatenate(features + plain.map { numbers.slice(axis: 1, $0) }, axis: 1)
    }

    private func dropped(_ x: Tensor<Float>, _ random: inout Random?) -> Tensor<Float> {
        guard settings.dropout > 0, let mask: Tensor<Float> = random?.dropout(x.shape, rate: settings.dropout) else {
            return x
        }
        return x * mask
    }

    /// With some tokens left out while it is trained, so that no single one is relied on.
    private func hidden(_ tokens: Tensor<Float>, _ random: inout Random?) -> Tensor<Float> {
        let shape = [tokens.shape[0], tokens.shape[1], 1]
        guard settings.tokenDropout > 0, var draw = random else { return tokens }
        let draws: Tensor<Float> = draw.uniform(shape)
        random = draw
        return tokens * Tensor(draws.values.map { Double($0) < settings.tokenDropout ? 0 : 1 }, shape: shape)
    }

    /// 0 for tokens that there are, far below for zeros, [n, tokens, states] to [n, 1, tokens].
    private func absent(_ tokens: Tensor<Float>) -> Tensor<Float> {
        let squares = tokens.square().sum(axes: [2])
        return Tensor(squares.values.map { $0 == 0 ? -1e9 : 0 }, shape: [tokens.shape[0], 1, tokens.shape[1]])
    }
}
