import Tensor

/// BERT (Devlin et al. 2019): token, position and segment tables, a norm, blocks with norms after the sums. For texts as
/// conditions; 12 layers of 768 features with `.bertBase`.
public final class BERT<E: Element>: Module, Sendable {
    public let tokens: Embedding<E>
    /// [positions, features] and [2, features]
    public let positions: Embedding<E>
    public let segments: Embedding<E>
    public let norm: LayerNorm<E>
    public let transformer: Transformer<E>

    public init(
        _ configuration: TransformerConfiguration = .bertBase, vocabulary: Int = 30522, positions: Int = 512,
        random: inout Random
    ) {
        precondition(!configuration.causal, "an encoder reads in both directions")
        let d = configuration.features
        tokens = Embedding(entries: vocabulary, features: d, deviation: 0.02, random: &random)
        self.positions = Embedding(entries: positions, features: d, deviation: 0.02, random: &random)
        segments = Embedding(entries: 2, features: d, deviation: 0.02, random: &random)
        norm = LayerNorm(features: d, eps: configuration.eps)
        transformer = Transformer(configuration, random: &random)
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("tokens", tokens)
        visitor.child("positions", positions)
        visitor.child("segments", segments)
        visitor.child("norm", norm)
        visitor.child("transformer", transformer)
    }

    /// The last layer [1, T, features] for one text's tokens, all of segment 0, without gradients.
    public func infer(_ index: [Int32], _ project: Projection<E> = { $0($1) }) -> Tensor<E> {
        withoutGradients {
            let rows = tokens(index) + positions(Array(0..<index.count)) + segments([Int](repeating: 0, count: 1))
            return transformer.infer(norm(rows).reshaped([1] + rows.shape), project)
        }
    }
}
