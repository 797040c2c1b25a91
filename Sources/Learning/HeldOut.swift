import Adapters
import Tensor

/// Adapters of a corpus that were held out of training, with what a method is asked for.
public struct HeldOut: ValidationTasks {
    private let adapters: CorpusModules
    private let representation: Representation
    /// Standardised, `[n, C]`.
    public internal(set) var conditions: Tensor<Float>
    /// The task of each.
    public let tasks: [String]
    /// Squared distance of the mean training adapter to each, `Σ‖ΔW‖²`.
    public let meanErrors: [Double]
    /// `Σ‖ΔW‖²` of all.
    private let squaredNorm: Double

    public var count: Int { tasks.count }

    /// The mean adapter's error; nil where it is rounding, so that nothing can be measured by it.
    public var meanError: Double? {
        let total = meanErrors.reduce(0, +)
        return total > 1e-10 * squaredNorm ? total : nil
    }

    /// - Parameters:
    ///   - conditions: standardised, a row for each of `entries`.
    ///   - rows: the training vectors.
    init(
        _ corpus: Corpus, _ entries: [Int], conditions: Tensor<Float>, _ rows: any VectorRows,
        _ representation: Representation, keeps: Bool
    ) throws(LoragenError) {
        adapters = CorpusModules(corpus, entries, keeps: keeps)
        (self.representation, self.conditions) = (representation, conditions)
        tasks = entries.map { corpus.entries[$0].task }
        var (errors, norm) = ([Double](repeating: 0, count: tasks.count), 0.0)
        // Module by module: the mean is decoded once.
        if !tasks.isEmpty {
            let mean = VectorModules(CombinedRows(meanOf: 0..<rows.count, rows), representation, group: 0)
            for module in representation.layout.modules.indices {
                let made = try mean.next()
                for i in tasks.indices {
                    let real = try adapters.module(module, of: i)
                    errors[i] += productDistance(made, real)
                    norm += real.squaredNorms()[0]
                }
            }
        }
        (meanErrors, squaredNorm) = (errors, norm)
    }

    public func skill(_ predicted: (Int) throws(LoragenError) -> any VectorStream) throws(LoragenError) -> Double? {
        // Per-task statistics exist for training tasks only, so nothing held out can be generated.
        guard representation.normaliser.kind != .perTask, let meanError else { return nil }
        let errors = try errors { (i) throws(LoragenError) in
            VectorModules(try predicted(i), representation, group: 0)
        }
        return 1 - errors.reduce(0, +) / meanError
    }

    /// Squared distances `Σ‖ΔŴ − ΔW‖²` of one predicted adapter for each; `visit` sees every pair of modules.
    public func errors(
        _ predicted: (Int) throws(LoragenError) -> any ModuleStream,
        visit: (_ module: Int, _ made: Adapter, _ real: Adapter) -> Void = { _, _, _ in }
    ) throws(LoragenError) -> [Double] {
        var errors: [Double] = []
        for i in tasks.indices {
            let made = try predicted(i)
            var error = 0.0
            for module in representation.layout.modules.indices {
                let (made, real) = (try made.next(), try adapters.module(module, of: i))
                error += productDistance(made, real)
                visit(module, made, real)
            }
            errors.append(error)
        }
        return errors
    }
}
