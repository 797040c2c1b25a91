import Tensor

/// A FlatBuffers file: little-endian, every offset checked before it is followed, as FlatBuffers' own verifier does.
struct FlatBuffer {
    let bytes: UnsafeRawBufferPointer
    let source: String

    /// The root table of a file with the identifier. Throws `.format`.
    func root(identifier: String) throws(LoragenError) -> FlatTable {
        guard bytes.count >= 8, bytes[4..<8].elementsEqual(identifier.utf8) else {
            throw error("it has no FlatBuffers identifier '\(identifier)'", at: 4)
        }
        return try table(at: try follow(0))
    }

    func error(_ message: String, at place: Int) -> LoragenError {
        LoragenError(.format, "\(source): byte \(place): \(message)")
    }

    func number<Number: FixedWidthInteger>(at place: Int, _ type: Number.Type = Number.self) throws(LoragenError)
        -> Number
    {
        guard place >= 0, place <= bytes.count, bytes.count - place >= MemoryLayout<Number>.size else {
            throw error("an offset points beyond the file's end, byte \(bytes.count)", at: place)
        }
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: Number.self))
    }

    /// Where the offset at `place` points: forward, to a multiple of 4.
    func follow(_ place: Int) throws(LoragenError) -> Int {
        let offset = Int(try number(at: place, UInt32.self))
        if offset == 0 || (place + offset) % 4 != 0 || place + offset >= bytes.count {
            throw error("an offset of \(offset), which leads nowhere", at: place)
        }
        return place + offset
    }

    fileprivate func table(at place: Int) throws(LoragenError) -> FlatTable {
        let vtable = place - Int(try number(at: place, Int32.self))
        let size = Int(try number(at: vtable, UInt16.self))
        let tableSize = Int(try number(at: vtable + 2, UInt16.self))
        guard vtable % 2 == 0, size >= 4, size % 2 == 0, bytes.count - vtable >= size, tableSize >= 4,
            bytes.count - place >= tableSize
        else { throw error("a table or its list of fields goes beyond the file's end", at: place) }
        return FlatTable(buffer: self, place: place, vtable: vtable, fields: (size - 4) / 2, size: tableSize)
    }
}

/// One table: its fields by number.
struct FlatTable {
    let buffer: FlatBuffer
    let place: Int
    fileprivate let vtable: Int
    fileprivate let fields: Int
    fileprivate let size: Int

    /// Where the field's bytes are, `nil` when the table does not have it.
    private func field(_ number: Int, size width: Int) throws(LoragenError) -> Int? {
        if number >= fields { return nil }
        let offset = Int(try buffer.number(at: vtable + 4 + 2 * number, UInt16.self))
        if offset == 0 { return nil }
        if offset < 4 || offset + width > size || (place + offset) % 4 != 0 {
            throw buffer.error("field \(number) of a table is outside of it", at: place)
        }
        return place + offset
    }

    /// A number, 0 when the table does not have it.
    func int32(_ number: Int) throws(LoragenError) -> Int32 {
        guard let field = try field(number, size: 4) else { return 0 }
        return try buffer.number(at: field)
    }

    /// The elements of a vector, `nil` when the table does not have it.
    func vector(_ number: Int, width: Int) throws(LoragenError) -> (count: Int, start: Int)? {
        guard let field = try field(number, size: 4) else { return nil }
        let start = try buffer.follow(field)
        let count = Int(try buffer.number(at: start, UInt32.self))
        guard count <= (buffer.bytes.count - start - 4) / width else {
            throw buffer.error("\(count) elements of \(width) bytes go beyond the file's end", at: start)
        }
        return (count, start + 4)
    }

    func string(_ number: Int) throws(LoragenError) -> String? {
        guard let (count, start) = try vector(number, width: 1) else { return nil }
        guard start + count < buffer.bytes.count, buffer.bytes[start + count] == 0 else {
            throw buffer.error("a text without a NUL at its end", at: start)
        }
        guard
            let text = String(
                validating: UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<(start + count)]), as: UTF8.self)
        else { throw buffer.error("a text that is not valid UTF-8", at: start) }
        return text
    }

    /// The tables that a vector of offsets leads to.
    func tables(_ number: Int) throws(LoragenError) -> [FlatTable] {
        guard let (count, start) = try vector(number, width: 4) else { return [] }
        var tables: [FlatTable] = []
        tables.reserveCapacity(count)
        for i in 0..<count { tables.append(try buffer.table(at: try buffer.follow(start + 4 * i))) }
        return tables
    }
}
