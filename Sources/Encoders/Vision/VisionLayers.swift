import Tensor

/// y = x weightᵀ + bias; weight [outputs, inputs].
struct VisionLinear: Sendable {
    let weight: Tensor<Float>
    let bias: Tensor<Float>?

    /// `bias` true: there has to be one; nil: if there is one.
    init(_ weights: VisionWeights, _ name: String, _ inputs: Int, _ outputs: Int, bias: Bool? = true)
        throws(LoragenError)
    {
        weight = try weights.require(name + ".weight", [outputs, inputs])
        switch bias {
        case true: self.bias = try weights.require(name + ".bias", [outputs])
        case false: self.bias = nil
        default: self.bias = try weights.find(name + ".bias", [outputs])
        }
    }

    init(weight: Tensor<Float>, bias: Tensor<Float>?) { (self.weight, self.bias) = (weight, bias) }

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { linear(x, weight: weight, bias: bias) }
}

struct VisionNorm: Sendable {
    let gamma: Tensor<Float>
    let beta: Tensor<Float>
    let eps: Double

    init(_ weights: VisionWeights, _ name: String, _ features: Int, eps: Double) throws(LoragenError) {
        gamma = try weights.require(name + ".weight", [features])
        beta = try weights.require(name + ".bias", [features])
        self.eps = eps
    }

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> { layerNorm(x, gamma: gamma, beta: beta, eps: eps) }
}

/// x + scale1 attention(norm1(x)), then x + scale2 perceptron(norm2(x)); scales are DINOv2's alone.
struct VisionBlock: Sendable {
    private let heads: Int
    private let norm1: VisionNorm
    private let norm2: VisionNorm
    /// Queries, keys and values side by side: weight [3 features, features].
    private let packed: VisionLinear
    private let output: VisionLinear
    private let up: VisionLinear
    private let down: VisionLinear
    private let activation: VisionActivation
    private let isGated: Bool
    private let scale1: Tensor<Float>?
    private let scale2: Tensor<Float>?

    init(_ c: VisionConfiguration, _ weights: VisionWeights, layer: Int) throws(LoragenError) {
        let names = Names(c.family, layer, gated: c.isGated)
        let d = c.features
        (heads, activation, isGated) = (c.heads, c.activation, c.isGated)
        norm1 = try VisionNorm(weights, names.norm1, d, eps: c.eps)
        norm2 = try VisionNorm(weights, names.norm2, d, eps: c.eps)
        var parts: [VisionLinear] = []
        for name in names.attention { parts.append(try VisionLinear(weights, name, d, d, bias: nil)) }
        try Memory.require(3 * d * d, of: Float.self, for: "a layer of the vision tower")
        let biases = parts.contains { $0.bias != nil }
        packed = VisionLinear(
            weight: .concatenate(parts.map { $0.weight }, axis: 0),
            bias: biases ? .concatenate(parts.map { $0.bias ?? .zeros([d]) }, axis: 0) : nil)
        output = try VisionLinear(weights, names.output, d, d)
        up = try VisionLinear(weights, names.up, d, c.isGated ? 2 * c.hidden : c.hidden)
        down = try VisionLinear(weights, names.down, c.hidden, d)
        let scaled = c.family == .dinov2
        scale1 = scaled ? try weights.require(names.layer + "layer_scale1.lambda1", [d]) : nil
        scale2 = scaled ? try weights.require(names.layer + "layer_scale2.lambda1", [d]) : nil
    }

    func callAsFunction(_ x: Tensor<Float>) -> Tensor<Float> {
        let attended = output(selfAttention(packed(norm1(x)), heads: heads, causal: false))
        let middle = x + (scale1.map { attended * $0 } ?? attended)
        let made = perceptron(norm2(middle))
        return middle + (scale2.map { made * $0 } ?? made)
    }

    private func perceptron(_ x: Tensor<Float>) -> Tensor<Float> {
        let wide = up(x)
        guard isGated else { return down(activation(wide)) }
        let halves = wide.split(axis: 2, [wide.shape[2] / 2, wide.shape[2] / 2])
        return down(halves[0].silu() * halves[1])
    }

    /// What the parts of a layer are called in files.
    private struct Names {
        let layer: String
        let norm1, norm2, output, up, down: String
        let attention: [String]

        init(_ family: VisionConfiguration.Family, _ index: Int, gated: Bool) {
            switch family {
            case .vit, .dinov2:
                layer = "encoder.layer.\(index)."
                attention = ["query", "key", "value"].map { [layer] in layer + "attention.attention." + $0 }
                output = layer + "attention.output.dense"
            case .clip, .siglip:
                layer = "encoder.layers.\(index)."
                attention = ["q_proj", "k_proj", "v_proj"].map { [layer] in layer + "self_attn." + $0 }
                output = layer + "self_attn.out_proj"
            }
            switch family {
            case .vit:
                (norm1, norm2) = (layer + "layernorm_before", layer + "layernorm_after")
                (up, down) = (layer + "intermediate.dense", layer + "output.dense")
            case .dinov2:
                (norm1, norm2) = (layer + "norm1", layer + "norm2")
                (up, down) = (
                    layer + (gated ? "mlp.weights_in" : "mlp.fc1"), layer + (gated ? "mlp.weights_out" : "mlp.fc2")
                )
            case .clip, .siglip:
                (norm1, norm2) = (layer + "layer_norm1", layer + "layer_norm2")
                (up, down) = (layer + "mlp.fc1", layer + "mlp.fc2")
            }
        }
    }
}

/// SigLIP's pooling: a learned query attends to all patches, then x + perceptron(norm(x)).
struct VisionPoolingHead: Sendable {
    /// [1, 1, features], through its projection already.
    private let query: Tensor<Float>
    private let keys: VisionLinear
    private let values: VisionLinear
    private let output: VisionLinear
    private let norm: VisionNorm
    private let up: VisionLinear
    private let down: VisionLinear
    private let activation: VisionActivation
    private let heads: Int

    init(_ c: VisionConfiguration, _ weights: VisionWeights) throws(LoragenError) {
        let d = c.features
        (heads, activation) = (c.heads, c.activation)
        let probe = try weights.require("head.probe", [1, 1, d])
        try Memory.require(3 * d * d, of: Float.self, for: "the head of the vision tower")
        let weight = try weights.require("head.attention.in_proj_weight", [3 * d, d]).split(axis: 0, [d, d, d])
        let bias = try weights.require("head.attention.in_proj_bias", [3 * d]).split(axis: 0, [d, d, d])
        query = linear(probe, weight: weight[0], bias: bias[0])
        keys = VisionLinear(weight: weight[1], bias: bias[1])
        values = VisionLinear(weight: weight[2], bias: bias[2])
        output = try VisionLinear(weights, "head.attention.out_proj", d, d)
        norm = try VisionNorm(weights, "head.layernorm", d, eps: c.eps)
        up = try VisionLinear(weights, "head.mlp.fc1", d, c.hidden)
        down = try VisionLinear(weights, "head.mlp.fc2", c.hidden, d)
    }

    /// [1, T, features] to [1, 1, features].
    func callAsFunction(_ states: Tensor<Float>) -> Tensor<Float> {
        let pooled = output(attention(query, keys(states), values(states), heads: heads, causal: false))
        return pooled + down(activation(up(norm(pooled))))
    }
}
