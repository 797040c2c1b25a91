import Files
import Learning
import Tensor

/// A method that a host can name.
public struct MethodEntry: Sendable {
    public let name: String
    /// The first is the default.
    public let presets: [(name: String, settings: Settings)]
    /// Whether a training reads the vectors in batches; methods that do not need all of them at once.
    public var streams = false
    /// Whether it is here to be beaten.
    public var isBaseline = false
    /// What settings and the size of a problem fix. Throws `.invalidArgument` for settings that make no method.
    public let plan: @Sendable (Settings, ProblemSize) throws(LoragenError) -> Plan

    public func settings(preset: String) throws(LoragenError) -> Settings {
        guard let found = presets.first(where: { $0.name == preset }) else {
            let names = presets.map { "\"\($0.name)\"" }.joined(separator: ", ")
            throw LoragenError(.invalidArgument, "\"\(name)\" has no preset \"\(preset)\"; it has \(names)")
        }
        return found.settings
    }
}

public let methods = Registry("method", [CondPDiff.entry, RPG.entry] + baselines) { $0.name }
