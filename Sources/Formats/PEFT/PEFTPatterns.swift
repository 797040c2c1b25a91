import Files
import Tensor

/// `rank_pattern` or `alpha_pattern`: the value of the first key with `re.match(r"(.*\.)?(KEY)$", module)`, as in PEFT.
struct PEFTPatterns {
    private let patterns: [(PythonPattern, Double)]

    init(_ json: JSON?, field: String, source: String) throws(LoragenError) {
        var patterns: [(PythonPattern, Double)] = []
        if let json, !json.isNull {
            guard let object = json.object else {
                throw LoragenError(.format, "\(source): '\(field)' is \(json.kind); expected an object")
            }
            for member in object.members {
                guard let value = member.value.double else {
                    throw LoragenError(
                        .format,
                        "\(source): '\(field)' gives '\(shortened(member.name))' \(member.value.kind); expected a number"
                    )
                }
                let pattern = try PythonPattern(
                    "(.*\\.)?(\(member.name))$", .start, source: "\(source): a key of '\(field)'")
                patterns.append((pattern, value))
            }
        }
        self.patterns = patterns
    }

    func value(for module: String) throws(LoragenError) -> Double? {
        for (pattern, value) in patterns where try pattern.matches(module) { return value }
        return nil
    }
}
