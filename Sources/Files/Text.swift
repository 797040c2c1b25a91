// Names and numbers as messages show them, without Foundation.

/// A text from a file, fit for a message: one line, at most 80 characters, control characters made visible.
public func shortened(_ text: String) -> String {
    var result = ""
    var count = 0
    for scalar in text.unicodeScalars {
        if count == 80 { return result + "…" }
        if scalar.value < 0x20 || scalar.value == 0x7f {
            result += "\\u{\(String(scalar.value, radix: 16))}"
        } else {
            result.unicodeScalars.append(scalar)
        }
        count += 1
    }
    return result
}

/// The first names of a list, and how many more there are: for messages.
public func listed(_ names: [String], limit: Int = 4) -> String {
    let shown = names.prefix(limit).joined(separator: ", ")
    return names.count > limit ? "\(shown) and \(names.count - limit) more" : shown
}

/// "1 adapter", "2 adapters".
public func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// A number with `digits` digits after the point.
public func decimal(_ value: Double, _ digits: Int = 2) -> String {
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
public func compact(_ value: Double) -> String {
    let size = abs(value)
    if value == 0 { return "0" }
    if size < 1e-4 || size >= 1e7 {
        // Fewer digits, where single precision reaches.
        let short = Float(value)
        return short.isNormal ? "\(short)" : "\(value)"
    }
    return decimal(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : size >= 0.01 ? 4 : 6)
}
