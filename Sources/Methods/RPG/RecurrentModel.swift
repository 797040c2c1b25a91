import NN
import Tensor

/// Turns the inputs of a sequence of tokens, `[B, N, width]`, into their prototypes `[B, N, outputWidth]`.
protocol RecurrentModel<Scalar>: Module {
    func callAsFunction(_ x: Tensor<Scalar>) -> Tensor<Scalar>
    /// The same over consecutive runs of tokens, each a multiple of 64 except the last, without gradients; nil for a model
    /// that needs all tokens at once.
    func continuing() -> ((_ x: Tensor<Scalar>) -> Tensor<Scalar>)?
}

extension RecurrentModel {
    func continuing() -> ((_ x: Tensor<Scalar>) -> Tensor<Scalar>)? { nil }
}

extension RPGConfiguration {
    func makeRecurrence<E: Element>(_ random: inout Random) -> any RecurrentModel<E> {
        switch recurrence {
        case .mamba: MambaStack<E>(blocksOfMamba, residual: false, random: &random)
        case .residualMamba: MambaStack<E>(blocksOfMamba, residual: true, random: &random)
        case .lstm: LSTM<E>(features: width, layers: 2, random: &random)
        case .transformer:
            Transformer<E>(
                TransformerConfiguration(layers: 2, features: width, heads: 8, hidden: 2 * width, causal: true),
                random: &random)
        case .perceptron: GatedPerceptron<E>(features: width, blocks: 2, random: &random)
        }
    }
}

/// Mamba-2 blocks one after the other: nothing between them as published, or with norms and residual sums.
final class MambaStack<E: Element>: RecurrentModel {
    let blocks: [Mamba2<E>]
    /// One before each block and one at the end; none in the published model.
    let norms: [LayerNorm<E>]

    init(_ configurations: [Mamba2Configuration], residual: Bool, random: inout Random) {
        blocks = configurations.map { Mamba2($0, random: &random) }
        norms = residual ? (configurations + configurations.suffix(1)).map { LayerNorm(features: $0.features) } : []
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        visitor.children("blocks", blocks)
        visitor.children("norms", norms)
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        guard !norms.isEmpty else { return blocks.reduce(x) { $1($0) } }
        var x = x
        for (block, norm) in zip(blocks, norms) { x = x + block(norm(x)) }
        return norms[blocks.count](x)
    }

    func continuing() -> ((_ x: Tensor<E>) -> Tensor<E>)? {
        var memories = blocks.map { _ in StateSpaceMemory<E>() }
        return { x in
            withoutGradients {
                var x = x
                for (i, block) in self.blocks.enumerated() {
                    let isPlain = self.norms.isEmpty
                    let y = block(isPlain ? x : self.norms[i](x), continuing: &memories[i])
                    x = isPlain ? y : x + y
                }
                return self.norms.last.map { $0(x) } ?? x
            }
        }
    }
}

/// `LN(W3((W1 x) ⊙ sigmoid(W2 x)))`, a few times, for each token on its own.
final class GatedPerceptron<E: Element>: RecurrentModel {
    private let layers: [(value: Linear<E>, gate: Linear<E>, down: Linear<E>, norm: LayerNorm<E>)]

    init(features: Int, blocks: Int, random: inout Random) {
        layers = (0..<blocks).map { _ in
            (
                Linear(inputs: features, outputs: 2 * features, random: &random),
                Linear(inputs: features, outputs: 2 * features, random: &random),
                Linear(inputs: 2 * features, outputs: features, random: &random), LayerNorm(features: features)
            )
        }
    }

    func visit(_ visitor: ModuleVisitor<E>) {
        for (i, layer) in layers.enumerated() {
            visitor.child("\(i).value", layer.value)
            visitor.child("\(i).gate", layer.gate)
            visitor.child("\(i).down", layer.down)
            visitor.child("\(i).norm", layer.norm)
        }
    }

    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        layers.reduce(x) { $1.norm($1.down($1.value($0) * $1.gate($0).sigmoid())) }
    }

    func continuing() -> ((_ x: Tensor<E>) -> Tensor<E>)? { { x in withoutGradients { self(x) } } }
}

extension LSTM: RecurrentModel {}

extension Transformer: RecurrentModel {
    func callAsFunction(_ x: Tensor<E>) -> Tensor<E> { self(x, recomputing: false) }
}
