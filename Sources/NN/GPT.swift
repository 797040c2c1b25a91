import Tensor

/// The sizes of a `GPT`. Defaults: IGPG's author's later prior, 6 layers of 384 features with 6 heads.
public struct GPTConfiguration: Sendable, Equatable {
    public var vocabulary: Int
    /// The longest sequence, prefix included.
    public var positions: Int
    /// The head is the token table.
    public var tied: Bool
    public var transformer: TransformerConfiguration

    public init(
        vocabulary: Int, positions: Int = 512, layers: Int = 6, features: Int = 384, heads: Int = 6,
        tied: Bool = false, activation: Activation = .gelu
    ) {
        (self.vocabulary, self.positions, self.tied) = (vocabulary, positions, tied)
        transformer = TransformerConfiguration(
            layers: layers, features: features, heads: heads, causal: true, activation: activation)
    }
}

/// A decoder as in taming-transformers' minGPT (Esser et al. 2021), IGPG's prior: learned positions over prefix and
/// tokens, blocks with norms first, a last norm, a head without bias. Linear and token weights start normal with
/// deviation 0.02, biases and positions at 0.
public final class GPT<E: Element>: Module, Sendable {
    public let configuration: GPTConfiguration
    public let tokens: Embedding<E>
    /// [positions, features]
    public let positions: Parameter<E>
    public let transformer: Transformer<E>
    /// [vocabulary, features]; nil when tied.
    public let head: Linear<E>?

    public init(_ configuration: GPTConfiguration, random: inout Random) {
        let d = configuration.transformer.features
        self.configuration = configuration
        tokens = Embedding(entries: configuration.vocabulary, features: d, deviation: 0.02, random: &random)
        positions = Parameter(.zeros([configuration.positions, d]))
        transformer = Transformer(configuration.transformer, random: &random)
        head =
            configuration.tied
            ? nil : Linear(inputs: d, outputs: configuration.vocabulary, bias: false, random: &random)
        for layer in transformer.linears + [head].compactMap({ $0 }) {
            layer.weight.value = random.normal(layer.weight.shape, deviation: 0.02)
            if let bias = layer.bias { bias.value = .zeros(bias.shape) }
        }
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("tokens", tokens)
        visitor.parameter("positions", positions)
        visitor.child("transformer", transformer)
        visitor.child("head", head)
    }

    /// Layers that `halfProjection` may copy: all blocks' and the head.
    public var linears: [Linear<E>] { transformer.linears + [head].compactMap { $0 } }

    /// Token rows [B, T, features] of `index` (B sequences one after another), behind `prefix` [B, P, features]; the
    /// positions from `first` on are added.
    public func embedded(
        _ index: [Int32], batch: Int, prefix: Tensor<E>? = nil, from first: Int = 0
    ) -> Tensor<E> {
        let d = configuration.transformer.features
        precondition(batch > 0 && index.count % batch == 0, "\(index.count) tokens in a batch of \(batch)")
        var parts = prefix.map { [$0] } ?? []
        if !index.isEmpty { parts.append(tokens(index).reshaped([batch, index.count / batch, d])) }
        precondition(!parts.isEmpty, "a sequence without tokens and prefix")
        let x = parts.count == 1 ? parts[0] : Tensor.concatenate(parts, axis: 1)
        let last = first + x.shape[1]
        precondition(last <= configuration.positions, "\(last) positions of \(configuration.positions)")
        return x + positions.tensor.slice(axis: 0, first..<last)
    }

    /// The head: [..., features] to [..., vocabulary].
    public func logits(_ hidden: Tensor<E>, _ project: Projection<E> = { $0($1) }) -> Tensor<E> {
        head.map { project($0, hidden) } ?? linear(hidden, weight: tokens.weight.tensor)
    }

    /// Logits [B, P + T, vocabulary] of the token that follows each position.
    public func callAsFunction(_ index: [Int32], batch: Int, prefix: Tensor<E>? = nil) -> Tensor<E> {
        logits(transformer(embedded(index, batch: batch, prefix: prefix)))
    }

    /// The mean cross-entropy of the tokens, each from what stands before it (teacher forcing). The prefix is never
    /// predicted; without one, neither is the first token.
    public func loss(
        _ index: [Int32], batch: Int, prefix: Tensor<E>? = nil, recomputing: Bool = false
    ) -> Tensor<E> {
        let length = index.count / batch
        let skipped = prefix == nil ? 1 : 0
        precondition(length > skipped, "a loss over \(length) tokens")
        var (given, wanted): ([Int32], [Int32]) = ([], [])
        for row in 0..<batch {
            given += index[row * length..<(row + 1) * length - 1]
            wanted += index[row * length + skipped..<(row + 1) * length]
        }
        let hidden = transformer(embedded(given, batch: batch, prefix: prefix), recomputing: recomputing)
        let first = hidden.shape[1] - (length - skipped)
        let predicting = first == 0 ? hidden : hidden.slice(axis: 1, first..<hidden.shape[1])
        return crossEntropy(logits(predicting).reshaped([wanted.count, configuration.vocabulary]), wanted)
    }
}

/// Decoding token by token with cached keys and values. It reads the model's weights as they are at each call; `project`
/// may be `halfProjection(model.linears)`.
public final class GPTDecoder<E: Element> {
    public let model: GPT<E>
    public let batch: Int
    /// Positions so far.
    public private(set) var count = 0
    private let caches: [KeyValueCache<E>]
    private let project: Projection<E>

    public init(_ model: GPT<E>, batch: Int = 1, project: @escaping Projection<E> = { $0($1) }) {
        let c = model.configuration
        (self.model, self.batch, self.project) = (model, batch, project)
        caches = (0..<c.transformer.layers).map { _ in
            KeyValueCache(
                batch: batch, heads: c.transformer.heads, features: c.transformer.features, capacity: c.positions)
        }
    }

    /// Appends a prefix [B, P, features] and tokens (B times n, sequence by sequence); returns the logits
    /// [B, vocabulary] of what follows.
    public func append(_ index: [Int32], prefix: Tensor<E>? = nil) -> Tensor<E> {
        withoutGradients {
            let x = model.embedded(index, batch: batch, prefix: prefix, from: count)
            let n = x.shape[1]
            count += n
            let hidden = model.transformer.infer(x, caches: caches, project)
            let last = n == 1 ? hidden : hidden.slice(axis: 1, n - 1..<n)
            return model.logits(last.reshaped([batch, hidden.shape[2]]), project)
        }
    }

    /// Forgets all positions from `count` on.
    public func truncate(to count: Int) {
        for cache in caches { cache.truncate(to: count) }
        self.count = count
    }
}
