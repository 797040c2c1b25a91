/// The checksum of zip files (ISO 3309, polynomial 0xEDB88320), eight bytes at a time.
struct CRC32 {
    private var state: UInt32 = 0xffff_ffff

    var value: UInt32 { ~state }

    private static let tables: [[UInt32]] = {
        var tables = [[UInt32]](repeating: [UInt32](repeating: 0, count: 256), count: 8)
        for i in 0..<256 {
            var value = UInt32(i)
            for _ in 0..<8 { value = value & 1 == 1 ? 0xedb8_8320 ^ (value >> 1) : value >> 1 }
            tables[0][i] = value
        }
        for k in 1..<8 {
            for i in 0..<256 {
                let before = tables[k - 1][i]
                tables[k][i] = (before >> 8) ^ tables[0][Int(before & 0xff)]
            }
        }
        return tables
    }()

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        let tables = Self.tables
        var state = state
        var i = 0
        while i + 8 <= bytes.count {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)) ^ UInt64(state)
            var next: UInt32 = 0
            for k in 0..<8 { next ^= tables[7 - k][Int((word >> (8 * UInt64(k))) & 0xff)] }
            state = next
            i += 8
        }
        while i < bytes.count {
            state = (state >> 8) ^ tables[0][Int((state ^ UInt32(bytes[i])) & 0xff)]
            i += 1
        }
        self.state = state
    }

    mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add($0) } }
}
