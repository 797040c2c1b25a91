// Numbers and tables for people, without Foundation.

/// A number with `places` digits after the point: "0.412".
public func fixed(_ value: Double, _ places: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return value.isNaN ? "–" : "\(value)" }
    let scale = (0..<places).reduce(1) { scale, _ in scale * 10 }
    guard let whole = Int(exactly: (abs(value) * Double(scale)).rounded()) else { return "\(value)" }
    let sign = value < 0 && whole != 0 ? "-" : ""
    if places == 0 { return sign + String(whole) }
    return sign + String(whole / scale) + "." + padded(String(whole % scale), places, with: "0")
}

/// A number with `digits` significant digits: "0.0123", "1.23e-07".
public func significant(_ value: Double, _ digits: Int = 4) -> String {
    guard value.isFinite else { return value.isNaN ? "–" : "\(value)" }
    if value == 0 { return "0" }
    var exponent = 0
    var size = abs(value)
    while size >= 10 { (size, exponent) = (size / 10, exponent + 1) }
    while size < 1 { (size, exponent) = (size * 10, exponent - 1) }
    if exponent < -4 || exponent > 9 {
        return (value < 0 ? "-" : "") + fixed(size, digits - 1) + "e\(exponent)"
    }
    return fixed(value, max(0, digits - 1 - exponent))
}

/// A setting: "16", "0.5".
public func plain(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? String(value)
}

/// "33 s", "4 min 05 s", "2 h 10 min".
public func duration(_ seconds: Double) -> String {
    let whole = Int(exactly: max(0, seconds).rounded()) ?? 0
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return "\(whole / 60) min \(padded(String(whole % 60), 2, with: "0")) s" }
    return "\(whole / 3600) h \(padded(String(whole % 3600 / 60), 2, with: "0")) min"
}

/// A text filled up from the left.
public func padded(_ text: String, _ width: Int, with fill: Character = " ") -> String {
    String(repeating: fill, count: max(0, width - text.count)) + text
}

/// Rows under a header, in columns; numbers to the right, all else to the left.
public func table(_ header: [String], _ rows: [[String]]) -> String {
    let columns = header.indices
    let widths = columns.map { column in
        rows.reduce(header[column].count) { max($0, column < $1.count ? $1[column].count : 0) }
    }
    let isNumber = columns.map { column in
        rows.allSatisfy { column >= $0.count || ["", "–"].contains($0[column]) || Double($0[column]) != nil }
    }
    return ([header] + rows).map { row in
        var line = ""
        for column in columns {
            let cell = column < row.count ? row[column] : ""
            let fill = String(repeating: " ", count: widths[column] - cell.count)
            line += (column == 0 ? "" : "  ") + (isNumber[column] ? fill + cell : cell + fill)
        }
        while line.last == " " { line.removeLast() }
        return line
    }.joined(separator: "\n")
}
