import Cutf8proc
import Files
import Tensor

/// SentencePiece's `precompiled_charsmap`: a double array of what is replaced, and the texts that replace it.
/// Read as `tokenizers` does, which differs from SentencePiece: the shortest entry that a cluster begins with replaces all
/// of the cluster.
struct PrecompiledMap: Sendable {
    private let units: [UInt32]
    private let pool: [UInt8]

    init(_ bytes: [UInt8], source: String) throws(LoragenError) {
        let what = "\(source): precompiled_charsmap"
        if bytes.isEmpty {
            (units, pool) = ([], [])
            return
        }
        var reader = Words(bytes: bytes)
        guard let size = reader.next(), size % 4 == 0, bytes.count >= 4 + Int(clamping: size) else {
            throw LoragenError(.format, "\(what): it is cut off at byte \(bytes.count)")
        }
        var units: [UInt32] = []
        for _ in 0..<(size / 4) { units.append(reader.next() ?? 0) }
        self.units = units
        pool = Array(bytes[reader.place...])
        guard pool.isEmpty || String(validating: pool, as: UTF8.self) != nil else {
            throw LoragenError(.format, "\(what): its texts are not UTF-8")
        }
    }

    /// From base64.
    init(base64 text: String, source: String) throws(LoragenError) {
        guard let bytes = decodeBase64(text) else {
            throw LoragenError(.format, "\(source): precompiled_charsmap is not base64")
        }
        try self.init(bytes, source: source)
    }

    private struct Words {
        let bytes: [UInt8]
        var place = 0

        mutating func next() -> UInt32? {
            guard place + 4 <= bytes.count else { return nil }
            var value: UInt32 = 0
            for offset in 0..<4 { value |= UInt32(bytes[place + offset]) << UInt32(8 * offset) }
            place += 4
            return value
        }
    }

    func callAsFunction(_ text: UTF8Text) -> UTF8Text {
        if units.isEmpty { return text }
        var result = UTF8Text()
        result.reserveCapacity(text.count)
        var place = 0
        while place < text.count {
            let end = clusterEnd(text, from: place)
            if end - place < 6, let replacement = transform(text[place..<end]) {
                result += replacement
            } else {
                while place < end {
                    let next = min(end, place + scalar(text, at: place).length)
                    if let replacement = transform(text[place..<next]) {
                        result += replacement
                    } else {
                        result += text[place..<next]
                    }
                    place = next
                }
            }
            place = end
        }
        return result
    }

    /// Where the grapheme cluster that begins here ends.
    private func clusterEnd(_ text: UTF8Text, from start: Int) -> Int {
        var (last, length) = scalar(text, at: start)
        var (place, state) = (start + length, Int32(0))
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            if last < 0x80, value < 0x80, last != 13 || value != 10 { break }
            if utf8proc_grapheme_break_stateful(Int32(bitPattern: last), Int32(bitPattern: value), &state) { break }
            last = value
            place += length
        }
        return min(place, text.count)
    }

    /// The text for the shortest entry that these bytes begin with.
    private func transform(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let root = units.first else { return nil }
        var place = offset(root)
        for byte in bytes {
            if byte == 0 { return nil }
            place ^= Int(byte)
            guard place < units.count else { return nil }
            let unit = units[place]
            guard unit & (1 << 31 | 0xff) == UInt32(byte) else { return nil }
            place ^= offset(unit)
            guard place < units.count else { return nil }
            guard unit >> 8 & 1 == 1 else { continue }
            let start = Int(units[place] & 0x7fff_ffff)
            guard start < pool.count else { return nil }
            let end = pool[start...].firstIndex(of: 0) ?? pool.count
            // Both ends between scalars: what comes out stays UTF-8.
            guard pool[start] & 0xc0 != 0x80 else { return nil }
            return pool[start..<end]
        }
        return nil
    }

    private func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & (1 << 9)) >> 6) }
}

private func decodeBase64(_ text: String) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count / 4 * 3)
    var (bits, count) = (UInt32(0), 0)
    for byte in text.utf8 {
        let digit: UInt32
        switch byte {
        case 0x41...0x5a: digit = UInt32(byte) - 0x41
        case 0x61...0x7a: digit = UInt32(byte) - 0x61 + 26
        case 0x30...0x39: digit = UInt32(byte) - 0x30 + 52
        case 0x2b: digit = 62
        case 0x2f: digit = 63
        case 0x3d: continue
        default: return nil
        }
        bits = (bits & 0xffff) << 6 | digit
        count += 6
        if count >= 8 {
            count -= 8
            result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    return result
}
