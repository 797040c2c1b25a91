import Files
import Tensor

/// A zip file whose members are stored without compression: its directory read and checked, members in place.
struct ZipFile {
    struct Member {
        let name: String
        /// Of the bytes in the file.
        let range: Range<Int>
        let checksum: UInt32
    }

    let path: String
    let members: [Member]
    private let file: MappedFile

    static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.starts(with: [0x50, 0x4b, 3, 4]) }

    /// Throws `.format` for a directory that is not sound and for members that overlap, `.unsupported` for compressed or
    /// encrypted members.
    init(file: MappedFile) throws(LoragenError) {
        self.file = file
        path = file.path
        var reader = ByteReader(file.bytes, source: file.path)
        let (count, start) = try Self.directory(&reader)
        reader.position = start
        var members: [Member] = []
        var names: Set<ByteKey> = []
        for _ in 0..<count {
            let place = reader.position
            let member = try Self.member(&reader)
            if !names.insert(ByteKey(member.name)).inserted {
                throw reader.error("member '\(shortened(member.name))' a second time", at: place)
            }
            members.append(member)
        }
        var end = 0
        for member in members.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
            if member.range.lowerBound < end || member.range.upperBound > start {
                throw reader.error(
                    "member '\(shortened(member.name))' overlaps another or the directory", at: member.range.lowerBound)
            }
            end = member.range.upperBound
        }
        self.members = members
    }

    /// A member's bytes, checked against its checksum; valid while the mapped file lives.
    func bytes(of member: Member) throws(LoragenError) -> UnsafeRawBufferPointer {
        let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[member.range])
        var checksum = CRC32()
        checksum.add(bytes)
        if checksum.value != member.checksum {
            throw LoragenError(
                .format,
                "\(path): byte \(member.range.lowerBound): member '\(shortened(member.name))' has another checksum than its "
                    + "entry says; the file is damaged")
        }
        return bytes
    }

    /// Number of members, and where the directory begins.
    private static func directory(_ reader: inout ByteReader) throws(LoragenError) -> (count: Int, start: Int) {
        let bytes = reader.bytes
        var end = bytes.count - 22
        let lowest = max(0, bytes.count - 22 - 0xffff)
        while end >= lowest,
            bytes.loadUnaligned(fromByteOffset: max(end, 0), as: UInt32.self).littleEndian != 0x0605_4b50
        {
            end -= 1
        }
        if end < lowest { throw reader.error("no directory of a zip file at its end. Is it cut off?", at: bytes.count) }
        reader.position = end + 8
        var count = UInt64(try reader.next(UInt16.self, "the directory"))
        _ = try reader.next(UInt16.self, "the directory")
        var size = UInt64(try reader.next(UInt32.self, "the directory"))
        var start = UInt64(try reader.next(UInt32.self, "the directory"))
        if count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
            reader.position = end - 20
            if try reader.next(UInt32.self, "the zip64 directory") == 0x0706_4b50 {
                _ = try reader.next(UInt32.self, "the zip64 directory")
                let place = try reader.next(UInt64.self, "the zip64 directory")
                guard place <= UInt64(bytes.count) else { throw reader.error("the zip64 directory is not in the file") }
                reader.position = Int(place)
                guard try reader.next(UInt32.self, "the zip64 directory") == 0x0606_4b50 else {
                    throw reader.error("not a zip64 directory", at: Int(place))
                }
                _ = try reader.take(20, "the zip64 directory")
                _ = try reader.next(UInt64.self, "the zip64 directory")
                count = try reader.next(UInt64.self, "the zip64 directory")
                size = try reader.next(UInt64.self, "the zip64 directory")
                start = try reader.next(UInt64.self, "the zip64 directory")
            }
        }
        guard start <= UInt64(end), size <= UInt64(end) - start, count <= size / 46 else {
            throw reader.error("a directory of \(count) members in \(size) bytes at byte \(start)", at: end)
        }
        return (Int(count), Int(start))
    }

    private static func member(_ reader: inout ByteReader) throws(LoragenError) -> Member {
        let place = reader.position
        guard try reader.next(UInt32.self, "an entry") == 0x0201_4b50 else {
            throw reader.error("not an entry of a zip file's directory", at: place)
        }
        _ = try reader.take(4, "an entry")
        let flags = try reader.next(UInt16.self, "an entry")
        let method = try reader.next(UInt16.self, "an entry")
        _ = try reader.take(4, "an entry")
        let checksum = try reader.next(UInt32.self, "an entry")
        var stored = UInt64(try reader.next(UInt32.self, "an entry"))
        var size = UInt64(try reader.next(UInt32.self, "an entry"))
        let nameLength = UInt64(try reader.next(UInt16.self, "an entry"))
        let extraLength = UInt64(try reader.next(UInt16.self, "an entry"))
        let commentLength = UInt64(try reader.next(UInt16.self, "an entry"))
        _ = try reader.take(8, "an entry")
        var offset = UInt64(try reader.next(UInt32.self, "an entry"))
        let name = try reader.text(nameLength, "a member's name")
        let extra = try reader.take(extraLength, "an entry")
        _ = try reader.take(commentLength, "an entry")
        if method != 0 || flags & 1 != 0 {
            throw LoragenError(
                .unsupported,
                "\(reader.source): byte \(place): member '\(shortened(name))' is compressed or encrypted; write the file "
                    + "with numpy.savez, not savez_compressed")
        }
        var fields = ByteReader(extra, source: reader.source)
        while fields.position + 4 <= extra.count {
            let kind = try fields.next(UInt16.self, "an entry")
            var body = ByteReader(
                try fields.take(UInt64(try fields.next(UInt16.self, "an entry")), "an entry"), source: reader.source)
            if kind != 1 { continue }
            if size == 0xffff_ffff { size = try body.next(UInt64.self, "a zip64 entry") }
            if stored == 0xffff_ffff { stored = try body.next(UInt64.self, "a zip64 entry") }
            if offset == 0xffff_ffff { offset = try body.next(UInt64.self, "a zip64 entry") }
        }
        if size != stored { throw reader.error("member '\(shortened(name))' has two sizes", at: place) }
        let next = reader.position
        defer { reader.position = next }
        guard offset <= UInt64(reader.bytes.count) else {
            throw reader.error("member '\(shortened(name))' begins beyond the file's end", at: place)
        }
        reader.position = Int(offset)
        guard try reader.next(UInt32.self, "a member") == 0x0403_4b50 else {
            throw reader.error("no member begins here", at: Int(offset))
        }
        _ = try reader.take(22, "a member")
        let localName = UInt64(try reader.next(UInt16.self, "a member"))
        let localExtra = UInt64(try reader.next(UInt16.self, "a member"))
        if try !reader.take(localName, "a member").elementsEqual(name.utf8) {
            throw reader.error("member '\(shortened(name))' has another name in the directory", at: Int(offset))
        }
        _ = try reader.take(localExtra, "a member")
        let start = reader.position
        _ = try reader.take(size, "member '\(shortened(name))'")
        return Member(name: name, range: start..<(start + Int(size)), checksum: checksum)
    }
}
