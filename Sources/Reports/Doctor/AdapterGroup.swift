import Adapters
import Files
import Learning
import Tensor

/// Adapters of one base model with the same modules: what one generator can be trained on. Ranks may differ.
public final class AdapterGroup {
    /// One adapter, without its weights.
    struct Member {
        let name: String
        let entry: CorpusEntry?
        let norm: Double
        /// Mean over the modules of effective rank over rank.
        let rankUse: Double
        /// SHA-256 of ranks, alphas and values.
        let hash: String
    }

    private(set) var baseModel: String?
    var modules: [ModuleShape] { like.modules }
    private let like: Layout
    private(set) var members: [Member] = []
    /// For each module: the adapters' norms and effective ranks, and sums of the singular values over the largest and of
    /// the squared ones over their sum.
    private(set) var norms: [[Double]]
    private(set) var effectiveRanks: [[Double]]
    private var relative: [[Double]]
    private var energies: [[Double]]
    /// How many adapters have which rank in their first module.
    private(set) var ranks: [Int: Int] = [:]
    private(set) var hasMixedRanks = false

    private var updates: [Update] = []
    private var digests: [[Float]] = []
    private var sketch: UpdateSketch?

    init(like layout: Layout) {
        baseModel = layout.baseModel
        like = layout
        norms = layout.modules.map { _ in [] }
        effectiveRanks = norms
        relative = layout.modules.map { _ in [] }
        energies = relative
    }

    /// Bytes of factors that are held.
    var factorBytes: Int { sketch == nil ? updates.reduce(0) { $0 + $1.byteCount } : 0 }
    /// False when similarities are estimated from digests.
    var isExact: Bool { sketch == nil }

    func fits(_ layout: Layout) -> Bool {
        BaseName.agree(layout.baseModel, baseModel) && layout.difference(from: like, ignoringRank: true) == nil
    }

    func add(_ reading: Reading) {
        if BaseName.canonical(baseModel) == nil { baseModel = reading.layout.baseModel }
        let update = reading.update
        var use = 0.0
        for (i, module) in update.modules.enumerated() {
            let spectrum = module.spectrum
            norms[i].append(spectrum.norm)
            effectiveRanks[i].append(spectrum.effectiveRank)
            use += spectrum.effectiveRank / Double(reading.ranks[i])
            let total = spectrum.norm * spectrum.norm
            for (k, value) in spectrum.values.enumerated() where total > 0 {
                if k == relative[i].count {
                    relative[i].append(0)
                    energies[i].append(0)
                }
                relative[i][k] += value / spectrum.largest
                energies[i][k] += value * value / total
            }
        }
        if let rank = reading.ranks.first { ranks[rank, default: 0] += 1 }
        hasMixedRanks = hasMixedRanks || Set(reading.ranks).count > 1
        members.append(
            Member(
                name: reading.item.name, entry: reading.item.entry, norm: update.norm,
                rankUse: use / Double(max(1, modules.count)), hash: reading.hash))
        if let sketch { digests.append(sketch.digest(update)) } else { updates.append(update) }
    }

    /// Lets go of the factors: from now on there are digests only.
    func condense() {
        guard sketch == nil, let first = updates.first else { return }
        let sketch = UpdateSketch(modules: first.modules)
        digests = updates.map(sketch.digest)
        updates = []
        self.sketch = sketch
    }

    /// The Gram matrix of some members.
    func gram(of indices: [Int]) -> Gram {
        sketch == nil
            ? Gram(indices.map { updates[$0] })
            : Gram(sketches: indices.map { digests[$0] }, norms: indices.map { members[$0].norm })
    }

    /// Digests have this many numbers; more adapters than a part of that would span them.
    var digestWidth: Int? { sketch?.width }

    /// The mean over the adapters of `σ_k / σ_1` of a module.
    func meanSpectrum(of module: Int) -> [Double] {
        let count = norms[module].reduce(0.0) { $0 + ($1 > 0 ? 1 : 0) }
        return count == 0 ? [] : relative[module].map { $0 / count }
    }

    /// The rank that keeps a share of `‖ΔW‖²` in the mean over the adapters of a module.
    func rank(keeping share: Double, of module: Int) -> Int {
        let total = energies[module].reduce(0, +)
        var sum = 0.0
        for (k, energy) in energies[module].enumerated() {
            sum += energy
            if sum >= share * total { return k + 1 }
        }
        return energies[module].count
    }

    /// The distinct last components of the modules' names.
    var targets: [String] {
        Set(modules.map { $0.name.split(separator: ".").last.map(String.init) ?? $0.name }).sorted(by: precedes)
    }

    /// For messages: "6 adapters of vit, rank 4, o_proj q_proj v_proj".
    var description: String {
        let rank = ranks.keys.sorted().map(String.init).joined(separator: "/")
        return "\(counted(members.count, "adapter")) of \(baseModel ?? "an unnamed base model"), rank \(rank), "
            + "\(modules.count) modules (\(listed(targets, limit: 8)))"
    }
}

/// One adapter as it was read.
struct Reading {
    let item: AdapterCollection.Item
    let layout: Layout
    let ranks: [Int]
    let update: Update
    let hash: String

    init(_ item: AdapterCollection.Item, of collection: AdapterCollection) throws(LoragenError) {
        let adapter = try collection.read(item)
        defer { withExtendedLifetime(adapter) {} }
        self.item = item
        layout = adapter.layout.declared(by: item.entry)
        ranks = layout.modules.map(\.rank)
        update = try Update(adapter)
        var hasher = SHA256()
        for module in layout.modules { hasher.update("\(module.name) \(module.rank) \(module.scale) ") }
        hasher.update(UnsafeRawBufferPointer(adapter.values))
        hash = hasher.finish()
    }
}
