import Tensor

/// Layers of long short-term memory (Hochreiter & Schmidhuber 1997), names and gate order (i, f, g, o) as in PyTorch:
/// [B, T, features] to the same. Everything starts uniform in ±1/sqrt(features).
public final class LSTM<E: Element>: Module, Sendable {
    private struct Layer: Sendable {
        let input: Parameter<E>
        let recurrent: Parameter<E>
        let inputBias: Parameter<E>
        let recurrentBias: Parameter<E>
    }

    private let layers: [Layer]

    public init(features d: Int, layers: Int, random: inout Random) {
        self.layers = (0..<layers).map { _ in
            Layer(
                input: Parameter(random.fanInUniform([4 * d, d], fanIn: d)),
                recurrent: Parameter(random.fanInUniform([4 * d, d], fanIn: d)),
                inputBias: Parameter(random.fanInUniform([4 * d], fanIn: d)),
                recurrentBias: Parameter(random.fanInUniform([4 * d], fanIn: d)))
        }
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        for (i, layer) in layers.enumerated() {
            visitor.parameter("weight_ih_l\(i)", layer.input)
            visitor.parameter("weight_hh_l\(i)", layer.recurrent)
            visitor.parameter("bias_ih_l\(i)", layer.inputBias)
            visitor.parameter("bias_hh_l\(i)", layer.recurrentBias)
        }
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        precondition(x.rank == 3, "LSTM of \(x.shape)")
        let (batch, tokens, d) = (x.shape[0], x.shape[1], x.shape[2])
        var x = x
        for layer in layers {
            let gates = linear(
                x, weight: layer.input.tensor, bias: layer.inputBias.tensor + layer.recurrentBias.tensor)
            var (h, c) = (Tensor<E>.zeros([batch, d]), Tensor<E>.zeros([batch, d]))
            var outputs: [Tensor<E>] = []
            for t in 0..<tokens {
                let sum =
                    gates.slice(axis: 1, t..<t + 1).reshaped([batch, 4 * d])
                    + linear(h, weight: layer.recurrent.tensor)
                let parts = sum.split(axis: 1, [d, d, d, d])
                c = parts[1].sigmoid() * c + parts[0].sigmoid() * parts[2].tanh()
                h = parts[3].sigmoid() * c.tanh()
                outputs.append(h.reshaped([batch, 1, d]))
            }
            x = .concatenate(outputs, axis: 1)
        }
        return x
    }
}
