import Files
import Tensor

/// One tensor of a GGUF file.
public struct GGUFTensor: Sendable {
    let name: String
    let type: GGUFType
    /// Row-major, slowest dimension first: the reverse of the file's order.
    public let shape: [Int]
    let count: Int
    /// Its bytes in the file.
    let range: Range<Int>
}

/// A GGUF file of version 2 or 3, mapped: keys and tensor places read and checked as ggml 0.25.3 checks them.
/// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
public final class GGUFFile: Sendable {
    public let path: String
    public let values: [String: GGUFValue]
    let tensors: [GGUFTensor]
    private let file: MappedFile
    private let index: [ByteKey: Int]

    /// The longest name that ggml keeps, its NUL left out.
    static let nameLimit = 63
    static let defaultAlignment = 32
    private static let lengthLimit = UInt64(1) << 30

    convenience init(path: String) throws(LoragenError) { try self.init(file: MappedFile(path: path)) }

    public init(file: MappedFile) throws(LoragenError) {
        self.file = file
        path = file.path
        var reader = ByteReader(file.bytes, source: file.path)
        let counts = try Self.start(&reader)
        var values: [String: GGUFValue] = [:]
        for _ in 0..<counts.keys {
            let start = reader.position
            let key = try Self.string(&reader, "a key")
            if key.isEmpty { throw reader.error("an empty key", at: start) }
            let value = try Self.value(&reader, key)
            if values.updateValue(value, forKey: key) != nil {
                throw reader.error("key '\(shortened(key))' a second time", at: start)
            }
        }
        self.values = values
        var alignment = Self.defaultAlignment
        if let value = values["general.alignment"] {
            guard value.kind == .u32, let number = value.integer, number > 0, number & (number - 1) == 0 else {
                throw LoragenError(.format, "\(path): 'general.alignment' is not a power of two of type u32")
            }
            alignment = number
        }
        (tensors, index) = try Self.tensors(&reader, count: counts.tensors, alignment: alignment)
    }

    /// Whether a file begins as GGUF does.
    public static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.starts(with: Array("GGUF".utf8)) }

    public func tensor(_ name: String) -> GGUFTensor? { index[ByteKey(name)].map { tensors[$0] } }

    /// A key's text. Throws `.format` when it is missing or no text.
    func text(_ key: String) throws(LoragenError) -> String {
        guard let value = values[key] else { throw LoragenError(.format, "\(path): it has no key '\(key)'") }
        guard let text = value.string else {
            throw LoragenError(.format, "\(path): key '\(key)' is of type \(value.kind); expected a string")
        }
        return text
    }

    /// A tensor's bytes; valid while this object lives.
    func bytes(of tensor: GGUFTensor) -> UnsafeRawBufferPointer {
        guard tensor.range.lowerBound >= 0, tensor.range.upperBound <= file.size else {
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        return UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range])
    }

    private static func start(_ reader: inout ByteReader) throws(LoragenError) -> (keys: UInt64, tensors: UInt64) {
        let magic = try reader.take(4, "the magic")
        if !isOne(magic) { throw reader.error("it does not begin with 'GGUF'", at: 0) }
        let version = try reader.next(UInt32.self, "the version")
        if version != 2 && version != 3 {
            let swapped = version.byteSwapped == 2 || version.byteSwapped == 3
            throw LoragenError(
                .version,
                "\(reader.source): byte 4: "
                    + (swapped
                        ? "a big-endian file; expected little-endian"
                        : "GGUF version \(version); this library reads 2 and 3"))
        }
        let tensors = try reader.next(UInt64.self, "the number of tensors")
        let keys = try reader.next(UInt64.self, "the number of keys")
        // The smallest entries there can be: what does not fit need not be tried.
        let rest = UInt64(reader.bytes.count - reader.position)
        if tensors > rest / 24 || keys > rest / 13 {
            throw reader.error("\(tensors) tensors and \(keys) keys cannot be in \(rest) bytes", at: 8)
        }
        return (keys, tensors)
    }

    private static func string(_ reader: inout ByteReader, _ what: String) throws(LoragenError) -> String {
        let length = try reader.next(UInt64.self, "the length of \(what)")
        if length > lengthLimit { throw reader.error("\(what) of \(length) bytes", at: reader.position - 8) }
        return try reader.text(length, what)
    }

    private static func value(_ reader: inout ByteReader, _ key: String) throws(LoragenError) -> GGUFValue {
        let kind = try kind(&reader, key)
        let what = "key '\(shortened(key))'"
        switch kind {
        case .u8: return .integer(Int64(try reader.next(UInt8.self, what)), kind)
        case .i8: return .integer(Int64(try reader.next(Int8.self, what)), kind)
        case .u16: return .integer(Int64(try reader.next(UInt16.self, what)), kind)
        case .i16: return .integer(Int64(try reader.next(Int16.self, what)), kind)
        case .u32: return .integer(Int64(try reader.next(UInt32.self, what)), kind)
        case .i32: return .integer(Int64(try reader.next(Int32.self, what)), kind)
        case .i64: return .integer(try reader.next(Int64.self, what), kind)
        case .u64:
            let value = try reader.next(UInt64.self, what)
            return Int64(exactly: value).map { .integer($0, kind) } ?? .large(value)
        case .f32: return .float(Double(Float(bitPattern: try reader.next(UInt32.self, what))), kind)
        case .f64: return .float(Double(bitPattern: try reader.next(UInt64.self, what)), kind)
        case .bool: return .bool(try reader.next(UInt8.self, what) != 0)
        case .string: return .string(try string(&reader, what))
        case .array: return try array(&reader, key)
        }
    }

    private static func kind(_ reader: inout ByteReader, _ key: String) throws(LoragenError) -> GGUFKind {
        let code = try reader.next(UInt32.self, "the type of key '\(shortened(key))'")
        guard let kind = GGUFKind(rawValue: code) else {
            throw reader.error("key '\(shortened(key))' is of the unknown type \(code)", at: reader.position - 4)
        }
        return kind
    }

    private static func array(_ reader: inout ByteReader, _ key: String) throws(LoragenError) -> GGUFValue {
        let kind = try kind(&reader, key)
        let count = try reader.next(UInt64.self, "the length of key '\(shortened(key))'")
        if kind == .array || count > lengthLimit {
            throw reader.error("key '\(shortened(key))' is an array of \(count) \(kind)", at: reader.position - 12)
        }
        let start = reader.position
        if kind == .string {
            for _ in 0..<count {
                let length = try reader.next(UInt64.self, "a string of key '\(shortened(key))'")
                if length > lengthLimit { throw reader.error("a string of \(length) bytes", at: reader.position - 8) }
                _ = try reader.take(length, "a string of key '\(shortened(key))'")
            }
        } else {
            _ = try reader.take(count * UInt64(kind.size), "key '\(shortened(key))'")
        }
        return .array(of: kind, count: Int(count), start: start)
    }

    private static func tensors(
        _ reader: inout ByteReader, count: UInt64, alignment: Int
    ) throws(LoragenError) -> ([GGUFTensor], [ByteKey: Int]) {
        var entries: [(tensor: GGUFTensor, offset: UInt64, size: Int)] = []
        var index: [ByteKey: Int] = [:]
        for _ in 0..<count {
            let start = reader.position
            let name = try string(&reader, "a tensor's name")
            if name.isEmpty || name.utf8.count > nameLimit || hasNUL(name) {
                throw reader.error(
                    "the tensor name '\(shortened(name))' has \(name.utf8.count) bytes or a NUL; expected 1 to "
                        + "\(nameLimit) without", at: start)
            }
            if index.updateValue(entries.count, forKey: ByteKey(name)) != nil {
                throw reader.error("tensor '\(name)' a second time", at: start)
            }
            let rank = try reader.next(UInt32.self, "tensor '\(name)'")
            if rank < 1 || rank > 4 {
                throw reader.error("tensor '\(name)' has \(rank) dimensions; expected 1 to 4", at: reader.position - 4)
            }
            var shape: [Int] = []
            for _ in 0..<rank {
                guard let dimension = Int(exactly: try reader.next(UInt64.self, "tensor '\(name)'")) else {
                    throw reader.error("tensor '\(name)' has a dimension that is too large", at: reader.position - 8)
                }
                shape.insert(dimension, at: 0)
            }
            let code = try reader.next(UInt32.self, "tensor '\(name)'")
            guard let type = GGUFType.of(code) else {
                throw reader.error("tensor '\(name)' is of the unknown type \(code)", at: reader.position - 4)
            }
            guard let size = type.byteCount(shape: shape) else {
                throw reader.error(
                    "tensor '\(name)': \(type.name) \(shape) overflows, or its rows are not whole blocks of "
                        + "\(type.block.elements)", at: start)
            }
            let offset = try reader.next(UInt64.self, "tensor '\(name)'")
            let tensor = GGUFTensor(name: name, type: type, shape: shape, count: size.elements, range: 0..<0)
            entries.append((tensor, offset, size.bytes))
        }
        return (try place(entries, reader, alignment), index)
    }

    /// Data begins at the next multiple of the alignment, and the tensors follow each other exactly.
    private static func place(
        _ entries: [(tensor: GGUFTensor, offset: UInt64, size: Int)], _ reader: ByteReader, _ alignment: Int
    ) throws(LoragenError) -> [GGUFTensor] {
        func padded(_ value: Int) throws(LoragenError) -> Int {
            let (sum, overflow) = value.addingReportingOverflow(alignment - 1)
            if overflow { throw reader.error("the tensors together overflow a file's size") }
            return sum & ~(alignment - 1)
        }
        let dataStart = try padded(reader.position)
        var next = 0
        var tensors: [GGUFTensor] = []
        tensors.reserveCapacity(entries.count)
        for (tensor, offset, size) in entries {
            if offset != UInt64(next) {
                throw reader.error("tensor '\(tensor.name)' has the offset \(offset); expected \(next)")
            }
            let (begin, overflow) = dataStart.addingReportingOverflow(next)
            if overflow || begin > reader.bytes.count || size > reader.bytes.count - begin {
                throw reader.error(
                    "tensor '\(tensor.name)' takes \(size) bytes, but the file ends at byte \(reader.bytes.count). Is it "
                        + "cut off?", at: begin)
            }
            tensors.append(
                GGUFTensor(
                    name: tensor.name, type: tensor.type, shape: tensor.shape, count: tensor.count,
                    range: begin..<(begin + size)))
            next = try padded(next + size)
        }
        return tensors
    }
}
