import Files
import Tensor

/// A vision transformer without gradients: patches of a picture to states and a pooled vector.
struct VisionTower: Sendable {
    let configuration: VisionConfiguration
    /// How the pooled vector is made: "pooler" (ViT's dense layer over the class token), "cls", "projection" (CLIP's, into the
    /// space that it shares with texts), "attention" (SigLIP's head) or "mean".
    let pooling: String
    /// Width of the pooled vector.
    let pooledFeatures: Int

    /// Weight [features, 3 patch patch].
    private let embedding: VisionLinear
    private let classToken: Tensor<Float>?
    /// [1 + grid², features], or [grid², features] without a class token.
    private let positions: Tensor<Float>
    private let firstNorm: VisionNorm?
    private let blocks: [VisionBlock]
    private let lastNorm: VisionNorm
    private let dense: VisionLinear?
    private let head: VisionPoolingHead?

    init(_ c: VisionConfiguration, _ weights: VisionWeights) throws(LoragenError) {
        configuration = c
        let (d, area) = (c.features, 3 * c.patch * c.patch)
        let base = c.family == .vit || c.family == .dinov2
        let name = base ? "embeddings.patch_embeddings.projection" : "embeddings.patch_embedding"
        try weights.findPrefix(of: name + ".weight")
        embedding = VisionLinear(
            weight: try weights.require(name + ".weight", [d, 3, c.patch, c.patch]).reshaped([d, area]),
            bias: c.family == .clip ? nil : try weights.require(name + ".bias", [d]))
        let places = c.grid * c.grid + (c.hasClassToken ? 1 : 0)
        switch c.family {
        case .vit, .dinov2:
            classToken = try weights.require("embeddings.cls_token", [1, 1, d]).reshaped([1, d])
            positions = try weights.require("embeddings.position_embeddings", [1, places, d]).reshaped([places, d])
        case .clip:
            classToken = try weights.require("embeddings.class_embedding", [d]).reshaped([1, d])
            positions = try weights.require("embeddings.position_embedding.weight", [places, d])
        case .siglip:
            classToken = nil
            positions = try weights.require("embeddings.position_embedding.weight", [places, d])
        }
        firstNorm = c.family == .clip ? try VisionNorm(weights, "pre_layrnorm", d, eps: c.eps) : nil
        var blocks: [VisionBlock] = []
        for layer in 0..<c.layers { blocks.append(try VisionBlock(c, weights, layer: layer)) }
        self.blocks = blocks
        lastNorm = try VisionNorm(weights, base ? "layernorm" : "post_layernorm", d, eps: c.eps)
        (dense, head, pooling, pooledFeatures) = try Self.end(c, weights)
    }

    private static func end(
        _ c: VisionConfiguration, _ weights: VisionWeights
    ) throws(LoragenError) -> (VisionLinear?, VisionPoolingHead?, String, Int) {
        let d = c.features
        switch c.family {
        case .vit:
            guard let weight = try weights.find("pooler.dense.weight", [d, d]) else { return (nil, nil, "cls", d) }
            let dense = VisionLinear(weight: weight, bias: try weights.require("pooler.dense.bias", [d]))
            return (dense, nil, "pooler", d)
        case .dinov2: return (nil, nil, "cls", d)
        case .clip:
            guard let outputs = weights.rows(of: "visual_projection.weight"),
                let weight = try weights.find("visual_projection.weight", [outputs, d], anywhere: true)
            else { return (nil, nil, "cls", d) }
            return (VisionLinear(weight: weight, bias: nil), nil, "projection", outputs)
        case .siglip:
            return c.hasHead ? (nil, try VisionPoolingHead(c, weights), "attention", d) : (nil, nil, "mean", d)
        }
    }

    /// Attention takes time by their square.
    static let patchLimit = 8192

    /// Throws unless pictures of that size can be taken.
    func check(height: Int, width: Int, source: String) throws(LoragenError) {
        let c = configuration
        guard (height / c.patch) * (width / c.patch) <= Self.patchLimit else {
            throw LoragenError(
                .unsupported,
                "\(source): pictures of \(width) x \(height) have more than \(Self.patchLimit) patches of \(c.patch) x \(c.patch)"
            )
        }
        if c.interpolatesPositions, height >= c.patch, width >= c.patch { return }
        guard height == c.imageSize, width == c.imageSize else {
            throw LoragenError(
                .unsupported,
                "\(source): it makes pictures of \(width) x \(height), the tower takes \(c.imageSize) x \(c.imageSize)"
                    + (c.interpolatesPositions ? " and larger" : ""))
        }
    }

    /// Bytes that a picture of that size takes on its way.
    func memory(height: Int, width: Int) -> Double {
        let c = configuration
        let tokens = Double(height / c.patch) * Double(width / c.patch) + 1
        return 4 * tokens
            * (12 * Double(c.features) + 3 * Double(c.hidden) * (c.isGated ? 2 : 1) + 6 * Double(c.patch * c.patch))
    }

    /// States [1, T, features] and the pooled vector [pooledFeatures] of pixels [3, height, width]. `layer` counts as
    /// `hidden_states` of transformers does: 0 is what goes into the first block, `layers` what comes out of the last,
    /// before the last norm; nil is transformers' `last_hidden_state`.
    func callAsFunction(_ pixels: Tensor<Float>, layer: Int?) -> (states: Tensor<Float>, pooled: Tensor<Float>) {
        withoutGradients {
            var x = embedded(pixels)
            if let firstNorm { x = firstNorm(x) }
            var chosen = layer == 0 ? x : nil
            for (i, block) in blocks.enumerated() {
                x = block(x)
                if layer == i + 1 { chosen = x }
            }
            // CLIP's last states are before its norm, which is for the class token alone.
            let last = configuration.family == .clip ? x : lastNorm(x)
            return (chosen ?? last, pooled(last))
        }
    }

    private func pooled(_ last: Tensor<Float>) -> Tensor<Float> {
        let d = configuration.features
        func first() -> Tensor<Float> { last.slice(axis: 1, 0..<1).reshaped([1, d]) }
        let result: Tensor<Float>
        switch configuration.family {
        case .vit: result = dense.map { $0(first()).tanh() } ?? first()
        case .dinov2: result = first()
        case .clip: result = dense.map { $0(lastNorm(first())) } ?? lastNorm(first())
        case .siglip: result = head.map { $0(last) } ?? last.mean(axes: [1])
        }
        return result.reshaped([pooledFeatures])
    }

    /// Patches through their linear layer, behind the class token, with positions: [1, T, features].
    private func embedded(_ pixels: Tensor<Float>) -> Tensor<Float> {
        let patch = configuration.patch
        let (rows, columns) = (pixels.shape[1] / patch, pixels.shape[2] / patch)
        // [3, rows, patch, columns, patch] to [rows, columns, 3, patch, patch]; what is less than a patch is left out.
        let whole = pixels.slice(axis: 1, 0..<rows * patch).slice(axis: 2, 0..<columns * patch)
        let patches = whole.reshaped([3, rows, patch, columns, patch]).permuted([1, 3, 0, 2, 4])
        var x = embedding(patches.reshaped([rows * columns, 3 * patch * patch]))
        if let classToken { x = .concatenate([classToken, x], axis: 0) }
        x = x + placed(rows, columns)
        return x.reshaped([1] + x.shape)
    }

    /// The positions for a grid of patches.
    private func placed(_ rows: Int, _ columns: Int) -> Tensor<Float> {
        let c = configuration
        if rows == c.grid, columns == c.grid { return positions }
        let start = c.hasClassToken ? 1 : 0
        let table = positions.slice(axis: 0, start..<positions.shape[0])
        let fitted = interpolated(table, from: c.grid, rows: rows, columns: columns)
        return start == 0 ? fitted : .concatenate([positions.slice(axis: 0, 0..<1), fitted], axis: 0)
    }
}

/// A square table [from², features] as one for rows x columns: bicubic with a = -0.75, pixel centres at halves, the edge
/// repeated, as `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.
func interpolated(_ table: Tensor<Float>, from grid: Int, rows: Int, columns: Int) -> Tensor<Float> {
    /// [places, grid]: each place's weights of the table's lines.
    func weights(_ places: Int) -> Tensor<Float> {
        var values = [Float](repeating: 0, count: places * grid)
        let scale = Float(grid) / Float(places)
        for place in 0..<places {
            let real = scale * (Float(place) + 0.5) - 0.5
            let t = real - real.rounded(.down)
            let first = Int(saturating: Double(real.rounded(.down)))
            let a: Float = -0.75
            func near(_ x: Float) -> Float { ((a + 2) * x - (a + 3)) * x * x + 1 }
            func far(_ x: Float) -> Float { ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
            for (i, weight) in [far(t + 1), near(t), near(1 - t), far(2 - t)].enumerated() {
                values[place * grid + min(max(first - 1 + i, 0), grid - 1)] += weight
            }
        }
        return Tensor(values, shape: [places, grid])
    }
    let d = table.shape[1]
    let across = Tensor.matmul(
        .stack([Tensor<Float>](repeating: weights(columns), count: grid)), table.reshaped([grid, grid, d]))
    let down = Tensor.matmul(weights(rows), across.reshaped([grid, columns * d]))
    return down.reshaped([rows * columns, d])
}
