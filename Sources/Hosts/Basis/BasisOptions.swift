import Adapters
import Files
import Formats
import Tensor

/// How a basis is made.
public struct BasisOptions {
    public var method = BasisMethod.svfit
    /// Directions of each module, at most as many as its weight has; `nil`: all of them.
    public var rank: Int? = 16
    /// Modules by their names or last components; empty: every linear and convolution layer but output layers.
    public var targets: [String] = []
    /// Put before the checkpoint's names to get those of the adapter's modules: "transformer." of GPT-2.
    public var prefix = ""
    /// SVFit: the largest `‖Wv − σu‖ / σ` of the iteration.
    public var tolerance = 1e-5
    /// F32, F16 or BF16, of the written factors.
    public var type = ElementType.f32
    /// Bytes that the call may hold beside the mapped weights; 0: what the process can have.
    public var memoryLimit = 0
    /// A folder for finished modules, from which a stopped run goes on.
    public var checkpoint: String?
    /// LoLDU: the pivots of a file of this library (a basis or compact adapters) instead of a search.
    public var pivots: String?
    /// Called from the calling thread, ten times a second at most; true cancels.
    public var progress: ((BasisProgress) -> Bool)?

    public init() {}

    func check() throws(LoragenError) {
        if let rank, rank < 1 || rank > ModuleShape.rankLimit {
            throw LoragenError(
                .invalidArgument, "rank is \(rank); expected 1 to \(ModuleShape.rankLimit), or 0 for all")
        }
        if !tolerance.isFinite || tolerance < 1e-7 || tolerance > 0.1 {
            throw LoragenError(.invalidArgument, "the tolerance is \(tolerance); expected 1e-7 to 0.1")
        }
        guard [.f32, .f16, .bf16].contains(type) else {
            throw LoragenError(
                .invalidArgument, "a basis cannot be written as \(type.rawValue); expected F32, F16 or BF16")
        }
        if method == .svfit, pivots != nil {
            throw LoragenError(.invalidArgument, "pivots belong to LoLDU, and the method is SVFit")
        }
    }
}

/// How far the making of a basis is.
public struct BasisProgress: Sendable {
    /// The module that the calling thread works on.
    public var module: String
    public var done: Int
    public var count: Int
    /// NaN while nothing is done.
    public var secondsLeft: Double
}
