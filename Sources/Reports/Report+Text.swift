import Files
import Learning
import Tensor

extension Report {
    /// For people: a column for each set of held-out adapters, so that a generator's number stands above those of its
    /// baselines. `isBrief` leaves out all but the skill.
    public func text(isBrief: Bool = false) -> String {
        let sets = [("validation", validation), ("test", test)].compactMap { name, set in set.map { (name, $0) } }
        var parts: [String] = []
        if !sets.isEmpty { parts.append(table([""] + sets.map(\.0), rows(sets.map(\.1), isBrief: isBrief))) }
        if isBrief {
            let lines = training.filter(\.isEarly).map(\.text) + [verdict]
            return (parts + [lines.joined(separator: "\n")]).joined(separator: "\n\n")
        }
        var facts = [
            ("training", "\(counted(counts.trainingAdapters, "adapter")) of \(counted(counts.trainingTasks, "task"))"),
            ("validation", counted(counts.validationAdapters, "adapter")),
            ("test", counted(counts.testAdapters, "adapter")),
            ("an adapter", counted(counts.numbersPerAdapter, "number")),
        ]
        facts += training.map { ("stage", $0.text) }
        facts += warnings.map { ("warning", $0) } + [("verdict", verdict)]
        let width = facts.reduce(0) { max($0, $1.0.count) } + 2
        parts.append(
            facts.map { $0.0 + String(repeating: " ", count: width - $0.0.count) + $0.1 }.joined(separator: "\n"))
        return parts.joined(separator: "\n\n")
    }

    private func rows(_ sets: [Measured], isBrief: Bool) -> [[String]] {
        var rows: [[String]] = []
        func row(_ name: String, _ value: (Measured) -> String?) {
            rows.append([name] + sets.map { value($0) ?? "–" })
        }
        func group(_ title: String, _ names: [[String]], _ value: @escaping (Measured, String) -> String?) {
            rows.append([title] + sets.map { _ in "" })
            var seen: [String] = []
            for name in names.joined() where !seen.contains(name) {
                seen.append(name)
                row("  " + name) { value($0, name) }
            }
        }
        func number(_ value: Double?) -> String? { value.map { significant($0) } }
        if !isBrief { row("tasks") { String($0.tasks) } }
        group("skill", sets.map { $0.skill.map(\.name) }) { set, name in
            set.skill.first { $0.name == name }.map { fixed($0.value, 3) }
        }
        if isBrief { return rows }
        row("deviation over seeds") { number($0.skillDeviationOverSeeds) }
        row("steering margin") { number($0.steeringMargin) }
        group("distance to the nearest training adapter", [["generated", "among training adapters"]]) { set, name in
            number(name == "generated" ? set.distance.generated : set.distance.amongTraining)
        }
        group("norm, generated over real", sets.map { $0.norms.map(\.module) }) { set, name in
            number(set.norms.first { $0.module == name }?.generatedOverReal)
        }
        group("gain over the best baseline", [["baseline", "skill", "± (95 %)"]]) { set, name in
            guard let gain = set.gain else { return nil }
            return name == "baseline" ? gain.baseline : number(name == "skill" ? gain.skill : gain.interval)
        }
        return rows
    }
}
