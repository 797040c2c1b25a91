import Adapters
import Files
import Glibc
import Learning
import Tensor

extension Diagnosis.Chart {
    init(_ group: AdapterGroup) throws(LoragenError) {
        self.group = group
        let alive = group.members.indices.filter { group.members[$0].norm > 0 }
        compared = Array(alive.prefix(Diagnosis.comparedLimit))
        // The Gram matrix, its mirror, edges and cosines; then some matrices of the part that diversity is measured on.
        let (all, part) = (Double(compared.count), Double(min(compared.count, Diagnosis.diversityLimit)))
        try Memory.require(24 * all * all + 128 * part * part, for: "comparing \(compared.count) adapters")
        gram = group.gram(of: compared)
        let clusters = Clusters(gram)
        self.clusters = clusters
        let gram = gram
        neighbours = (0..<gram.count).map { i in
            var best = (index: i, similarity: -Double.infinity)
            for j in 0..<gram.count where j != i {
                let similarity = gram.similarity(i, j) ?? 0
                if similarity > best.similarity { best = (j, similarity) }
            }
            return best
        }
        copySets = Clusters(gram, by: Clusters.difference)
        runs = clusters.sets(upTo: clusters.gap(above: Clusters.near) ?? Clusters.near)
        diversity = try Self.diversity(group, compared, gram, runs)
    }

    /// Adapters of one run, of one task, or close enough to be of one run, are left out together.
    private static func diversity(
        _ group: AdapterGroup, _ compared: [Int], _ gram: Gram, _ runs: [[Int]]
    ) throws(LoragenError) -> Diversity? {
        // A digest of w numbers is spanned by w adapters whatever they are: stay far below.
        let limit = min(Diagnosis.diversityLimit, (group.digestWidth ?? .max) / 16)
        let step = max(1, (gram.count + limit - 1) / max(1, limit))
        let chosen = Array(stride(from: 0, to: gram.count, by: step))
        if chosen.count < 2 { return nil }
        var blocks = Array(0..<gram.count)
        func join(_ members: [Int]) {
            let target = members.reduce(Int.max) { min($0, blocks[$1]) }
            let old = Set(members.map { blocks[$0] })
            for i in blocks.indices where old.contains(blocks[i]) { blocks[i] = target }
        }
        for run in runs { join(run) }
        for key in [\CorpusEntry.run, \CorpusEntry.task] {
            var named: [String: [Int]] = [:]
            for i in 0..<gram.count {
                if let entry = group.members[compared[i]].entry { named[entry[keyPath: key], default: []].append(i) }
            }
            for members in named.values where members.count > 1 { join(members) }
        }
        let conditions = chosen.map { group.members[compared[$0]].entry?.numbers }
        let given = conditions.compactMap { $0 }
        let usable = given.count == chosen.count && Set(given.map(\.count)).count == 1 ? given : nil
        return try Diversity(
            chosen.count == gram.count ? gram : gram.subset(chosen), blocks: chosen.map { blocks[$0] },
            conditions: usable)
    }

    func name(_ i: Int) -> String { group.members[compared[i]].name }

    /// What is to be said of the group.
    var findings: [Finding] {
        copies + sameRuns + deadModules + outliers + ranks + scope + diversityFindings
    }

    // MARK: Copies and runs

    /// The same bytes, the same update in other factors, nearly the same update.
    private var copies: [Finding] {
        var findings: [Finding] = []
        var seen: [String: [Int]] = [:]
        for i in 0..<gram.count { seen[group.members[compared[i]].hash, default: []].append(i) }
        let exact = seen.values.filter { $0.count > 1 }.sorted { $0[0] < $1[0] }
        for set in exact { findings.append(copy(set, "exact-duplicate", "are the same file contents")) }
        func isExact(_ set: [Int]) -> Bool { exact.contains { Set($0).isSuperset(of: set) } }
        let same = copySets.sets(upTo: Clusters.same).filter { !isExact($0) }
        for set in same { findings.append(copy(set, "duplicate", "are the same update in other factors")) }
        for set in copySets.sets(upTo: Clusters.near) {
            if isExact(set) || same.contains(where: { Set($0).isSuperset(of: set) }) { continue }
            findings.append(copy(set, "near-duplicate", "are nearly the same update (within 5 %)"))
        }
        return findings
    }

    private func copy(_ set: [Int], _ code: String, _ what: String) -> Finding {
        let names = set.map(name)
        let entries = set.compactMap { group.members[compared[$0]].entry }
        if Set(entries.map(\.split)).count > 1 {
            return Finding(
                .error, code, "\(listed(names)) \(what), in different splits: the held-out part is not held out",
                "Put them into one split, with one \"run\".", names)
        }
        let conditions = Set(entries.compactMap(\.numbers))
        if conditions.count > 1 {
            return Finding(
                .error, code, "\(listed(names)) \(what), for \(conditions.count) different conditions",
                "Find out which of them was saved under a wrong name.", names)
        }
        return Finding(.warning, code, "\(listed(names)) \(what)", "Keep one of them.", names)
    }

    /// Sets whose members are far more similar to each other than to the rest.
    private var sameRuns: [Finding] {
        let gap = clusters.gap(above: Clusters.near)
        let copies = copySets.sets(upTo: Clusters.near).map(Set.init)
        var findings: [Finding] = []
        var unnamed: [[Int]] = []
        for set in runs where set.count < gram.count && (gap != nil || !copies.contains { $0.isSuperset(of: set) }) {
            if isStrengths(set) { continue }
            let entries = set.compactMap { group.members[compared[$0]].entry }
            let names = set.map(name)
            if entries.count == set.count, Set(entries.map(\.split)).count > 1 {
                findings.append(
                    Finding(
                        .error, "run-across-splits",
                        "\(listed(names)) look like checkpoints of one run, but are in different splits: what is held "
                            + "out has been seen",
                        "Give them one \"run\" and one \"split\" in the manifest.", names))
            } else if entries.count < set.count || Set(entries.map(\.run)).count > 1 {
                unnamed.append(set)
            }
        }
        if !unnamed.isEmpty {
            let text = unnamed.prefix(3).map { "{\(listed($0.map(name)))}" }.joined(separator: ", ")
            let more = unnamed.count > 3 ? " and \(unnamed.count - 3) more" : ""
            let length = gap ?? Clusters.near
            let cosine = 1 - length * length / 2
            findings.append(
                Finding(
                    .warning, "same-run",
                    "\(counted(unnamed.count, "set")) of adapters look like checkpoints of one run, far more similar to "
                        + "each other than to the rest (cosine above \(decimal(cosine, 3))): \(text)\(more)",
                    "Give each set one \"run\" in the manifest, so that it stays in one split; a generator learns from "
                        + "runs, not from checkpoints.", unnamed.flatMap { $0.map(name) }))
        }
        return findings
    }

    /// One update at several strengths, each for a condition of its own: a slider, and not a run.
    private func isStrengths(_ set: [Int]) -> Bool {
        let conditions = set.compactMap { group.members[compared[$0]].entry?.numbers }
        return Set(conditions).count == set.count && clusters.sets(upTo: Clusters.near).contains(set)
    }

    // MARK: Single adapters

    private var deadModules: [Finding] {
        var findings: [Finding] = []
        let dead = group.members.filter { $0.norm == 0 }.map(\.name)
        if !dead.isEmpty {
            findings.append(
                Finding(
                    .error, "dead-adapter",
                    "\(counted(dead.count, "adapter")) change nothing, every product is zero: \(listed(dead))",
                    "Take them out: they were saved before training, or lost their lora_B.", dead))
        }
        let alive = group.members.count - dead.count
        for (m, module) in group.modules.enumerated() {
            let names = zip(group.members, group.norms[m]).filter { $0.norm > 0 && $1 == 0 }.map(\.0.name)
            if names.isEmpty { continue }
            if names.count == alive {
                findings.append(
                    Finding(
                        .warning, "dead-module", "\(module.name) is zero in all adapters",
                        "Leave it out of target_modules: it costs size and does nothing."))
            } else {
                findings.append(
                    Finding(
                        .warning, "dead-module",
                        "\(module.name) is zero in \(names.count) of \(alive): \(listed(names))",
                        "See whether these were saved completely.", names))
            }
        }
        return findings
    }

    private var outliers: [Finding] {
        var findings: [Finding] = []
        let members = compared.map { group.members[$0] }
        if members.count < 8 { return [] }
        let sizes = members.map { log($0.norm) }
        let (middle, spread) = (quantile(sizes, 0.5), deviation(sizes))
        let odd = members.indices.filter { abs(sizes[$0] - middle) > max(6 * spread, log(3)) }
        if !odd.isEmpty {
            let list = odd.prefix(4).map { "\(name($0)) (\(compact(members[$0].norm)))" }
            findings.append(
                Finding(
                    .warning, "norm-outlier",
                    "\(counted(odd.count, "adapter")) of another size than the rest (median norm \(compact(exp(middle)))): "
                        + list.joined(separator: ", ") + (odd.count > 4 ? " and \(odd.count - 4) more" : ""),
                    "See whether alpha or the learning rate was another one, or the training diverged.", odd.map(name)))
        }
        let chords = neighbours.map { max(0, 2 - 2 * $0.similarity).squareRoot() }
        let (usual, width) = (quantile(chords, 0.5), deviation(chords))
        let lonely = chords.indices.filter { chords[$0] > max(Clusters.apart, usual + max(6 * width, 0.3 * usual)) }
        if !lonely.isEmpty {
            let list = lonely.prefix(4).map { "\(name($0)) (cosine \(decimal(neighbours[$0].similarity)))" }
            findings.append(
                Finding(
                    .warning, "direction-outlier",
                    "\(counted(lonely.count, "adapter")) unlike any other (the usual cosine to the nearest is "
                        + "\(decimal(1 - usual * usual / 2))): " + list.joined(separator: ", ")
                        + (lonely.count > 4 ? " and \(lonely.count - 4) more" : ""),
                    "See whether they are of another kind of task, seed or recipe.", lonely.map(name)))
        }
        return findings
    }

    // MARK: The group

    private var ranks: [Finding] {
        var findings: [Finding] = []
        if group.ranks.count > 1 || group.hasMixedRanks {
            let list = group.ranks.sorted { $0.key < $1.key }.map { "\($0.value) of rank \($0.key)" }
            findings.append(
                Finding(
                    .note, "mixed-ranks", "Ranks differ: " + list.joined(separator: ", "),
                    "Nothing: training brings them to one rank in canonical form."))
        }
        let largest = group.ranks.keys.max() ?? 1
        let needed = group.modules.indices.reduce(0) { max($0, group.rank(keeping: 0.99, of: $1)) }
        if needed > 0, needed * 2 <= largest {
            findings.append(
                Finding(
                    .note, "rank-unused",
                    "Rank \(largest) is not used: rank \(needed) keeps 99 % of every module's update",
                    "Train with a smaller rank, or re-cut: the adapters become \(largest / needed) times smaller."))
        }
        if BaseName.canonical(group.baseModel) == nil {
            findings.append(
                Finding(
                    .note, "base-unnamed", "The adapters do not name their base model",
                    "Set base_model_name_or_path in their configs, so that nobody applies them to another one."))
        }
        return findings
    }

    private var scope: [Finding] {
        var findings: [Finding] = []
        let alive = group.members.reduce(0) { $0 + ($1.norm > 0 ? 1 : 0) }
        if compared.count < alive {
            findings.append(
                Finding(
                    .note, "partly-compared", "Only the first \(compared.count) of \(alive) adapters were compared",
                    "Split the folder to see copies among the rest."))
        }
        if let width = group.digestWidth {
            findings.append(
                Finding(
                    .note, "estimated",
                    "The factors are larger than the memory limit: similarities are estimated, to ± "
                        + decimal((8 / Double(width)).squareRoot()),
                    "Raise the memory limit for exact ones."))
        }
        return findings
    }

    private var diversityFindings: [Finding] {
        guard let diversity, diversity.blocks >= 3, let skill = diversity.spanSkill else {
            return [
                Finding(
                    .warning, "too-few", "\(counted(group.members.count, "adapter")): too few to learn from",
                    "Add adapters of other tasks; a generator needs dozens of independent runs.")
            ]
        }
        var findings: [Finding] = []
        let runs = "\(counted(diversity.adapters, "adapter")) of \(counted(diversity.blocks, "independent run"))"
        let share = decimal(100 * max(0, skill), 0)
        if diversity.blocks < 8 {
            findings.append(
                Finding(
                    .warning, "too-few", "\(runs): too few to say whether a generator could generalise",
                    "Add adapters of other tasks; dozens of independent runs at least."))
        } else if skill < 0.2 {
            findings.append(
                Finding(
                    .warning, "no-common-structure",
                    "\(runs) have hardly anything in common: the others explain \(share) % of one that is left out",
                    "Train them from one initialisation, with one recipe and seed, on related tasks."))
        } else if let half = diversity.halfSpanSkill, skill - half > 0.05 {
            findings.append(
                Finding(
                    .note, "more-helps",
                    "\(runs) explain \(share) % of one that is left out, half of them "
                        + "\(decimal(100 * max(0, half), 0)) %",
                    "More adapters would still help."))
        }
        if let nearest = diversity.nearestSkill, let ridge = diversity.ridgeSkill, max(nearest, ridge) < 0.1,
            diversity.blocks >= 8
        {
            findings.append(
                Finding(
                    .warning, "condition-says-nothing",
                    "The conditions do not tell the adapters apart: skill \(decimal(nearest)) by the nearest condition, "
                        + "\(decimal(ridge)) by ridge regression",
                    "See whether conditions and adapters belong together, and describe the tasks by what they share."))
        }
        return findings
    }
}
