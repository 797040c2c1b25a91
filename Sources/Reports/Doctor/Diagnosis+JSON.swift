import Files
import Learning
import Tensor

extension Diagnosis {
    /// Everything, by the schema of docs/doctor.md.
    public var json: JSON {
        [
            "version": 1, "path": .string(path), "adapters": JSON(adapterCount), "verdict": .string(verdict),
            "findings": .array(findings.map(\.json)), "groups": .array(charts.map(\.json)),
        ]
    }

    /// The same for people: the verdict, each group in a few lines, then the findings with what to do.
    public var text: String {
        var lines = ["\(path): \(counted(adapterCount, "adapter")). \(verdict)"]
        for (i, chart) in charts.enumerated() {
            lines += ["", "group \(i): \(chart.group.description)"] + chart.facts.map { "  " + $0 }
        }
        for severity in [Finding.Severity.error, .warning, .note] {
            let found = findings.filter { $0.severity == severity }
            if found.isEmpty { continue }
            lines += ["", "\(counted(found.count, severity.rawValue))"]
            for finding in found {
                let place = charts.count > 1 ? finding.group.map { "group \($0): " } ?? "" : ""
                lines += ["  \(finding.code): \(place)\(finding.message)", "    \(finding.advice)"]
            }
        }
        if findings.isEmpty { lines += ["", "nothing to complain about"] }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Diagnosis.Chart {
    /// The numbers that matter, a line each.
    fileprivate var facts: [String] {
        let norms = group.members.map(\.norm)
        var lines = [
            "norm         median \(compact(quantile(norms, 0.5))), from \(compact(norms.min() ?? 0)) to "
                + compact(norms.max() ?? 0),
            "rank use     \(decimal(100 * quantile(group.members.map(\.rankUse), 0.5), 0)) % "
                + "(effective rank over rank, median)",
        ]
        if gram.count > 1 {
            let nearest = neighbours.map(\.similarity)
            let about = group.isExact ? "" : ", estimated"
            lines.append(
                "similarity   to the nearest \(decimal(quantile(nearest, 0.5))), between any two "
                    + "\(decimal(quantile(similarities, 0.5))) (median cosines\(about))")
        }
        guard let diversity else { return lines }
        lines.append(
            "variance     90 % in \(counted(diversity.components90, "component")) of \(diversity.adapters); "
                + "participation \(decimal(diversity.participation, 1))"
                + (diversity.twoNN.map { "; intrinsic dimension \(decimal($0, 1))" } ?? ""))
        if let skill = diversity.spanSkill {
            lines.append(
                "left out     skill \(decimal(skill)) from the span of the others"
                    + (diversity.halfSpanSkill.map { ", \(decimal($0)) from half of them" } ?? "")
                    + " (\(counted(diversity.blocks, "independent run")))")
        }
        if let nearest = diversity.nearestSkill, let ridge = diversity.ridgeSkill {
            lines.append(
                "conditions   skill \(decimal(nearest)) by the nearest condition, \(decimal(ridge)) by ridge regression"
            )
        }
        return lines
    }

    /// Cosines of pairs: all of them, or an even part of 100,000 or so.
    var similarities: [Double] {
        let n = gram.count
        let step = max(1, n * (n - 1) / 2 / 100_000)
        var values: [Double] = []
        var next = 0
        for i in 0..<n {
            for j in 0..<i {
                if next % step == 0, let value = gram.similarity(i, j) { values.append(value) }
                next += 1
            }
        }
        return values
    }

    fileprivate var json: JSON {
        func spread(_ values: [Double]) -> JSON {
            if values.isEmpty { return .null }
            let names: [(String, Double)] = [("min", 0), ("p5", 0.05), ("median", 0.5), ("p95", 0.95), ("max", 1)]
            return .object(JSONObject(names.map { ($0.0, JSON.number(quantile(values, $0.1))) }))
        }
        var places: [Int: Int] = [:]
        for (place, index) in compared.enumerated() { places[index] = place }
        let members: [JSON] = group.members.enumerated().map { index, member in
            let neighbour = places[index].map { neighbours[$0] }
            let isAlone = gram.count < 2
            return [
                "path": .string(member.name), "norm": .number(member.norm), "rank_use": .number(member.rankUse),
                "nearest": isAlone ? .null : neighbour.map { .string(name($0.index)) } ?? .null,
                "similarity": isAlone ? .null : neighbour.map { .number($0.similarity) } ?? .null,
            ]
        }
        let modules: [JSON] = group.modules.indices.map { m in
            [
                "name": .string(group.modules[m].name), "outputs": JSON(group.modules[m].outputs),
                "inputs": JSON(group.modules[m].columns), "norm": spread(group.norms[m]),
                "effective_rank": spread(group.effectiveRanks[m]),
                "rank_99": JSON(group.rank(keeping: 0.99, of: m)), "spectrum": JSON(group.meanSpectrum(of: m)),
            ]
        }
        let ranks = group.ranks.sorted { $0.key < $1.key }.map { (String($0.key), JSON($0.value)) }
        return [
            "base_model": group.baseModel.map { .string($0) } ?? .null, "targets": JSON(group.targets),
            "ranks": .object(JSONObject(ranks)), "adapters": JSON(group.members.count),
            "compared": JSON(compared.count), "exact": .bool(group.isExact),
            "norm": spread(group.members.map(\.norm)), "similarity": spread(similarities),
            "nearest_similarity": spread(gram.count > 1 ? neighbours.map(\.similarity) : []),
            "runs": .array(runs.map { JSON($0.map(name)) }), "diversity": diversity?.json ?? .null,
            "modules": .array(modules), "members": .array(members),
        ]
    }
}
