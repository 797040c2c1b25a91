import Tensor

/// Multi-head attention of a sequence with itself (Vaswani et al. 2017): [B, T, features] to the same. Queries, keys
/// and values come from one weight [3 features, features].
public final class SelfAttention<E: Element>: Module, Sendable {
    public let heads: Int
    public let causal: Bool
    public let packed: Linear<E>
    public let output: Linear<E>

    public init(features: Int, heads: Int, causal: Bool, random: inout Random) {
        precondition(features % heads == 0, "\(features) features for \(heads) heads")
        (self.heads, self.causal) = (heads, causal)
        packed = Linear(inputs: features, outputs: 3 * features, random: &random)
        output = Linear(inputs: features, outputs: features, random: &random)
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("qkv", packed)
        visitor.child("output", output)
    }

    /// With a cache, x [B, n, features] follows what the cache holds; it is appended. Caches are causal.
    public func callAsFunction(
        _ x: Tensor<E>, cache: KeyValueCache<E>? = nil, _ project: Projection<E> = { $0($1) }
    ) -> Tensor<E> {
        precondition(cache == nil || causal, "a cache for attention that is not causal")
        let qkv = project(packed, x)
        return project(output, cache?.attend(qkv) ?? selfAttention(qkv, heads: heads, causal: causal))
    }
}

/// The sizes of a transformer's blocks.
public struct TransformerConfiguration: Sendable, Equatable {
    public var layers: Int
    public var features: Int
    public var heads: Int
    /// Width of the two-layer perceptron.
    public var hidden: Int
    public var causal: Bool
    /// Norm before attention and perceptron (GPT), or after the residual sums (BERT).
    public var normFirst: Bool
    public var activation: Activation
    public var eps: Double

    public init(
        layers: Int, features: Int, heads: Int, hidden: Int? = nil, causal: Bool, normFirst: Bool = true,
        activation: Activation = .gelu, eps: Double = 1e-5
    ) {
        (self.layers, self.features, self.heads) = (layers, features, heads)
        self.hidden = hidden ?? 4 * features
        (self.causal, self.normFirst, self.activation, self.eps) = (causal, normFirst, activation, eps)
    }

    /// 12 layers of 768 features (Devlin et al. 2019).
    public static let bertBase = TransformerConfiguration(
        layers: 12, features: 768, heads: 12, causal: false, normFirst: false, eps: 1e-12)
}

/// x + attention(norm(x)), then x + perceptron(norm(x)); or with the norms after the sums.
public final class TransformerBlock<E: Element>: Module, Sendable {
    public let attention: SelfAttention<E>
    public let up: Linear<E>
    public let down: Linear<E>
    public let attentionNorm: LayerNorm<E>
    public let perceptronNorm: LayerNorm<E>
    private let configuration: TransformerConfiguration

    public init(_ configuration: TransformerConfiguration, random: inout Random) {
        let (d, c) = (configuration.features, configuration)
        self.configuration = configuration
        attention = SelfAttention(features: d, heads: c.heads, causal: c.causal, random: &random)
        up = Linear(inputs: d, outputs: c.hidden, random: &random)
        down = Linear(inputs: c.hidden, outputs: d, random: &random)
        attentionNorm = LayerNorm(features: d, eps: c.eps)
        perceptronNorm = LayerNorm(features: d, eps: c.eps)
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.child("attention", attention)
        visitor.child("up", up)
        visitor.child("down", down)
        visitor.child("norm1", attentionNorm)
        visitor.child("norm2", perceptronNorm)
    }

    public var linears: [Linear<E>] { [attention.packed, attention.output, up, down] }

    public func callAsFunction(
        _ x: Tensor<E>, cache: KeyValueCache<E>? = nil, _ project: Projection<E> = { $0($1) }
    ) -> Tensor<E> {
        func perceptron(_ x: Tensor<E>) -> Tensor<E> { project(down, configuration.activation(project(up, x))) }
        if configuration.normFirst {
            let middle = x + attention(attentionNorm(x), cache: cache, project)
            return middle + perceptron(perceptronNorm(middle))
        }
        let middle = attentionNorm(x + attention(x, cache: cache, project))
        return perceptronNorm(middle + perceptron(middle))
    }
}

/// A stack of blocks; with norms first, a last norm follows.
public final class Transformer<E: Element>: Module, Sendable {
    public let configuration: TransformerConfiguration
    public let blocks: [TransformerBlock<E>]
    public let norm: LayerNorm<E>?

    public init(_ configuration: TransformerConfiguration, random: inout Random) {
        self.configuration = configuration
        blocks = (0..<configuration.layers).map { _ in TransformerBlock(configuration, random: &random) }
        norm = configuration.normFirst ? LayerNorm(features: configuration.features, eps: configuration.eps) : nil
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.children("blocks", blocks)
        visitor.child("norm", norm)
    }

    public var linears: [Linear<E>] { blocks.flatMap { $0.linears } }

    /// [B, T, features] to the same. `recomputing` keeps each block's input alone and runs the block again on the way
    /// back.
    public func callAsFunction(_ x: Tensor<E>, recomputing: Bool = false) -> Tensor<E> {
        var x = x
        for block in blocks { x = recomputing ? recomputed(x) { block($0) } : block(x) }
        return norm?(x) ?? x
    }

    /// Without gradients: through caches if there are any, and with `project` for the linear layers.
    public func infer(
        _ x: Tensor<E>, caches: [KeyValueCache<E>]? = nil, _ project: Projection<E> = { $0($1) }
    ) -> Tensor<E> {
        withoutGradients {
            var x = x
            for (i, block) in blocks.enumerated() { x = block(x, cache: caches?[i], project) }
            return norm?(x) ?? x
        }
    }
}
