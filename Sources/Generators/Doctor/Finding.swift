import Adapters
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

    init(
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

    var json: JSON {
        [
            "severity": .string(severity.rawValue), "code": .string(code), "message": .string(message),
            "advice": .string(advice), "group": group.map { JSON($0) } ?? .null, "adapters": JSON(adapters),
        ]
    }
}

/// The first names of a list, and how many more there are: for messages.
func listed(_ names: [String], limit: Int = 4) -> String {
    let shown = names.prefix(limit).joined(separator: ", ")
    return names.count > limit ? "\(shown) and \(names.count - limit) more" : shown
}

/// "1 adapter", "2 adapters".
func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// A number with `digits` digits after the point.
func decimal(_ value: Double, _ digits: Int = 2) -> String {
    guard value.isFinite, abs(value) < 1e12 else { return "\(value)" }
    let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
    let whole = Int(saturating: (abs(value) * scale).rounded())
    let sign = value < 0 && whole > 0 ? "-" : ""
    if digits == 0 { return sign + String(whole) }
    let text = String(whole)
    let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
    return sign + padded.dropLast(digits) + "." + padded.suffix(digits)
}

/// A number with four significant digits or so: "0.01234", "12.3", "1234".
func compact(_ value: Double) -> String {
    let size = abs(value)
    if value == 0 { return "0" }
    if size < 1e-4 || size >= 1e7 {
        // Fewer digits, where single precision reaches.
        let short = Float(value)
        return short.isNormal ? "\(short)" : "\(value)"
    }
    return decimal(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 6)
}

/// Linear between the values; NaN of none.
func quantile(_ values: [Double], _ share: Double) -> Double {
    if values.isEmpty { return .nan }
    let sorted = values.sorted()
    let place = share * Double(sorted.count - 1)
    let low = Int(saturating: place)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (place - Double(low)) * (sorted[high] - sorted[low])
}

/// The median of the distances from the median, as a deviation: 1.4826 of it is σ for normal values.
func deviation(_ values: [Double]) -> Double {
    let middle = quantile(values, 0.5)
    return 1.4826 * quantile(values.map { abs($0 - middle) }, 0.5)
}
