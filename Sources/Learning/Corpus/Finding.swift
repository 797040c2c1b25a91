import Files
import Tensor

/// One thing that a person who is about to train on a folder of adapters should know.
public struct Finding: Sendable {
    public enum Severity: String, Sendable, Comparable {
        case note, warning, error

        public static func < (a: Severity, b: Severity) -> Bool { a.order < b.order }
        private var order: Int { self == .note ? 0 : self == .warning ? 1 : 2 }
    }

    public let severity: Severity
    /// What kind it is: docs/doctor.md lists them.
    public let code: String
    public let message: String
    /// What to do about it.
    public let advice: String
    /// Index of the group of adapters that it is about; `nil` when it is about the folder.
    public var group: Int?
    /// Names of the adapters that it is about; empty when it is about all.
    public let adapters: [String]

    public init(
        _ severity: Severity, _ code: String, _ message: String, _ advice: String, _ adapters: [String] = []
    ) {
        self.severity = severity
        self.code = code
        self.message = message
        self.advice = advice
        self.adapters = adapters
    }

    /// Hands it to the host's log.
    public func log() {
        if severity == .note { Log.info("\(message). \(advice)") } else { Log.warning("\(message). \(advice)") }
    }

    public var json: JSON {
        [
            "severity": .string(severity.rawValue), "code": .string(code), "message": .string(message),
            "advice": .string(advice), "group": group.map { JSON($0) } ?? .null, "adapters": JSON(adapters),
        ]
    }
}
