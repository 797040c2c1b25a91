import Tensor

/// Writes a safetensors file. With at most one metadata key its bytes are those of the reference writer
/// (huggingface/safetensors 0.8.0); with more, the keys are sorted, which the reference leaves to chance.
///
/// Tensors are laid out by type from wide to narrow, then by name; their bytes are asked for in that order, one tensor at
/// a time, when the file is written, so the file need not fit into memory.
public struct SafetensorsWriter {
    /// Takes the next bytes of a tensor.
    public typealias Sink = (UnsafeRawBufferPointer) throws(LoragenError) -> Void
    /// Gives the bytes of a tensor, little-endian and row-major, in one or more pieces.
    public typealias Source = (Sink) throws(LoragenError) -> Void

    private struct Entry {
        let name: String
        let type: ElementType
        let shape: [Int]
        let byteCount: Int
        let source: Source
    }

    public var metadata: [String: String]
    private var entries: [Entry] = []
    private var names: Set<ByteKey> = []

    public init(metadata: [String: String] = [:]) { self.metadata = metadata }

    /// Adds a tensor whose bytes `source` will give. Throws `.invalidArgument` for a name that is empty, taken or
    /// `__metadata__`, and for a shape that overflows or that a reader would refuse.
    public mutating func add(
        _ name: String, type: ElementType, shape: [Int], source: @escaping Source
    ) throws(LoragenError) {
        if name == "__metadata__" || name.isEmpty || name.utf8.count > SafetensorsHeader.nameLimit
            || hasNUL(name)
        {
            throw LoragenError(.invalidArgument, "a tensor cannot be called '\(shortened(name))' in safetensors")
        }
        guard shape.count <= SafetensorsHeader.rankLimit, shape.allSatisfy({ $0 >= 0 && $0 <= 1 << 48 }),
            let size = type.byteCount(shape: shape)
        else {
            throw LoragenError(
                .invalidArgument,
                "tensor '\(shortened(name))': \(type.rawValue) \(shape) is not a shape for safetensors")
        }
        if entries.count >= SafetensorsHeader.tensorLimit {
            throw LoragenError(.invalidArgument, "more than \(SafetensorsHeader.tensorLimit) tensors in one file")
        }
        if !names.insert(ByteKey(name)).inserted {
            throw LoragenError(.invalidArgument, "tensor '\(shortened(name))' a second time")
        }
        entries.append(Entry(name: name, type: type, shape: shape, byteCount: size.bytes, source: source))
    }

    /// Adds a tensor from memory that stays valid and unchanged until the file is written.
    public mutating func add(
        _ name: String, type: ElementType, shape: [Int], bytes: UnsafeRawBufferPointer
    ) throws(LoragenError) {
        try add(name, type: type, shape: shape) { (sink) throws(LoragenError) in try sink(bytes) }
    }

    /// Adds a tensor of elements that are stored as they are in memory.
    public mutating func add<Element: SafetensorsElement>(
        _ name: String, shape: [Int], elements: [Element]
    ) throws(LoragenError) {
        try add(name, type: Element.elementType, shape: shape) { (sink) throws(LoragenError) in
            try elements.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
        }
    }

    /// Adds float32 values, each times `scale`, as F32, F16, BF16 (to nearest even) or F64. The memory must stay valid
    /// and unchanged until the file is written. Writing throws `.nonFinite` for a value that is not finite, or would not
    /// be in the type it is stored as.
    public mutating func add(
        _ name: String, shape: [Int], floats: UnsafeBufferPointer<Float>, as type: ElementType = .f32,
        scale: Double = 1
    ) throws(LoragenError) {
        guard type.isFloat else {
            throw LoragenError(
                .invalidArgument, "tensor '\(shortened(name))': floats cannot be stored as \(type.rawValue)")
        }
        try add(name, type: type, shape: shape) { (sink) throws(LoragenError) in
            try FloatEncoder(type: type, scale: scale, name: name).encode(floats, to: sink)
        }
    }

    /// The size of the file in bytes.
    public func size() throws(LoragenError) -> Int {
        let (header, _) = header()
        return try total(after: header.count)
    }

    /// The first bytes of the file: everything before the first tensor.
    public func start() throws(LoragenError) -> [UInt8] { header().bytes }

    /// Writes the file, whole or not at all. Throws `.io`, and what a source throws.
    public func write(to path: String) throws(LoragenError) {
        let file = try AtomicFile(path: path, expectedSize: size())
        try write(into: file)
        try file.commit()
    }

    /// Appends the image of the file.
    public func write(into file: AtomicFile) throws(LoragenError) {
        try emit { (raw) throws(LoragenError) in try file.append(raw) }
    }

    /// The image of the file in memory.
    public func bytes() throws(LoragenError) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(try size())
        try emit { (raw) throws(LoragenError) in result.append(contentsOf: raw) }
        return result
    }

    private func emit(_ sink: Sink) throws(LoragenError) {
        let (header, order) = header()
        if header.count - 8 > SafetensorsHeader.sizeLimit || entries.isEmpty {
            throw LoragenError(
                .invalidArgument,
                "\(entries.count) tensors with a header of \(header.count - 8) bytes; safetensors takes 1 tensor or more "
                    + "and \(SafetensorsHeader.sizeLimit) bytes")
        }
        _ = try total(after: header.count)
        try header.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
        for entry in order {
            var count = 0
            try entry.source { (raw) throws(LoragenError) in
                count += raw.count
                if count <= entry.byteCount { try sink(raw) }
            }
            if count != entry.byteCount {
                throw LoragenError(
                    .internalError,
                    "tensor '\(shortened(entry.name))': \(count) bytes were given for \(entry.byteCount)")
            }
        }
    }

    private func total(after header: Int) throws(LoragenError) -> Int {
        var total = header
        for entry in entries {
            let (sum, overflow) = total.addingReportingOverflow(entry.byteCount)
            if overflow { throw LoragenError(.invalidArgument, "the tensors together overflow a file's size") }
            total = sum
        }
        return total
    }

    /// The first bytes of the file, and the tensors in the order of their bytes.
    private func header() -> (bytes: [UInt8], order: [Entry]) {
        let order = entries.sorted { a, b in
            a.type == b.type ? precedes(a.name, b.name) : a.type.order > b.type.order
        }
        var text: [UInt8] = [UInt8](repeating: 0, count: 8)
        text.append(UInt8(ascii: "{"))
        var isFirst = true
        if !metadata.isEmpty {
            text += Array("\"__metadata__\":{".utf8)
            for (i, key) in metadata.keys.sorted(by: precedes).enumerated() {
                if i > 0 { text.append(UInt8(ascii: ",")) }
                JSON.appendQuoted(key, to: &text)
                text.append(UInt8(ascii: ":"))
                JSON.appendQuoted(metadata[key] ?? "", to: &text)
            }
            text.append(UInt8(ascii: "}"))
            isFirst = false
        }
        var begin = 0
        for entry in order {
            if !isFirst { text.append(UInt8(ascii: ",")) }
            isFirst = false
            JSON.appendQuoted(entry.name, to: &text)
            let end = begin &+ entry.byteCount
            let shape = entry.shape.map(String.init).joined(separator: ",")
            text += Array(
                ":{\"dtype\":\"\(entry.type.rawValue)\",\"shape\":[\(shape)],\"data_offsets\":[\(begin),\(end)]}".utf8)
            begin = end
        }
        text.append(UInt8(ascii: "}"))
        while text.count % 8 != 0 { text.append(0x20) }
        let length = UInt64(text.count - 8)
        for i in 0..<8 { text[i] = UInt8(truncatingIfNeeded: length >> (8 * UInt64(i))) }
        return (text, order)
    }
}
