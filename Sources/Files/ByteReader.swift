import Tensor

/// Reads little-endian numbers and pieces of a file's bytes from the front, never beyond their end.
public struct ByteReader {
    public let bytes: UnsafeRawBufferPointer
    /// The file, for messages.
    public let source: String
    public var position = 0

    public init(_ bytes: UnsafeRawBufferPointer, source: String) {
        self.bytes = bytes
        self.source = source
    }

    /// The next number. Throws `.format` saying that `what` is cut off.
    public mutating func next<Number: FixedWidthInteger>(
        _ type: Number.Type = Number.self, _ what: @autoclosure () -> String
    ) throws(LoragenError) -> Number {
        let raw = try take(UInt64(MemoryLayout<Number>.size), what())
        return Number(littleEndian: raw.loadUnaligned(as: Number.self))
    }

    /// The next bytes, which stay valid as long as the file's.
    public mutating func take(_ count: UInt64, _ what: @autoclosure () -> String) throws(LoragenError)
        -> UnsafeRawBufferPointer
    {
        guard position >= 0, position <= bytes.count, count <= UInt64(bytes.count - position) else {
            throw error("\(what()) takes \(count) bytes, but the file ends at byte \(bytes.count)")
        }
        defer { position += Int(count) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + Int(count))])
    }

    /// The next bytes as text. Throws `.format` unless they are UTF-8.
    public mutating func text(_ count: UInt64, _ what: @autoclosure () -> String) throws(LoragenError) -> String {
        let start = position
        let raw = try take(count, what())
        if count >= 1 << 20 { try Memory.require(2 * Double(count), for: "\(source): \(what())") }
        guard let text = String(validating: raw, as: UTF8.self) else {
            throw error("\(what()) is not valid UTF-8", at: start)
        }
        return text
    }

    /// A `.format` error at the present byte or another.
    public func error(_ message: String, at place: Int? = nil) -> LoragenError {
        LoragenError(.format, "\(source): byte \(place ?? position): \(message)")
    }
}
