import Learning
import Tensor

/// The methods that a host can name.
public enum MethodRegistry {
    public struct Entry: Sendable {
        public let name: String
        let presets: [(name: String, settings: Settings)]
        /// Whether a training reads the vectors in batches; methods that do not need all of them at once.
        public var streams = false
        /// What settings and the size of a problem fix. Throws `.invalidArgument` for settings that make no method.
        public let plan: @Sendable (Settings, ProblemSize) throws(LoragenError) -> Plan
    }

    static let entries: [Entry] = [CondPDiff.entry, RPG.entry] + baselineEntries

    public static func entry(_ name: String) throws(LoragenError) -> Entry {
        guard let entry = entries.first(where: { $0.name == name }) else {
            let names = entries.map { "\"\($0.name)\"" }.joined(separator: ", ")
            throw LoragenError(.invalidArgument, "there is no method \"\(name)\"; there are \(names)")
        }
        return entry
    }

    public static func settings(method: String, preset: String) throws(LoragenError) -> Settings {
        let entry = try entry(method)
        guard let found = entry.presets.first(where: { $0.name == preset }) else {
            let names = entry.presets.map { "\"\($0.name)\"" }.joined(separator: ", ")
            throw LoragenError(.invalidArgument, "\"\(method)\" has no preset \"\(preset)\"; it has \(names)")
        }
        return found.settings
    }
}
