import Adapters
import Files
import Formats
import Glibc
import Synchronization
import Tensor

/// Making a basis file from a base model's weights.
public enum BasisComputation {
    /// Computes the basis of each module that `options` name and writes them to `path`, whole or not at all. Weights are
    /// read from the mapped files in parts; several modules are worked on at once. What should be known of the result is told
    /// to `note`. Throws `.io`, `.format`, `.mismatch`, `.unsupported`, `.nonFinite`, `.memory`, `.cancelled`.
    public static func run(
        base: String, to path: String, options: BasisOptions = BasisOptions(),
        note: (String) throws(LoragenError) -> Void = { Log.warning($0) }
    ) throws(LoragenError) {
        try options.check()
        try Sources(base, options.pivots).check(writing: [path])
        let checkpoint = try BaseCheckpoint(path: base)
        let run = try BasisRun(checkpoint, options)
        try run.computeAll()
        let modules = run.results.map(\.module)
        for (shape, module) in zip(run.layout.modules, modules) {
            if let gap = module.gap, gap < BasisModule.smallestGap {
                try note(
                    "module '\(shape.name)': singular values \(shape.rank) and \(shape.rank + 1) differ by \(gap) of the largest: "
                        + "which directions are the first \(shape.rank) is a matter of rounding; keep this file, another run "
                        + "can give others")
            }
        }
        let header = BasisHeader(method: options.method, layout: run.layout, modules: modules)
        try BasisFile.write(header, to: path, type: options.type) { (index) throws(LoragenError) in
            try run.factors(index)
        }
        run.removeCheckpoint()
    }
}

/// One run: its modules, what is done of them, and who may stop it.
private final class BasisRun {
    struct Result {
        let module: BasisModule
        /// `nil` when they are in the checkpoint.
        let factors: BasisFactors?
    }

    let layout: Layout
    private(set) var results: [Result] = []
    private let matrices: [BaseMatrix]
    private let options: BasisOptions
    private let pivots: [[Int32]]?
    private let isCancelled = Atomic<Bool>(false)
    private let caller = pthread_self()
    private let start = BasisRun.now
    private var lastReport = -Double.infinity
    private let costs: [Double]
    private var resumedCost = 0.0

    init(_ checkpoint: BaseCheckpoint, _ options: BasisOptions) throws(LoragenError) {
        self.options = options
        var matrices: [String: BaseMatrix] = [:]
        var shapes: [ModuleShape] = []
        for (name, stored) in try checkpoint.modules(matching: options.targets) {
            let matrix = try checkpoint.matrix(of: stored)
            let rank = min(options.rank ?? matrix.fullRank, matrix.fullRank)
            if rank > ModuleShape.rankLimit {
                throw LoragenError(
                    .unsupported,
                    "module '\(name)' has \(rank) directions; choose a rank of at most \(ModuleShape.rankLimit)")
            }
            shapes.append(try matrix.shape.named(options.prefix + name).withRank(rank))
            matrices[options.prefix + name] = matrix
        }
        layout = try Layout(modules: shapes, baseModel: checkpoint.name)
        self.matrices = layout.modules.compactMap { matrices[$0.name] }
        costs = zip(layout.modules, self.matrices).map { shape, matrix in
            let size = Double(matrix.rows) * Double(matrix.columns)
            switch options.method {
            case .loldu: return size
            case .svfit:
                let isIterated = BlockLanczos.suits(matrix, rank: shape.rank)
                return size * (isIterated ? 60 * Double(max(16, shape.rank)) : 20 * Double(matrix.fullRank))
            }
        }
        if let path = options.pivots {
            let known = try PivotFile(path: path)
            var all: [[Int32]] = []
            for shape in layout.modules { all.append(try known.pivots(of: shape)) }
            pivots = all
        } else {
            pivots = nil
        }
    }

    /// All modules in order, as many at once as threads and memory allow.
    func computeAll() throws(LoragenError) {
        if let folder = options.checkpoint { try makeFolder(folder) }
        let limit = options.memoryLimit > 0 ? Double(options.memoryLimit) : Double(Memory.available)
        while results.count < layout.modules.count {
            let first = results.count
            if let finished = try stored(first) {
                results.append(finished)
                resumedCost += costs[first]
                continue
            }
            let held = results.reduce(0.0) { sum, result in
                sum + 4 * Double((result.factors?.left.count ?? 0) + (result.factors?.right.count ?? 0))
            }
            var batch = 1
            var bytes = try self.bytes(first, limit: limit - held)
            while batch < Threads.count, first + batch < layout.modules.count {
                let more = try? self.bytes(first + batch, limit: limit - held - bytes)
                guard let more else { break }
                bytes += more
                batch += 1
            }
            try report(layout.modules[first].name, isForced: true)
            for result in try compute(first, count: batch) {
                results.append(try keep(result, results.count))
            }
        }
        try report(layout.modules.last?.name ?? "", isForced: true)
    }

    private func compute(_ first: Int, count: Int) throws(LoragenError) -> [(BasisModule, BasisFactors)] {
        if count == 1 { return [try compute(first)] }
        typealias Outcome = Swift.Result<(BasisModule, BasisFactors), LoragenError>
        let outcomes = Mutex<[Outcome?]>([Outcome?](repeating: nil, count: count))
        nonisolated(unsafe) let run = self
        Threads.parallelFor(count) { i in
            let outcome = Outcome { () throws(LoragenError) in try run.compute(first + i) }
            if case .failure = outcome { run.isCancelled.store(true, ordering: .relaxed) }
            outcomes.withLock { $0[i] = outcome }
        }
        var done: [(BasisModule, BasisFactors)] = []
        let all = outcomes.withLock { $0 }
        // What stopped the others, before those that were stopped.
        for case .failure(let error)? in all where error.code != .cancelled { throw error }
        for outcome in all {
            guard let outcome else { throw LoragenError(.internalError, "a module of the basis was left out") }
            done.append(try outcome.get())
        }
        return done
    }

    private func compute(_ index: Int) throws(LoragenError) -> (BasisModule, BasisFactors) {
        let (matrix, shape) = (matrices[index], layout.modules[index])
        try check(shape.name)
        let print = matrix.fingerprint
        try check(shape.name)
        defer { matrix.release() }
        func flat(_ rows: FloatRows, columns: Bool) -> [Float] {
            let values = rows.values
            if !columns { return Array(values) }
            return withExtendedLifetime(rows) {
                (0..<values.count).map { values[$0 % rows.count * rows.width + $0 / rows.count] }
            }
        }
        switch options.method {
        case .loldu:
            let lu = try PartialLU(matrix, rank: shape.rank, pivots: pivots?[index])
            return (
                BasisModule(tensor: matrix.tensor.name, fingerprint: print, residual: 0, gap: nil),
                try BasisFactors(
                    shape: shape, left: flat(lu.left, columns: true), right: flat(lu.right, columns: false),
                    sigma: lu.diagonal.map { Float($0) }, pivots: lu.pivots, method: .loldu, source: matrix.file.path)
            )
        case .svfit:
            let found = try triplets(matrix, shape)
            // Stored [in, out], the matrix is the transpose of what the layer sees.
            let (left, right) = matrix.isTransposed ? (found.right, found.left) : (found.left, found.right)
            return (
                BasisModule(
                    tensor: matrix.tensor.name, fingerprint: print, residual: found.residual,
                    gap: found.gap.isFinite ? found.gap : nil),
                try BasisFactors(
                    shape: shape, left: flat(left, columns: true), right: flat(right, columns: false),
                    sigma: found.sigma.map { Float($0) }, pivots: [], method: .svfit, source: matrix.file.path)
            )
        }
    }

    private func triplets(_ matrix: BaseMatrix, _ shape: ModuleShape) throws(LoragenError) -> SingularTriplets {
        let iteration = BlockLanczos(matrix: matrix, rank: shape.rank, tolerance: options.tolerance)
        if isIterated(matrix, shape) {
            let found = try iteration.run { () throws(LoragenError) in try check(shape.name) }
            if let found, found.residual <= max(2 * options.tolerance, iteration.reachable(found)) { return found }
        }
        if options.memoryLimit > 0, DenseSVD.bytes(matrix) > Double(options.memoryLimit) {
            throw tooLittle(matrix, shape)
        }
        return try DenseSVD.run(matrix, rank: shape.rank)
    }

    /// By rank and memory: the iteration where it has room, also where the full SVD would be too large.
    private func isIterated(_ matrix: BaseMatrix, _ shape: ModuleShape) -> Bool {
        if BlockLanczos.suits(matrix, rank: shape.rank) { return true }
        let iteration = BlockLanczos(matrix: matrix, rank: shape.rank, tolerance: options.tolerance)
        return options.memoryLimit > 0 && DenseSVD.bytes(matrix) > Double(options.memoryLimit) && iteration.fits
    }

    /// What a module takes while it is computed. Throws `.memory` beyond the limit.
    private func bytes(_ index: Int, limit: Double) throws(LoragenError) -> Double {
        let (matrix, shape) = (matrices[index], layout.modules[index])
        let result = 12 * Double(shape.rank) * Double(shape.outputs + shape.columns)
        let needed: Double
        switch options.method {
        case .loldu: needed = PartialLU.bytes(matrix, rank: shape.rank) + result
        case .svfit:
            let iteration = BlockLanczos(matrix: matrix, rank: shape.rank, tolerance: options.tolerance)
            needed = (isIterated(matrix, shape) ? iteration.bytes : DenseSVD.bytes(matrix)) + result
        }
        if needed > limit { throw tooLittle(matrix, shape, needed) }
        return needed
    }

    private func tooLittle(_ matrix: BaseMatrix, _ shape: ModuleShape, _ bytes: Double? = nil) -> LoragenError {
        LoragenError(
            .memory,
            "module '\(shape.name)' \([matrix.rows, matrix.columns]) at rank \(shape.rank) takes about "
                + "\(Memory.mebibytes(bytes ?? DenseSVD.bytes(matrix))) MiB beside what is held already, more than the limit; "
                + "raise it, choose a smaller rank, or give a checkpoint folder, which finished modules go to")
    }

    // MARK: - Progress

    /// Throws `.cancelled`; on the calling thread tells how far it is.
    private func check(_ module: String) throws(LoragenError) {
        if pthread_equal(caller, pthread_self()) != 0 { try report(module) }
        if isCancelled.load(ordering: .relaxed) {
            throw LoragenError(
                .cancelled,
                options.checkpoint.map { "cancelled; what is done is in '\($0)', and the same call goes on from there" }
                    ?? "cancelled; nothing was written")
        }
    }

    private func report(_ module: String, isForced: Bool = false) throws(LoragenError) {
        guard let progress = options.progress else { return }
        let now = Self.now
        if !isForced && now - lastReport < 0.1 { return }
        lastReport = now
        let (done, all) = (costs.prefix(results.count).reduce(0, +), costs.reduce(0, +))
        let worked = done - resumedCost
        let left = worked > 0 ? (now - start) * (all - done) / worked : .nan
        if progress(BasisProgress(module: module, done: results.count, count: layout.modules.count, secondsLeft: left))
        {
            isCancelled.store(true, ordering: .relaxed)
            try check(module)
        }
    }

    private static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    // MARK: - Checkpoint

    private func place(_ index: Int) -> String? {
        options.checkpoint.map { joinPath($0, "module-\(index).basis.safetensors") }
    }

    /// A finished module of an earlier run that is what this one would make; `nil` for anything else.
    private func stored(_ index: Int) throws(LoragenError) -> Result? {
        guard let path = place(index), try PathKind.of(path) == .file,
            let part = try attempt({ () throws(LoragenError) in try Basis(path: path) }),
            part.method == options.method, part.layout.modules == [layout.modules[index]],
            let module = part.modules.first, module.residual <= 2 * options.tolerance || module.residual == 0,
            module.tensor == matrices[index].tensor.name, module.fingerprint == matrices[index].fingerprint
        else { return nil }
        if let pivots, try part.factors(of: 0).pivots != pivots[index] { return nil }
        return Result(module: module, factors: nil)
    }

    private func keep(_ computed: (BasisModule, BasisFactors), _ index: Int) throws(LoragenError) -> Result {
        let (module, factors) = computed
        guard let path = place(index) else { return Result(module: module, factors: factors) }
        let header = BasisHeader(
            method: options.method, layout: try layout.only(index), modules: [module])
        try BasisFile.write(header, to: path, type: .f32) { _ in factors }
        return Result(module: module, factors: nil)
    }

    func factors(_ index: Int) throws(LoragenError) -> BasisFactors {
        if let factors = results[index].factors { return factors }
        guard let path = place(index) else { throw LoragenError(.internalError, "module \(index) was not kept") }
        return try Basis(path: path).factors(of: 0)
    }

    func removeCheckpoint() {
        guard let folder = options.checkpoint else { return }
        for index in layout.modules.indices { if let path = place(index) { unlink(path) } }
        rmdir(folder)
    }
}

/// The pivots of a LoLDU basis or of a compact adapter.
private struct PivotFile {
    private let file: SafetensorsFile

    init(path: String) throws(LoragenError) { file = try SafetensorsFile(path: path) }

    func pivots(of shape: ModuleShape) throws(LoragenError) -> [Int32] {
        let name = BasisName.pivots(shape.name)
        let all: [Int32] = try file.elements(name)
        if all.count < shape.rank {
            throw LoragenError(
                .mismatch,
                "\(file.path): tensor '\(shortened(name))' has \(all.count) pivots; rank \(shape.rank) needs as many")
        }
        return Array(all.prefix(shape.rank))
    }
}
