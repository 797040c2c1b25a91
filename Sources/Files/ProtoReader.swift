import Tensor

/// One field of a protobuf message, in place.
public struct ProtoField {
    public let number: Int
    /// Tag and length included.
    public let whole: Range<Int>
    /// Of length-delimited fields, and the 4 or 8 bytes of fixed ones; empty for varints.
    public let body: Range<Int>
    /// Of varints.
    public let value: UInt64
    public let isMessage: Bool
}

/// The wire format of protobuf: fields in the order of the file, nothing decoded that is not asked for.
/// https://protobuf.dev/programming-guides/encoding/
public struct ProtoReader {
    public let bytes: UnsafeRawBufferPointer
    public let source: String
    /// What to think of when the bytes are no protobuf, for messages.
    public let hint: String

    public init(bytes: UnsafeRawBufferPointer, source: String, hint: String = "Is it an ONNX model?") {
        (self.bytes, self.source, self.hint) = (bytes, source, hint)
    }

    /// The fields of the message in `range`. Throws `.format` with the byte at fault.
    public func fields(in range: Range<Int>) throws(LoragenError) -> [ProtoField] {
        guard range.lowerBound >= 0, range.upperBound <= bytes.count else { throw error("beyond the file", 0) }
        var fields: [ProtoField] = []
        var position = range.lowerBound
        while position < range.upperBound {
            let start = position
            let tag = try varint(&position, range.upperBound)
            let number = Int(tag >> 3 & 0x1fff_ffff)
            if number == 0 || tag >> 32 != 0 { throw error("not a field of a protobuf message", start) }
            var body = position..<position
            var value: UInt64 = 0
            switch tag & 7 {
            case 0: value = try varint(&position, range.upperBound)
            case 1: body = try skip(8, &position, range.upperBound)
            case 2: body = try skip(try varint(&position, range.upperBound), &position, range.upperBound)
            case 5: body = try skip(4, &position, range.upperBound)
            default: throw error("a field of the unknown wire type \(tag & 7)", start)
            }
            if fields.count >= 1 << 16, fields.count == fields.capacity {
                try Memory.require(
                    3 * fields.count, of: ProtoField.self, for: "\(source): \(fields.count) fields and more")
            }
            fields.append(
                ProtoField(
                    number: number, whole: start..<position, body: body, value: value, isMessage: tag & 7 == 2))
        }
        return fields
    }

    /// A field's text.
    public func text(_ field: ProtoField) throws(LoragenError) -> String {
        guard field.isMessage,
            let text = String(validating: UnsafeRawBufferPointer(rebasing: bytes[field.body]), as: UTF8.self)
        else { throw error("a text that is not valid UTF-8", field.whole.lowerBound) }
        return text
    }

    /// Whole numbers of a repeated field, packed or one by one.
    public func integers(_ field: ProtoField) throws(LoragenError) -> [Int] {
        if !field.isMessage { return [Int(truncatingIfNeeded: Int64(bitPattern: field.value))] }
        var result: [Int] = []
        var position = field.body.lowerBound
        while position < field.body.upperBound {
            result.append(Int(Int64(bitPattern: try varint(&position, field.body.upperBound))))
        }
        return result
    }

    public func error(_ message: String, _ place: Int) -> LoragenError {
        LoragenError(.format, "\(source): byte \(place): \(message). \(hint)")
    }

    private func skip(_ count: UInt64, _ position: inout Int, _ end: Int) throws(LoragenError) -> Range<Int> {
        if count > UInt64(end - position) {
            throw error("a field of \(count) bytes, but \(end - position) are left", position)
        }
        defer { position += Int(count) }
        return position..<(position + Int(count))
    }

    private func varint(_ position: inout Int, _ end: Int) throws(LoragenError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard position < end else { throw error("a number is cut off", position) }
            let byte = bytes[position]
            position += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return value }
        }
        throw error("a number of more than 10 bytes", position)
    }
}

/// Makes the bytes of a protobuf message.
public struct ProtoWriter {
    public private(set) var bytes: [UInt8] = []

    public init(bytes: [UInt8] = []) {
        self.bytes = bytes
    }

    public mutating func add(_ number: Int, varint value: UInt64) {
        append(UInt64(number) << 3)
        append(value)
    }

    public mutating func add(_ number: Int, text: String) { add(number, bytes: Array(text.utf8)) }

    public mutating func add(_ number: Int, message: ProtoWriter) { add(number, bytes: message.bytes) }

    public mutating func add(_ number: Int, bytes body: [UInt8]) {
        start(number, size: body.count)
        bytes += body
    }

    /// Tag and length of a field whose bytes are put after it.
    public mutating func start(_ number: Int, size: Int) {
        append(UInt64(number) << 3 | 2)
        append(UInt64(size))
    }

    private mutating func append(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
