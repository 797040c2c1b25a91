import Tensor

extension JSON {
    /// The order of an object's members in a written text.
    public enum Order: Sendable {
        /// As they were added.
        case given
        /// By the UTF-8 bytes of their names.
        case sorted
    }

    /// The value as text: the same value gives the same bytes. Doubles come out as the shortest text that reads back as
    /// the same double, and always with '.' or exponent, so that they stay doubles. `indent` 0 writes one line.
    /// Throws `.nonFinite` for NaN and infinity, `.invalidArgument` beyond `depthLimit`.
    public func text(order: Order = .given, indent: Int = 0) throws(LoragenError) -> String {
        var output: [UInt8] = []
        try write(into: &output, order: order, indent: indent, depth: 0)
        return String(decoding: output, as: UTF8.self)
    }

    private func write(into output: inout [UInt8], order: Order, indent: Int, depth: Int) throws(LoragenError) {
        switch self {
        case .null: output += Array("null".utf8)
        case .bool(let value): output += Array((value ? "true" : "false").utf8)
        case .integer(let value): output += Array(String(value).utf8)
        case .number(let value):
            guard value.isFinite else { throw LoragenError(.nonFinite, "JSON has no number for \(value)") }
            output += Array(value.description.utf8)
        case .string(let value): JSON.appendQuoted(value, to: &output)
        case .array(let values):
            try JSON.bracket("[", "]", values.isEmpty, &output, indent, depth) { (output) throws(LoragenError) in
                for (i, value) in values.enumerated() {
                    JSON.separate(i, &output, indent, depth)
                    try value.write(into: &output, order: order, indent: indent, depth: depth + 1)
                }
            }
        case .object(let object):
            var members = object.members
            if order == .sorted { members.sort { precedes($0.name, $1.name) } }
            try JSON.bracket("{", "}", members.isEmpty, &output, indent, depth) { (output) throws(LoragenError) in
                for (i, member) in members.enumerated() {
                    JSON.separate(i, &output, indent, depth)
                    JSON.appendQuoted(member.name, to: &output)
                    output.append(UInt8(ascii: ":"))
                    if indent > 0 { output.append(0x20) }
                    try member.value.write(into: &output, order: order, indent: indent, depth: depth + 1)
                }
            }
        }
    }

    private static func bracket(
        _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ isEmpty: Bool, _ output: inout [UInt8], _ indent: Int,
        _ depth: Int, _ body: (inout [UInt8]) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        if depth >= depthLimit {
            throw LoragenError(.invalidArgument, "JSON nested more than \(depthLimit) deep")
        }
        output.append(UInt8(truncatingIfNeeded: open.value))
        try body(&output)
        if !isEmpty { newLine(&output, indent, depth) }
        output.append(UInt8(truncatingIfNeeded: close.value))
    }

    private static func separate(_ i: Int, _ output: inout [UInt8], _ indent: Int, _ depth: Int) {
        if i > 0 { output.append(UInt8(ascii: ",")) }
        newLine(&output, indent, depth + 1)
    }

    private static func newLine(_ output: inout [UInt8], _ indent: Int, _ depth: Int) {
        if indent <= 0 { return }
        output.append(0x0a)
        output.append(contentsOf: repeatElement(0x20, count: min(indent, 16) * depth))
    }

    /// A string in quotes, with the escapes of serde_json: quote, backslash and control characters, all else as it is.
    static func appendQuoted(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                output.append(UInt8(ascii: "\\"))
                output.append(byte)
            case 0x08: output += [0x5c, UInt8(ascii: "b")]
            case 0x09: output += [0x5c, UInt8(ascii: "t")]
            case 0x0a: output += [0x5c, UInt8(ascii: "n")]
            case 0x0c: output += [0x5c, UInt8(ascii: "f")]
            case 0x0d: output += [0x5c, UInt8(ascii: "r")]
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                output += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
