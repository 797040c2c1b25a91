import Files

/// One thing that a check of an adapter found.
public struct VerificationFinding: Sendable, Equatable {
    public enum Severity: String, Sendable, CaseIterable {
        /// A host would refuse the adapter, leave parts of it out, or compute something else.
        case error
        /// Some host would; or the adapter is unlikely to be what was meant.
        case warning
        case note
    }

    public let severity: Severity
    /// A short name for programs: "missing-module", "wrong-shape", ...
    public let code: String
    /// What is so, and how to mend it.
    public let message: String
    /// The modules that it is about; empty when it is about all.
    public let modules: [String]

    var json: JSON {
        .object([
            "severity": .string(severity.rawValue), "code": .string(code), "message": .string(message),
            "modules": JSON(modules),
        ])
    }
}

/// What a host does with an adapter.
public struct HostVerdict: Sendable, Equatable {
    public enum Outcome: String, Sendable {
        /// Every module with the scale that the adapter states.
        case asStated = "as stated"
        /// Another scale in some modules.
        case otherScale = "other scale"
        case refused
        /// Loaded, with parts left out.
        case partial
    }

    public let host: String
    public let outcome: Outcome
    /// The smallest and largest factor before `B · A` that the host applies; `nil` when it applies none.
    public let scale: ClosedRange<Double>?
    /// Why, and what to do; empty for `asStated`.
    public let reason: String

    var json: JSON {
        var object: JSONObject = ["host": .string(host), "outcome": .string(outcome.rawValue)]
        if let scale { object["scale"] = JSON([scale.lowerBound, scale.upperBound]) }
        if !reason.isEmpty { object["reason"] = .string(reason) }
        return .object(object)
    }
}
