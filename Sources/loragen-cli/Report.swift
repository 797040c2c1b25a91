import Adapters
import ArgumentParser
import CLoragen

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
        let generator = try make { loragen_generator_open($0, self.generator) }
        defer { loragen_generator_free(generator) }
        let report = string(loragen_generator_report(generator))
        print(json ? report : try reportText(report))
    }
}

/// A report as text. Its members are sections; in a section, an object of numbers is a row with a column for each name,
/// so that a generator's number stands beside those of its baselines; everything else is a line.
func reportText(_ text: String) throws -> String {
    let report = try JSON.parse(text, source: "report")
    guard case .object(let sections) = report else { return try report.text(indent: 2) }
    var blocks: [String] = []
    var lines: [String] = []
    for section in sections.members {
        if case .object(let section_) = section.value {
            blocks.append(try block(section.name, section_))
        } else {
            lines.append("\(section.name)  \(try cell(section.value))")
        }
    }
    if !lines.isEmpty { blocks.insert(lines.joined(separator: "\n"), at: 0) }
    return blocks.joined(separator: "\n\n")
}

private func block(_ title: String, _ section: JSONObject) throws -> String {
    var names: [String] = []
    var rows: [(name: String, values: JSONObject)] = []
    var lines: [String] = []
    for member in section.members {
        if let values = numbers(member.value) {
            names += values.members.map(\.name).filter { !names.contains($0) }
            rows.append((member.name, values))
        } else {
            lines.append("  \(member.name)  \(try cell(member.value))")
        }
    }
    var text: [String] = []
    if rows.isEmpty {
        text.append(title)
    } else {
        let cells = try rows.map { row in
            [row.name] + (try names.map { try row.values[$0].map { try cell($0) } ?? "–" })
        }
        text.append(table([title] + names, cells))
    }
    return (text + lines).joined(separator: "\n")
}

/// The members of an object that holds nothing but numbers (and nulls, for what could not be measured).
private func numbers(_ value: JSON) -> JSONObject? {
    guard case .object(let object) = value, object.count > 0 else { return nil }
    let isRow = object.members.allSatisfy { member in
        switch member.value {
        case .integer, .number, .null: true
        default: false
        }
    }
    return isRow ? object : nil
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
