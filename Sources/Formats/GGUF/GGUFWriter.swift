import Files
import Tensor

/// Writes a GGUF file of version 3, little-endian. The tensors' bytes are asked for one tensor at a time.
struct GGUFWriter {
    private struct Entry {
        let name: String
        let type: GGUFType
        let shape: [Int]
        let byteCount: Int
        let source: SafetensorsWriter.Source
    }

    private var keys: [(key: String, value: GGUFValue)] = []
    private var entries: [Entry] = []
    private var names: Set<ByteKey> = []

    /// Adds a key, in the order of the calls.
    mutating func set(_ key: String, _ value: GGUFValue) { keys.append((key, value)) }

    /// Adds a tensor of the row-major shape. Throws `.unsupported` for what ggml does not take.
    mutating func add(
        _ name: String, type: GGUFType, shape: [Int], source: @escaping SafetensorsWriter.Source
    ) throws(LoragenError) {
        if name.isEmpty || name.utf8.count > GGUFFile.nameLimit {
            throw LoragenError(
                .unsupported,
                "tensor '\(shortened(name))': GGUF takes names of at most \(GGUFFile.nameLimit) bytes")
        }
        guard (1...4).contains(shape.count), let size = type.byteCount(shape: shape) else {
            throw LoragenError(
                .unsupported,
                "tensor '\(name)': \(type.name) has blocks of \(type.block.elements) elements, which do not divide the "
                    + "last dimension of \(shape); use F16 or F32")
        }
        if !names.insert(ByteKey(name)).inserted {
            throw LoragenError(.unsupported, "two modules become the GGUF tensor '\(name)'")
        }
        entries.append(Entry(name: name, type: type, shape: shape, byteCount: size.bytes, source: source))
    }

    func write(to path: String) throws(LoragenError) {
        let entries = entries.sorted { precedes($0.name, $1.name) }
        let header = header(entries)
        var size = header.count
        for entry in entries { size += Self.padded(entry.byteCount) }
        let file = try AtomicFile(path: path, expectedSize: size)
        try file.append(header)
        for entry in entries {
            var count = 0
            try entry.source { (raw) throws(LoragenError) in
                count += raw.count
                try file.append(raw)
            }
            if count != entry.byteCount {
                throw LoragenError(
                    .internalError, "tensor '\(entry.name)': \(count) bytes were given for \(entry.byteCount)")
            }
            try file.append([UInt8](repeating: 0, count: Self.padded(count) - count))
        }
        try file.commit()
    }

    private static func padded(_ value: Int) -> Int {
        (value + GGUFFile.defaultAlignment - 1) & ~(GGUFFile.defaultAlignment - 1)
    }

    private func header(_ entries: [Entry]) -> [UInt8] {
        var bytes = Array("GGUF".utf8)
        bytes.append(number: UInt32(3))
        bytes.append(number: UInt64(entries.count))
        bytes.append(number: UInt64(keys.count))
        for (key, value) in keys {
            bytes.append(gguf: key)
            bytes.append(number: value.kind.rawValue)
            switch value {
            case .integer(let number, let kind):
                bytes += withUnsafeBytes(of: number.littleEndian) { Array($0.prefix(kind.size)) }
            case .large(let number): bytes.append(number: number)
            case .float(let number, .f32): bytes.append(number: Float(number).bitPattern)
            case .float(let number, _): bytes.append(number: number.bitPattern)
            case .bool(let value): bytes.append(value ? 1 : 0)
            case .string(let text): bytes.append(gguf: text)
            // An adapter of ours has none.
            case .array(let kind, _, _):
                bytes.append(number: kind.rawValue)
                bytes.append(number: UInt64(0))
            }
        }
        var offset = 0
        for entry in entries {
            bytes.append(gguf: entry.name)
            bytes.append(number: UInt32(entry.shape.count))
            for dimension in entry.shape.reversed() { bytes.append(number: UInt64(dimension)) }
            bytes.append(number: entry.type.code)
            bytes.append(number: UInt64(offset))
            offset += Self.padded(entry.byteCount)
        }
        return bytes + [UInt8](repeating: 0, count: Self.padded(bytes.count) - bytes.count)
    }
}

extension [UInt8] {
    /// Appends a number, little-endian.
    mutating func append(number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }

    /// Appends a length of 64 bits and the text.
    fileprivate mutating func append(gguf text: String) {
        append(number: UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}
