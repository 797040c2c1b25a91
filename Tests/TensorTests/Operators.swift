@testable import Tensor

/// Every operator, with the shapes that the general tests try it on. Extents are odd on purpose: they leave a rest
/// after whole vectors of each instruction set.
enum Operator: String, CaseIterable, Sendable {
    case add, subtract, multiply, divide, addBroadcast, multiplyBroadcast, divideBroadcast, scalarForms
    case negate, square, squareRoot, reciprocal, exp, log, abs, clamp, tanh, sigmoid, silu, gelu, geluTanh, relu
    case leakyReLU, elu, softplus, softmax
    case sumAll, sumFirst, sumLast, sumOuter, sumKeep, meanMiddle
    case reshape, permute, transpose, concatenate, slice, split, gather
    case matmul, matmulTA, matmulTB, matmulTT, matmulBatched, matmulShared, matmulSkinny, matmulColumn
    case linear, linearRow, linearDeep
    case conv1d, conv1dStride, conv1dWide, convTranspose1d, convTranspose1dPlain, conv2d
    case layerNorm, layerNormPlain, rmsNorm, instanceNorm, batchNorm, batchNormFlat, batchNormEvaluation
    case mse, weightedMSE, crossEntropy
    case attentionCausal, attentionFull, attentionTiles, selfAttention, mixer

    var shapes: [[Int]] {
        switch self {
        case .add, .subtract, .multiply, .divide: [[3, 37], [3, 37]]
        case .addBroadcast: [[2, 3, 19], [3, 1]]
        case .multiplyBroadcast: [[2, 1, 5], [4, 1]]
        case .divideBroadcast: [[7], [3, 2, 7]]
        case .sumOuter, .sumKeep, .meanMiddle, .permute, .slice, .split: [[3, 5, 7]]
        case .concatenate: [[2, 3, 5], [2, 4, 5]]
        case .gather: [[6, 9]]
        case .matmul: [[17, 13], [13, 11]]
        case .matmulTA: [[13, 17], [13, 11]]
        case .matmulTB: [[17, 13], [11, 13]]
        case .matmulTT: [[13, 17], [11, 13]]
        case .matmulBatched: [[2, 3, 9, 10], [2, 3, 10, 12]]
        case .matmulShared: [[2, 3, 10], [10, 12]]
        case .matmulSkinny: [[3, 41], [41, 35]]
        case .matmulColumn: [[19, 23], [23, 1]]
        case .linear: [[4, 3, 10], [21, 10], [21]]
        case .linearRow: [[1, 70], [21, 70], [21]]
        case .linearDeep: [[20, 10], [21, 10]]
        case .conv1d: [[2, 3, 17], [4, 3, 5], [4]]
        case .conv1dStride: [[2, 3, 23], [4, 3, 5], [4]]
        case .conv1dWide: [[2, 9, 20], [10, 9, 3], [10]]
        case .convTranspose1d: [[2, 3, 7], [3, 4, 5], [4]]
        case .convTranspose1dPlain: [[2, 9, 7], [9, 10, 5], [10]]
        case .conv2d: [[2, 3, 9, 8], [4, 3, 3, 3], [4]]
        case .layerNorm: [[5, 23], [23], [23]]
        case .layerNormPlain: [[5, 23]]
        case .rmsNorm: [[5, 23], [23]]
        case .instanceNorm: [[2, 3, 23]]
        case .batchNorm, .batchNormEvaluation: [[4, 3, 9], [3], [3]]
        case .batchNormFlat: [[7, 5], [5], [5]]
        case .mse: [[3, 11]]
        case .weightedMSE: [[3, 11]]
        case .crossEntropy: [[4, 11]]
        case .attentionCausal: [[2, 7, 6], [2, 7, 6], [2, 7, 6]]
        case .attentionFull: [[2, 5, 34], [2, 9, 34], [2, 9, 34]]
        case .attentionTiles: [[1, 51, 2], [1, 259, 2], [1, 259, 2]]
        case .selfAttention: [[2, 17, 24]]
        // 3 heads of 2 numbers, state 4, 4 taps; 67 tokens reach into a second chunk
        case .mixer: [[1, 67, 23], [14, 4], [14], [3], [3], [3], [6]]
        default: [[3, 37]]
        }
    }

    /// Inputs to operators with a kink or a pole at 0 keep away from it.
    var positive: Bool { [.squareRoot, .log].contains(self) }
    var awayFromZero: Bool {
        [.divide, .divideBroadcast, .scalarForms, .reciprocal, .abs, .relu, .leakyReLU, .elu, .clamp].contains(self)
    }

    func inputs<E: Element>(_ type: E.Type = E.self, seed: UInt64 = 1) -> [Tensor<E>] {
        shapes.enumerated().map { index, shape in
            var random = Random(seed: seed, stream: UInt64(index))
            let drawn: Tensor<Float> = random.normal(shape)
            let values = drawn.values.map { x -> E in
                var value = x
                if positive { value = value.magnitude + 0.3 }
                if awayFromZero, value.magnitude < 0.05 { value = 0.3 }
                if self == .clamp, (value.magnitude - 0.5).magnitude < 0.01 { value = 0.7 }
                return E(value)
            }
            return Tensor(values, shape: shape)
        }
    }

    func callAsFunction<E: Element>(_ x: [Tensor<E>]) -> Tensor<E> { evaluate(self, x) }
}

// Outside the enumeration, whose cases would hide the functions of the same names.
private func evaluate<E: Element>(_ op: Operator, _ x: [Tensor<E>]) -> Tensor<E> {
    switch op {
    case .add, .addBroadcast: x[0] + x[1]
    case .subtract: x[0] - x[1]
    case .multiply, .multiplyBroadcast: x[0] * x[1]
    case .divide, .divideBroadcast: x[0] / x[1]
    case .scalarForms: 2 - (3 * x[0] + 1) / 4 + 1 / x[0]
    case .negate: -x[0]
    case .square: x[0].square()
    case .squareRoot: x[0].squareRoot()
    case .reciprocal: x[0].reciprocal()
    case .exp: x[0].exp()
    case .log: x[0].log()
    case .abs: x[0].abs()
    case .clamp: x[0].clamp(-0.5, 0.5)
    case .tanh: x[0].tanh()
    case .sigmoid: x[0].sigmoid()
    case .silu: x[0].silu()
    case .gelu: x[0].gelu()
    case .geluTanh: x[0].geluTanh()
    case .relu: x[0].relu()
    case .leakyReLU: x[0].leakyReLU(slope: 0.1)
    case .elu: x[0].elu(alpha: 1.5)
    case .softplus: x[0].softplus()
    case .softmax: x[0].softmax()
    case .sumAll: x[0].sum()
    case .sumFirst: x[0].sum(axes: [0])
    case .sumLast: x[0].sum(axes: [-1])
    case .sumOuter: x[0].sum(axes: [0, 2])
    case .sumKeep: x[0].sum(axes: [1], keepDims: true)
    case .meanMiddle: x[0].mean(axes: [1])
    case .reshape: x[0].reshaped([37, -1])
    case .permute: x[0].permuted([2, 0, 1])
    case .transpose: x[0].transposed()
    case .concatenate: Tensor.concatenate(x, axis: 1)
    case .slice: x[0].slice(axis: 1, 1..<4)
    case .split:
        {
            let parts = x[0].split(axis: 2, [2, 4, 1])
            return parts[0].sum() * parts[1] + parts[2]
        }()
    case .gather: x[0].gather([5, 0, 5, 2, 5])
    case .matmul, .matmulBatched, .matmulShared, .matmulSkinny, .matmulColumn: Tensor.matmul(x[0], x[1])
    case .matmulTA: Tensor.matmul(x[0], x[1], transposeA: true)
    case .matmulTB: Tensor.matmul(x[0], x[1], transposeB: true)
    case .matmulTT: Tensor.matmul(x[0], x[1], transposeA: true, transposeB: true)
    case .linear, .linearRow: linear(x[0], weight: x[1], bias: x[2])
    case .linearDeep: linear(x[0], weight: x[1])
    case .conv1d: conv1d(x[0], weight: x[1], bias: x[2], stride: 1, padding: 2)
    case .conv1dStride: conv1d(x[0], weight: x[1], bias: x[2], stride: 3, padding: 1)
    case .conv1dWide: conv1d(x[0], weight: x[1], bias: x[2], stride: 1, padding: 1)
    case .convTranspose1d: convTranspose1d(x[0], weight: x[1], bias: x[2], stride: 3, padding: 2, outputPadding: 1)
    case .convTranspose1dPlain: convTranspose1d(x[0], weight: x[1], bias: x[2], stride: 5)
    case .conv2d: conv2d(x[0], weight: x[1], bias: x[2], stride: 2, padding: 1)
    case .layerNorm: layerNorm(x[0], gamma: x[1], beta: x[2])
    case .layerNormPlain: layerNorm(x[0])
    case .rmsNorm: rmsNorm(x[0], gamma: x[1])
    case .instanceNorm: instanceNorm(x[0])
    case .batchNorm, .batchNormFlat: batchNorm(x[0], gamma: x[1], beta: x[2]).output
    case .batchNormEvaluation:
        batchNorm(
            x[0], mean: Tensor([0.1, 0.2, -0.3]), variance: Tensor([1, 2, 0.5]), gamma: x[1], beta: x[2])
    case .mse: mseLoss(x[0], (x[0].detached() * 0.5 + 1).square())
    case .weightedMSE: mseLoss(x[0], x[0].detached() * 0.5 + 1, weight: Tensor([1, 0, 2], shape: [3, 1]))
    case .crossEntropy: crossEntropy(x[0], [3, 0, 10, 7])
    case .attentionCausal: attention(x[0], x[1], x[2], heads: 2, causal: true)
    case .attentionFull: attention(x[0], x[1], x[2], heads: 2, causal: false)
    case .attentionTiles: attention(x[0], x[1], x[2], heads: 1, causal: false, scale: 1.5)
    case .selfAttention: selfAttention(x[0], heads: 2, causal: true)
    case .mixer:
        stateSpaceMixer(
            x[0],
            StateSpaceParameters(
                convolution: x[1], convolutionBias: x[2], dtBias: x[3], aLog: x[4], skip: x[5], gamma: x[6]),
            shape: StateSpaceShape(heads: 3, headDim: 2, state: 4, taps: 4))
    }
}

/// Value and gradients of sum(op(x) * weights), for fixed weights.
func valueAndGradients<E: Element>(_ op: Operator, _ inputs: [Tensor<E>]) -> (Tensor<E>, [Tensor<E>]) {
    let leaves = inputs.map { $0.requiringGradient() }
    let value = op(leaves)
    var random = Random(seed: 77)
    let weights: Tensor<Float> = random.normal(value.shape)
    (value * weights.converted()).sum().backward()
    return (value.detached(), leaves.map { $0.gradient ?? .zeros($0.shape) })
}

/// |a - b| / |b| in the Euclidean norm, in double.
func relativeError<A: Element, B: Element>(_ a: Tensor<A>, _ b: Tensor<B>) -> Double {
    precondition(a.shape == b.shape, "\(a.shape) and \(b.shape)")
    var (difference, reference) = (0.0, 0.0)
    for (x, y) in zip(a.values, b.values) {
        difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
        reference += Double(y) * Double(y)
    }
    return (difference / max(reference, 1e-300)).squareRoot()
}
