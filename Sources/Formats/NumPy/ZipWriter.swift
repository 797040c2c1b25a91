import Files
import Tensor

/// Writes a zip file whose members are stored without compression, with the extensions of zip64 where sizes need them.
/// Dates are zip's first, 1980-01-01, so that the same members give the same bytes.
struct ZipWriter {
    private struct Member {
        let name: [UInt8]
        let checksum: UInt32
        let size: Int
        let offset: Int
    }

    private let file: AtomicFile
    private var members: [Member] = []
    private var position = 0

    private static let limit = Int(UInt32.max)
    private static let date: UInt16 = 0x21

    init(path: String, expectedSize: Int = 0) throws(LoragenError) {
        file = try AtomicFile(path: path, expectedSize: expectedSize)
    }

    /// Adds a member. `source` is asked twice: first for the checksum, which stands before the bytes.
    mutating func add(_ name: String, source: SafetensorsWriter.Source) throws(LoragenError) {
        var checksum = CRC32()
        var size = 0
        try source { (raw) throws(LoragenError) in
            checksum.add(raw)
            size += raw.count
        }
        let member = Member(name: Array(name.utf8), checksum: checksum.value, size: size, offset: position)
        var extra: [UInt8] = []
        if size >= Self.limit { extra = Self.extra([size, size]) }
        var header: [UInt8] = []
        header.append(number: UInt32(0x0403_4b50))
        header += Self.common(member, extra: extra)
        header += member.name + extra
        try file.append(header)
        var written = 0
        try source { (raw) throws(LoragenError) in
            written += raw.count
            try file.append(raw)
        }
        if written != size { throw LoragenError(.internalError, "member '\(name)' changed while it was written") }
        position += header.count + size
        members.append(member)
    }

    /// Writes the directory and puts the file in place. Once only.
    mutating func commit() throws(LoragenError) {
        var directory: [UInt8] = []
        for member in members {
            var large: [Int] = []
            if member.size >= Self.limit { large += [member.size, member.size] }
            if member.offset >= Self.limit { large.append(member.offset) }
            let extra = large.isEmpty ? [] : Self.extra(large)
            directory.append(number: UInt32(0x0201_4b50))
            directory.append(number: UInt16(45))
            directory += Self.common(member, extra: extra)
            // No comment, first disk, no attributes.
            for _ in 0..<3 { directory.append(number: UInt16(0)) }
            directory.append(number: UInt32(0))
            directory.append(number: UInt32(clamping: member.offset))
            directory += member.name + extra
        }
        let (count, start, size) = (members.count, position, directory.count)
        if count >= 0xffff || start >= Self.limit || size >= Self.limit {
            directory.append(number: UInt32(0x0606_4b50))
            directory.append(number: UInt64(44))
            for version: UInt16 in [45, 45] { directory.append(number: version) }
            for disk: UInt32 in [0, 0] { directory.append(number: disk) }
            for value in [count, count, size, start] { directory.append(number: UInt64(value)) }
            directory.append(number: UInt32(0x0706_4b50))
            directory.append(number: UInt32(0))
            directory.append(number: UInt64(start + size))
            directory.append(number: UInt32(1))
        }
        directory.append(number: UInt32(0x0605_4b50))
        for value in [0, 0, count, count] { directory.append(number: UInt16(clamping: value)) }
        directory.append(number: UInt32(clamping: size))
        directory.append(number: UInt32(clamping: start))
        directory.append(number: UInt16(0))
        try file.append(directory)
        try file.commit()
    }

    /// What the header before a member and its entry in the directory have in common.
    private static func common(_ member: Member, extra: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(number: UInt16(extra.isEmpty ? 20 : 45))
        // Bit 11: the name is UTF-8.
        bytes.append(number: UInt16(member.name.allSatisfy { $0 < 0x80 } ? 0 : 0x800))
        bytes.append(number: UInt16(0))
        bytes.append(number: UInt16(0))
        bytes.append(number: date)
        bytes.append(number: member.checksum)
        for _ in 0..<2 { bytes.append(number: UInt32(clamping: member.size)) }
        bytes.append(number: UInt16(clamping: member.name.count))
        bytes.append(number: UInt16(clamping: extra.count))
        return bytes
    }

    private static func extra(_ values: [Int]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(number: UInt16(1))
        bytes.append(number: UInt16(8 * values.count))
        for value in values { bytes.append(number: UInt64(value)) }
        return bytes
    }
}
