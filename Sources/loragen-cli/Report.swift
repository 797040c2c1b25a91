import ArgumentParser
import CLoragen
import Files

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what was measured on held-out tasks, beside the baselines.",
        discussion: """
            Skill is 1 - error / error of the mean adapter: 0 is no better than always giving the mean, 1 is perfect. \
            A generator that does not beat the baselines (nearest, ridge) is not worth running.

              loragen report digits.loragen.safetensors
              loragen report digits.loragen.safetensors --json | jq .test.skill
            """)

    @Argument(help: "The generator file.")
    var generator: String

    @Flag(help: "Print the JSON as it is in the file.")
    var json = false

    func run() throws {
        let generator = try make(about: .generator) { loragen_generator_open($0, self.generator) }
        defer { loragen_generator_free(generator) }
        let report = string(loragen_generator_report(generator))
        print(json ? report : try reportText(report))
    }
}

/// A report as text: what was measured, with one column for each set of held-out tasks, so that a generator's number
/// stands above those of its baselines. `isBrief` leaves out all but the skill.
func reportText(_ text: String, isBrief: Bool = false) throws -> String {
    let report = try JSON.parse(text, source: "report")
    guard case .object(let members) = report else { return try report.text(indent: 2) }
    var measured = ReportTable()
    var lines: [[String]] = []
    for member in members.members {
        switch member.value {
        case .object(let object) where object["skill"] != nil:
            measured.add(object, column: member.name)
        case .object(let object):
            lines += try object.members.map { ["\(member.name).\($0.name)", try cell($0.value)] }
        default:
            lines.append([member.name, try cell(member.value)])
        }
    }
    if isBrief {
        let verdict = members["verdict"]?.string.map { "\n\n" + $0 } ?? ""
        return try measured.text { $0 == "skill" } + verdict
    }
    let width = lines.reduce(0) { max($0, $1[0].count) }
    let facts = lines.map { $0[0] + String(repeating: " ", count: width + 2 - $0[0].count) + $0[1] }
    return try measured.text() + "\n\n" + facts.joined(separator: "\n")
}

/// Rows of a report by their path, "skill" / "ridge", with a value in each column that has one.
private struct ReportTable {
    private var columns: [String] = []
    private var rows: [(group: String, name: String, values: [String: JSON])] = []

    mutating func add(_ section: JSONObject, column: String) {
        columns.append(column)
        for member in section.members {
            switch member.value {
            case .object(let object):
                for entry in object.members { set(member.name, entry.name, entry.value, column) }
            case .array(let list):
                for (index, item) in list.enumerated() { add(item, of: member.name, index, column) }
            default: set("", member.name, member.value, column)
            }
        }
    }

    /// One item of a list: its first text names it, its numbers are rows.
    private mutating func add(_ item: JSON, of group: String, _ index: Int, _ column: String) {
        guard case .object(let object) = item else { return set(group, String(index), item, column) }
        let name = object.members.lazy.compactMap(\.value.string).first ?? String(index)
        for entry in object.members where entry.value.string == nil {
            set("\(group): \(entry.name)", name, entry.value, column)
        }
    }

    private mutating func set(_ group: String, _ name: String, _ value: JSON, _ column: String) {
        if let row = rows.firstIndex(where: { $0.group == group && $0.name == name }) {
            rows[row].values[column] = value
        } else {
            rows.append((group, name, [column: value]))
        }
    }

    func text(where isWanted: (_ group: String) -> Bool = { _ in true }) throws -> String {
        var groups: [String] = []
        for row in rows where isWanted(row.group) && !groups.contains(row.group) { groups.append(row.group) }
        var lines: [[String]] = []
        for group in groups {
            if !group.isEmpty { lines.append([group] + columns.map { _ in "" }) }
            for row in rows where row.group == group {
                let values = try columns.map { column in
                    guard let value = row.values[column] else { return "–" }
                    return group == "skill" ? value.double.map { fixed($0, 3) } ?? "–" : try cell(value)
                }
                lines.append([(group.isEmpty ? "" : "  ") + row.name] + values)
            }
        }
        return table([""] + columns, lines)
    }
}

private func cell(_ value: JSON) throws -> String {
    switch value {
    case .null: "–"
    case .integer(let value): String(value)
    case .number(let value): significant(value)
    case .string(let text): text
    case .bool(let value): value ? "yes" : "no"
    case .array, .object: try value.text()
    }
}
