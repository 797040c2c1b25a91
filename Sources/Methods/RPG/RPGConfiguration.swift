import Files
import Learning
import NN
import Tensor

/// The sizes of RPG's networks.
struct RPGConfiguration: Equatable, Sendable {
    enum Recurrence: String, CaseIterable, Sendable {
        /// Two Mamba-2 blocks, one after the other and nothing between them: the published model.
        case mamba
        /// The same with a norm before each block and its input added to its result.
        case residualMamba = "residual-mamba"
        case lstm, transformer
        /// Two gated perceptrons for each token on its own: the ablation without recurrence.
        case perceptron
    }

    enum Denoiser: String, CaseIterable, Sendable {
        /// 1-D convolutions along the token, as published.
        case convolution
        /// A residual perceptron of the whole token; the prototype's own estimate is added to its result.
        case perceptron
        /// None: a linear layer turns the prototype into the token.
        case none
    }

    /// Numbers in a token, k.
    var tokenSize = 8192
    /// Features of the first and of the second recurrent block.
    var width = 8192
    var outputWidth = 8192
    var stateSize = 128
    var headDim = 64
    var recurrence = Recurrence.mamba
    /// Entries of the permutation state's table; 0 for none.
    var states = 0
    /// Numbers in a condition; 0 for none.
    var conditions = 0
    var conditionWidth = 1024
    /// Only the last tokens see the condition, this many; 0 for all.
    var conditionTokens = 0
    /// Tokens of the learned position table; 0 for none.
    var learnedPositions = 0
    var denoiser = Denoiser.convolution
    /// Between the first and the last convolution, which have one channel outside.
    var channels = [32, 64, 128, 64, 32]
    var kernel = 7
    /// Of the perceptron.
    var denoiserWidth = 256
    var blocks = 2
    var dropout = 0.0

    static let timeFeatures = 256

    /// The Mamba-2 blocks.
    var blocksOfMamba: [Mamba2Configuration] {
        [
            Mamba2Configuration(features: width, state: stateSize, headDim: headDim),
            Mamba2Configuration(features: outputWidth, inputs: width, state: stateSize, headDim: headDim),
        ]
    }

    /// Throws `.invalidArgument` for sizes that make no network.
    func check() throws(LoragenError) {
        func require(_ condition: Bool, _ message: String) throws(LoragenError) {
            if !condition { throw LoragenError(.invalidArgument, message) }
        }
        try require(width % 4 == 0, "width is \(width); the positions need a multiple of 4")
        switch recurrence {
        case .mamba, .residualMamba:
            for width in [width, outputWidth] {
                try require(
                    2 * width % headDim == 0, "width is \(width); heads of \(headDim) need 2 · width to be a multiple")
            }
        case .transformer: try require(width % 8 == 0, "width is \(width); 8 heads need a multiple of 8")
        case .lstm, .perceptron: break
        }
        try require(
            outputWidth == width || recurrence == .mamba,
            "outputWidth is \(outputWidth) and width \(width); only \"mamba\" changes the width")
        try NetworkLimits.check(channels: channels, name: "channels")
        try NetworkLimits.check(oddKernel: kernel)
        try require(
            denoiser != .convolution || tokenSize >= kernel,
            "tokenSize is \(tokenSize), less than the kernel's \(kernel)")
    }

    /// Parameters of all networks, counted from sizes alone.
    var parameterCount: Int { recurrentCount + inputCount + denoiserCount }

    var recurrentCount: Int {
        switch recurrence {
        case .mamba: blocksOfMamba.reduce(0) { $0 + $1.parameterCount }
        case .residualMamba: blocksOfMamba.reduce(0) { $0 + $1.parameterCount } + 3 * 2 * width
        case .lstm: 2 * 4 * width * (2 * width + 2)
        case .transformer: 2 * (8 * width * width + 11 * width) + 2 * width
        case .perceptron:
            2 * (2 * ParameterCount.linear(width, 2 * width) + ParameterCount.linear(2 * width, width) + 2 * width)
        }
    }

    /// Condition, state and learned positions.
    private var inputCount: Int {
        let condition =
            conditions > 0
            ? ParameterCount.linear(conditions, conditionWidth) + ParameterCount.linear(conditionWidth, width) : width
        return condition + (states + learnedPositions) * width
    }

    private var denoiserCount: Int {
        let readout = ParameterCount.linear(outputWidth, tokenSize)
        switch denoiser {
        case .none: return readout
        case .convolution:
            let sizes = [1] + channels + [1]
            let layers = zip(sizes, sizes.dropFirst()).map { ParameterCount.convolution($0, $1, kernel: kernel) }
            let time = ParameterCount.linear(Self.timeFeatures, tokenSize) + ParameterCount.linear(tokenSize, tokenSize)
            return readout + time + layers.reduce(0, +) + channels.reduce(0) { $0 + ParameterCount.batchNorm($1) }
        case .perceptron:
            return readout
                + ResidualDenoiser<Float>.parameterCount(
                    latentCount: tokenSize, conditionCount: outputWidth, width: denoiserWidth, blocks: blocks)
        }
    }
}
