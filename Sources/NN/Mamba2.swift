import Glibc
import Tensor

/// The sizes of a Mamba-2 block; defaults are those of mamba_ssm's `Mamba2` with one group.
public struct Mamba2Configuration: Sendable, Equatable {
    /// Features of the input; those of the result unless RPG's second block changes the width.
    public var inputs: Int
    public var features: Int
    public var state: Int
    public var taps: Int
    public var expansion: Int
    public var headDim: Int

    public init(
        features: Int, inputs: Int? = nil, state: Int = 128, taps: Int = 4, expansion: Int = 2, headDim: Int = 64
    ) {
        precondition(features * expansion % headDim == 0, "\(features) features, heads of \(headDim)")
        (self.features, self.inputs, self.state) = (features, inputs ?? features, state)
        (self.taps, self.expansion, self.headDim) = (taps, expansion, headDim)
    }

    public var shape: StateSpaceShape {
        StateSpaceShape(heads: features * expansion / headDim, headDim: headDim, state: state, taps: taps)
    }

    /// How many numbers a block with these sizes has.
    public var parameterCount: Int {
        inputs * shape.columns + shape.channels * (taps + 1) + 3 * shape.heads + shape.inner * (1 + features)
    }
}

/// Mamba-2 (Dao & Gu 2024): a linear layer, a causal convolution, the selective scan, a gated RMS norm, a linear layer.
/// [B, T, inputs] to [B, T, features]; position t depends on positions up to t alone. Names as in mamba_ssm.
public final class Mamba2<E: Element>: Module, Sendable {
    public let configuration: Mamba2Configuration
    /// [columns, inputs]: z, x, B, C and dt of each token
    public let input: Linear<E>
    /// [channels, 1, taps] and [channels]
    public let convolution: Parameter<E>
    public let convolutionBias: Parameter<E>
    /// [heads] each
    public let dtBias: Parameter<E>
    public let aLog: Parameter<E>
    public let skip: Parameter<E>
    /// [inner]
    public let gamma: Parameter<E>
    public let output: Linear<E>

    /// A uniform in 1 ... 16; dt log-uniform in 0.001 ... 0.1, at least 1e-4; D and the norm 1.
    public init(_ configuration: Mamba2Configuration, random: inout Random) {
        let shape = configuration.shape
        self.configuration = configuration
        input = Linear(inputs: configuration.inputs, outputs: shape.columns, bias: false, random: &random)
        convolution = Parameter(random.fanInUniform([shape.channels, 1, shape.taps], fanIn: shape.taps))
        convolutionBias = Parameter(random.fanInUniform([shape.channels], fanIn: shape.taps))
        let logs: Tensor<Double> = random.uniform([shape.heads], low: log(0.001), high: log(0.1))
        let steps = logs.values.map { max(exp($0), 1e-4) }
        dtBias = Parameter(Tensor(steps.map { E($0 + log(-expm1(-$0))) }))  // the inverse of softplus
        let rates: Tensor<Double> = random.uniform([shape.heads], low: 1, high: 16)
        aLog = Parameter(Tensor(rates.values.map { E(log($0)) }))
        skip = Parameter(.ones([shape.heads]))
        gamma = Parameter(.ones([shape.inner]))
        output = Linear(inputs: shape.inner, outputs: configuration.features, bias: false, random: &random)
    }

    public func visit(_ visitor: ModuleVisitor<E>) {
        visitor.parameter("dt_bias", dtBias)
        visitor.parameter("A_log", aLog)
        visitor.parameter("D", skip)
        visitor.child("in_proj", input)
        visitor.parameter("conv1d.weight", convolution)
        visitor.parameter("conv1d.bias", convolutionBias)
        visitor.parameter("norm.weight", gamma)
        visitor.child("out_proj", output)
    }

    public func callAsFunction(_ x: Tensor<E>) -> Tensor<E> {
        output(stateSpaceMixer(input(x), mixer, shape: configuration.shape))
    }

    /// The next tokens of sequences, without gradients; their number is a multiple of 64 except in the last run.
    public func callAsFunction(_ x: Tensor<E>, continuing memory: inout StateSpaceMemory<E>) -> Tensor<E> {
        withoutGradients {
            output(stateSpaceMixer(input(x), mixer, shape: configuration.shape, continuing: &memory))
        }
    }

    private var mixer: StateSpaceParameters<E> {
        StateSpaceParameters(
            convolution: convolution.tensor.reshaped([configuration.shape.channels, configuration.shape.taps]),
            convolutionBias: convolutionBias.tensor, dtBias: dtBias.tensor, aLog: aLog.tensor, skip: skip.tensor,
            gamma: gamma.tensor)
    }
}
