import Tensor

/// One tensor of a safetensors file: its name, type, shape and place.
public struct SafetensorsTensor: Equatable, Sendable {
    public let name: String
    public let type: ElementType
    /// Row-major; empty for a single number.
    public let shape: [Int]
    /// Product of the shape.
    public let count: Int
    /// Where its bytes are, counted from the end of the header.
    public let begin: Int
    public let end: Int

    public var byteCount: Int { end - begin }
}

/// The header of a safetensors file: `u64 length | JSON object | tensors back to back`.
/// Format: huggingface/safetensors 0.8.0, and stricter where that reader is lax: no name twice, no unknown fields.
struct SafetensorsHeader {
    /// The reference's own limit for the JSON text.
    static let sizeLimit = 100_000_000
    static let rankLimit = 8
    static let nameLimit = 4096
    static let tensorLimit = 1 << 20

    var metadata: [String: String] = [:]
    /// In the order of their bytes in the file.
    var tensors: [SafetensorsTensor] = []
    /// Index into `tensors` by name.
    var index: [ByteKey: Int] = [:]
    /// Where the first tensor begins in the file.
    var dataStart = 0

    /// Reads and checks the header of a file whose bytes are all in `file`. Throws `.format` with the byte at fault.
    init(file: UnsafeRawBufferPointer, path: String) throws(LoragenError) {
        guard file.count >= 8 else {
            throw LoragenError(
                .format, "\(path): \(file.count) bytes; a safetensors file has at least 8 for the header's length")
        }
        let length = UInt64(littleEndian: file.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.sizeLimit) else {
            throw LoragenError(
                .format,
                "\(path): byte 0: a header of \(length) bytes; safetensors allows \(Self.sizeLimit). "
                    + "Is it a safetensors file?")
        }
        guard length <= UInt64(file.count - 8) else {
            throw LoragenError(
                .format,
                "\(path): byte 0: a header of \(length) bytes, but only \(file.count - 8) follow. Is the file cut off?")
        }
        dataStart = 8 + Int(length)
        // An entry of some 120 bytes of text becomes about five times as many of names, shapes and their index.
        if length >= 1 << 20 { try Memory.require(8 * Double(length), for: "\(path): its header") }
        let text = UnsafeRawBufferPointer(rebasing: file[8..<dataStart])
        var reader = Reader(scanner: JSONScanner(bytes: text, source: path, origin: 8))
        try reader.read()
        metadata = reader.metadata
        tensors = reader.tensors
        index = reader.index
        sortByPlace()
        try checkPlaces(size: file.count - dataStart, path: path)
    }

    /// Most files have their entries in the order of the bytes; the others are sorted here.
    private mutating func sortByPlace() {
        let places = tensors.enumerated().map { (begin: $1.begin, end: $1.end, old: $0) }
        func isBefore(_ a: (begin: Int, end: Int, old: Int), _ b: (begin: Int, end: Int, old: Int)) -> Bool {
            (a.begin, a.end) < (b.begin, b.end)
        }
        if zip(places, places.dropFirst()).allSatisfy({ !isBefore($1, $0) }) { return }
        let sorted = places.sorted(by: isBefore)
        var new = [Int](repeating: 0, count: sorted.count)
        for (place, entry) in sorted.enumerated() { new[entry.old] = place }
        tensors = sorted.map { tensors[$0.old] }
        index = index.mapValues { new[$0] }
    }

    /// Sorted by place, the tensors must cover the bytes after the header exactly: no hole, no overlap, no rest.
    private func checkPlaces(size: Int, path: String) throws(LoragenError) {
        if tensors.isEmpty { throw LoragenError(.format, "\(path): there is no tensor in it") }
        var next = 0
        for tensor in tensors {
            if tensor.begin != next {
                let what = tensor.begin < next ? "overlaps the tensor before it" : "leaves a hole before it"
                throw LoragenError(
                    .format,
                    "\(path): tensor '\(shortened(tensor.name))' begins at \(tensor.begin) and \(what); "
                        + "expected \(next)")
            }
            next = tensor.end
        }
        if next != size {
            let what = next > size ? "Is the file cut off?" : "Something was added to it."
            throw LoragenError(
                .format,
                "\(path): the tensors take \(next) bytes, but \(size) follow the header (byte \(dataStart)). \(what)")
        }
    }
}

/// Goes once through the JSON text; it builds no tree, which keeps 2,000 tensors at a millisecond.
private struct Reader {
    var scanner: JSONScanner
    var metadata: [String: String] = [:]
    var tensors: [SafetensorsTensor] = []
    var index: [ByteKey: Int] = [:]
    private var hasMetadata = false

    init(scanner: JSONScanner) {
        self.scanner = scanner
        // An entry takes about 120 bytes of text; the tables then rarely grow.
        let guess = scanner.bytes.count / 120
        tensors.reserveCapacity(guess)
        index.reserveCapacity(guess)
    }

    mutating func read() throws(LoragenError) {
        if scanner.peek != UInt8(ascii: "{") || scanner.isAtEnd { throw scanner.unexpected("'{', the header's start") }
        _ = scanner.skip("{")
        if !scanner.skip("}") {
            repeat { try entry() } while scanner.skip(",")
            try scanner.expect("}", or: "','")
        }
        while scanner.peek == 0x20 { scanner.advance() }
        if !scanner.isAtEnd { throw scanner.unexpected("spaces up to the header's end") }
    }

    private mutating func entry() throws(LoragenError) {
        scanner.skipSpace()
        let position = scanner.position
        let name = try scanner.string()
        try scanner.expect(":")
        if name == "__metadata__" {
            if hasMetadata { throw scanner.error("'__metadata__' a second time", at: position) }
            hasMetadata = true
            return try readMetadata()
        }
        if name.isEmpty || name.utf8.count > SafetensorsHeader.nameLimit || hasNUL(name) {
            throw scanner.error(
                "a tensor name of \(name.utf8.count) bytes or with a NUL in it; expected 1 to "
                    + "\(SafetensorsHeader.nameLimit) bytes without", at: position)
        }
        if index.updateValue(tensors.count, forKey: ByteKey(name)) != nil {
            throw scanner.error("tensor '\(shortened(name))' a second time", at: position)
        }
        if tensors.count >= SafetensorsHeader.tensorLimit {
            throw scanner.error("more than \(SafetensorsHeader.tensorLimit) tensors", at: position)
        }
        try tensors.append(readTensor(name, at: position))
    }

    private mutating func readMetadata() throws(LoragenError) {
        try scanner.expect("{")
        if scanner.skip("}") { return }
        repeat {
            scanner.skipSpace()
            let position = scanner.position
            let key = try scanner.string()
            try scanner.expect(":")
            scanner.skipSpace()
            if scanner.peek != UInt8(ascii: "\"") {
                throw scanner.unexpected("a string: metadata '\(shortened(key))' must be text")
            }
            let value = try scanner.string()
            if metadata.updateValue(value, forKey: key) != nil {
                throw scanner.error("metadata '\(shortened(key))' a second time", at: position)
            }
        } while scanner.skip(",")
        try scanner.expect("}", or: "','")
    }

    private mutating func readTensor(_ name: String, at start: Int) throws(LoragenError) -> SafetensorsTensor {
        var type: ElementType?
        var shape: [Int]?
        var place: (begin: Int, end: Int)?
        try scanner.expect("{")
        repeat {
            scanner.skipSpace()
            let position = scanner.position
            let field = try readField(name)
            try scanner.expect(":")
            let isNew: Bool
            switch field {
            case .dtype:
                isNew = type == nil
                type = try readType(name)
            case .shape:
                isNew = shape == nil
                shape = try readShape(name)
            case .offsets:
                isNew = place == nil
                try scanner.expect("[")
                let begin = try scanner.count("a data offset")
                try scanner.expect(",")
                let end = try scanner.count("a data offset")
                try scanner.expect("]")
                place = (begin, end)
            }
            if !isNew { throw scanner.error("tensor '\(shortened(name))' has '\(field.rawValue)' twice", at: position) }
        } while scanner.skip(",")
        try scanner.expect("}", or: "','")
        guard let type, let shape, let place else {
            let missing = type == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
            throw scanner.error("tensor '\(shortened(name))' has no '\(missing)'", at: start)
        }
        guard let size = type.byteCount(shape: shape) else {
            throw scanner.error(
                "tensor '\(shortened(name))': \(type.rawValue) \(shape) overflows, or does not fill whole bytes",
                at: start)
        }
        guard place.begin <= place.end, place.end - place.begin == size.bytes else {
            throw scanner.error(
                "tensor '\(shortened(name))': \(type.rawValue) \(shape) takes \(size.bytes) bytes, but its offsets are "
                    + "[\(place.begin), \(place.end)]", at: start)
        }
        return SafetensorsTensor(
            name: name, type: type, shape: shape, count: size.elements, begin: place.begin, end: place.end)
    }

    private enum Field: String {
        case dtype, shape
        case offsets = "data_offsets"
    }

    private mutating func readField(_ tensor: String) throws(LoragenError) -> Field {
        // The usual spellings without making strings of them.
        if scanner.skip(token: "\"dtype\"") { return .dtype }
        if scanner.skip(token: "\"shape\"") { return .shape }
        if scanner.skip(token: "\"data_offsets\"") { return .offsets }
        let position = scanner.position
        let text = try scanner.string()
        guard let field = Field(rawValue: text) else {
            throw scanner.error(
                "tensor '\(shortened(tensor))' has a field '\(shortened(text))'; expected dtype, shape and "
                    + "data_offsets only", at: position)
        }
        return field
    }

    private mutating func readType(_ tensor: String) throws(LoragenError) -> ElementType {
        if scanner.skip(token: "\"F32\"") { return .f32 }
        if scanner.skip(token: "\"F16\"") { return .f16 }
        if scanner.skip(token: "\"BF16\"") { return .bf16 }
        let position = scanner.position
        let text = try scanner.string()
        guard let type = ElementType(rawValue: text) else {
            throw scanner.error(
                "tensor '\(shortened(tensor))' has the unknown dtype '\(shortened(text))'", at: position)
        }
        return type
    }

    private mutating func readShape(_ name: String) throws(LoragenError) -> [Int] {
        scanner.skipSpace()
        let position = scanner.position
        try scanner.expect("[")
        if scanner.skip("]") { return [] }
        var shape: [Int] = []
        repeat {
            let dimension = try scanner.count("a dimension")
            shape.append(dimension)
            if shape.count > SafetensorsHeader.rankLimit || dimension > 1 << 48 {
                throw scanner.error(
                    "tensor '\(shortened(name))': more than \(SafetensorsHeader.rankLimit) dimensions or one beyond "
                        + "2^48", at: position)
            }
        } while scanner.skip(",")
        try scanner.expect("]", or: "','")
        return shape
    }
}
