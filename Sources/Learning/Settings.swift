import Files
import Tensor

/// A method's settings by name. A preset gives all of them; a caller may override single ones, which are checked against
/// the preset's kinds, so that a misspelt name is an error and not silence.
public struct Settings: Equatable, Sendable {
    public private(set) var values: JSONObject

    public init(_ values: JSONObject) { self.values = values }

    /// The same with values of a JSON text replaced. Throws `.invalidArgument` for what the preset does not have.
    public func overridden(by text: String) throws(LoragenError) -> Settings {
        let json: JSON
        do throws(LoragenError) { json = try JSON.parse(text, source: "settings") } catch {
            throw LoragenError(.invalidArgument, error.message)
        }
        guard let object = json.object else {
            throw LoragenError(.invalidArgument, "settings: expected a JSON object, found \(json.kind)")
        }
        var result = self
        for member in object.members {
            guard let old = values[member.name] else {
                let names = values.members.map(\.name).joined(separator: ", ")
                throw LoragenError(
                    .invalidArgument, "settings: there is no \"\(member.name)\"; this preset has \(names)")
            }
            let fits =
                switch (old, member.value) {
                case (.string, .string), (.integer, .integer), (.number, .integer), (.number, .number), (.bool, .bool):
                    true
                default: false
                }
            guard fits else {
                throw LoragenError(
                    .invalidArgument,
                    "settings: \"\(member.name)\" is \(member.value.kind); expected something like \(old.kind)")
            }
            result.values[member.name] = member.value
        }
        return result
    }

    /// Whether the method has such a setting.
    public func has(_ name: String) -> Bool { values[name] != nil }

    public func integer(_ name: String, _ range: ClosedRange<Int>) throws(LoragenError) -> Int {
        guard let value = values[name]?.integer, range.contains(value) else {
            throw wrong(name, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    public func number(_ name: String, _ range: ClosedRange<Double>) throws(LoragenError) -> Double {
        guard let value = values[name]?.double, range.contains(value) else {
            throw wrong(name, "a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    public func choice(_ name: String, _ options: [String]) throws(LoragenError) -> String {
        guard let value = values[name]?.string, options.contains(value) else {
            throw wrong(name, "one of " + options.map { "\"\($0)\"" }.joined(separator: ", "))
        }
        return value
    }

    public func text(_ name: String) throws(LoragenError) -> String {
        guard let value = values[name]?.string else { throw wrong(name, "a text") }
        return value
    }

    public func flag(_ name: String) throws(LoragenError) -> Bool {
        guard let value = values[name]?.bool else { throw wrong(name, "true or false") }
        return value
    }

    /// Whole numbers, separated by commas.
    public func integers(_ name: String) throws(LoragenError) -> [Int] {
        let parts = values[name]?.string?.split(separator: ",", omittingEmptySubsequences: false) ?? []
        let numbers = parts.compactMap { Int($0) }
        guard !parts.isEmpty, numbers.count == parts.count else {
            throw wrong(name, "whole numbers separated by commas")
        }
        return numbers
    }

    private func wrong(_ name: String, _ expected: String) -> LoragenError {
        LoragenError(
            .invalidArgument, "settings: \"\(name)\" is \(values[name]?.kind ?? "missing"); expected \(expected)")
    }
}
