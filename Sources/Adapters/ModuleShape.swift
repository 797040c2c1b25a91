import Files
import Tensor

/// What kind of layer an adapter's module changes. With `P = scale · B · A` of the factors as matrices, `A [rank, columns]`
/// and `B [outputs, rank]`:
public enum ModuleKind: String, Sendable {
    /// `weight [out, in] += P`
    case linear
    /// GPT-2's Conv1D and other layers that keep their weight transposed (PEFT's fan_in_fan_out): `weight [in, out] += Pᵀ`
    case transposedLinear = "transposed-linear"
    /// A table of `inputs` entries: `weight [inputs, outputs] += Pᵀ`
    case embedding
    /// In one to three dimensions, as its kernel has: `weight [out, in, kernel...] += P`, in each of its groups.
    case convolution
}

/// How alpha becomes the factor before `B · A`.
public enum ModuleScaling: String, Sendable {
    /// alpha / r, as in the LoRA paper.
    case standard
    /// alpha / √r, "rank-stabilised".
    case rankStabilised = "rslora"
}

/// One adapted module: the shapes of its factors, and what they mean to the base model.
public struct ModuleShape: Equatable, Hashable, Sendable {
    /// Path inside the Hugging Face model, "vit.encoder.layer.0.attention.attention.query".
    public let name: String
    public let kind: ModuleKind
    /// The first whole number among the components of the name, 0 in the example; `nil` if there is none below 2^20.
    public let layerIndex: Int?
    /// Features, channels, or entries of an embedding.
    public let inputs: Int
    public let outputs: Int
    /// Of a convolution, 1 to 3 sizes; empty for the other kinds.
    public let kernel: [Int]
    /// Of a convolution: B is grouped, A is not, so output group g sees the g-th part of the rank alone. 1 otherwise.
    public let groups: Int
    public let rank: Int
    public let alpha: Double
    public let scaling: ModuleScaling
    /// DoRA: a third tensor holds the norm that each row of `weight + P` is scaled to.
    public let hasMagnitude: Bool

    /// The largest dimension that is accepted; LAPACK counts in 32 bits.
    public static let dimensionLimit = 1 << 30
    /// The largest rank that is accepted.
    public static let rankLimit = 1 << 14

    /// Throws `.invalidArgument` for a name that no PEFT key can carry, and for sizes that are not positive, too large, or
    /// not those of the kind.
    public init(
        name: String, kind: ModuleKind = .linear, inputs: Int, outputs: Int, kernel: [Int] = [], groups: Int = 1,
        rank: Int, alpha: Double, scaling: ModuleScaling = .standard, hasMagnitude: Bool = false
    ) throws(LoragenError) {
        let components = name.split(separator: ".", omittingEmptySubsequences: false)
        let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != UInt8(ascii: "/") }
        if !isPlain || name.utf8.count > 1024 || components.contains("")
            || components.contains(where: { $0.hasPrefix("lora_") })
        {
            throw LoragenError(
                .invalidArgument,
                "module '\(shortened(name))': expected a path of names with dots between, at most 1024 bytes, without "
                    + "spaces, '/' or names that begin with lora_")
        }
        for (what, value, limit) in [
            ("inputs", inputs, Self.dimensionLimit), ("outputs", outputs, Self.dimensionLimit),
            ("rank", rank, Self.rankLimit),
        ] where value < 1 || value > limit {
            throw LoragenError(
                .invalidArgument, "module '\(name)': \(what) is \(value); expected 1 to \(limit)")
        }
        if !alpha.isFinite || alpha == 0 || abs(alpha) > 1e9 {
            throw LoragenError(
                .invalidArgument, "module '\(name)': alpha is \(alpha); expected a finite number other than 0")
        }
        let isConvolution = kind == .convolution
        if isConvolution ? kernel.isEmpty || kernel.count > 3 : !kernel.isEmpty {
            throw LoragenError(
                .invalidArgument,
                "module '\(name)': a kernel of \(kernel.count) sizes; expected \(isConvolution ? "1 to 3" : "none")")
        }
        var columns = inputs
        for size in kernel {
            let (product, overflow) = columns.multipliedReportingOverflow(by: size)
            if size < 1 || overflow || product > Self.dimensionLimit {
                throw LoragenError(
                    .invalidArgument,
                    "module '\(name)': a kernel \(kernel) on \(inputs) channels; expected sizes from 1")
            }
            columns = product
        }
        if groups < 1 || groups > 1 && !isConvolution || rank % max(groups, 1) != 0 || outputs % max(groups, 1) != 0 {
            throw LoragenError(
                .invalidArgument,
                "module '\(name)': \(groups) groups for rank \(rank) and \(outputs) outputs; expected a number that "
                    + "divides both, and 1 unless it is a convolution")
        }
        self.name = name
        self.kind = kind
        layerIndex = components.lazy.compactMap { nameIndex($0) }.first
        self.inputs = inputs
        self.outputs = outputs
        self.kernel = kernel
        self.groups = groups
        self.rank = rank
        self.alpha = alpha
        self.scaling = scaling
        self.hasMagnitude = hasMagnitude
        self.columns = columns
    }

    /// Columns of A as a matrix `[rank, columns]`: inputs times the sizes of the kernel.
    public let columns: Int
    /// Columns of B as a matrix `[outputs, rank / groups]`.
    public var groupRank: Int { rank / groups }
    /// Rows of B that belong to one group.
    public var groupOutputs: Int { outputs / groups }

    /// The factor before `B · A`.
    public var scale: Double {
        switch scaling {
        case .standard: return alpha / Double(rank)
        case .rankStabilised: return alpha / Double(rank).squareRoot()
        }
    }

    /// The same module with another rank; alpha = rank, so that the scale is 1.
    public func withRank(_ rank: Int) throws(LoragenError) -> ModuleShape {
        try ModuleShape(
            name: name, kind: kind, inputs: inputs, outputs: outputs, kernel: kernel, groups: groups, rank: rank,
            alpha: Double(rank), hasMagnitude: hasMagnitude)
    }

    /// The same module under another name.
    public func named(_ name: String) throws(LoragenError) -> ModuleShape {
        try ModuleShape(
            name: name, kind: kind, inputs: inputs, outputs: outputs, kernel: kernel, groups: groups, rank: rank,
            alpha: alpha,
            scaling: scaling, hasMagnitude: hasMagnitude)
    }

    /// The first way in which another module of the name has other tensors or another meaning, rank and alpha aside.
    public func difference(from other: ModuleShape) -> String? {
        if hasMagnitude != other.hasMagnitude {
            return
                "module '\(name)' is \(hasMagnitude ? "" : "not ")DoRA, which is \(hasMagnitude ? "not " : "")expected"
        }
        if description == other.description { return nil }
        return "module '\(name)' is \(description) where \(other.description) is expected"
    }

    private var description: String {
        let groups = groups == 1 ? "" : " of \(groups) groups"
        return "\(kind.rawValue) \([outputs, inputs] + kernel)\(groups)"
    }
}

/// The tensors of a module as PEFT names and shapes them.
extension ModuleShape {
    private var path: String { "base_model.model." + name }
    private var isEmbedding: Bool { kind == .embedding }

    /// The PEFT key of `A`.
    public var keyA: String { path + (isEmbedding ? ".lora_embedding_A" : ".lora_A.weight") }
    /// The PEFT key of `B`.
    public var keyB: String { path + (isEmbedding ? ".lora_embedding_B" : ".lora_B.weight") }
    /// The PEFT key of DoRA's magnitudes.
    public var keyMagnitude: String { path + ".lora_magnitude_vector" }

    /// `[rank, inputs, kernel...]`
    public var shapeA: [Int] { [rank, inputs] + kernel }
    /// `[outputs, rank / groups, 1...]`, a 1 for each size of the kernel
    public var shapeB: [Int] { [outputs, groupRank] + kernel.map { _ in 1 } }
    /// `[outputs]`; `[1, outputs, 1...]` of a convolution
    public var shapeMagnitude: [Int] { kernel.isEmpty ? [outputs] : [1, outputs] + kernel.map { _ in 1 } }
}
