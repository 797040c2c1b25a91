import Cutf8proc
import Tensor

/// Unicode's normal forms.
enum NormalForm: String {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    private var options: utf8proc_option_t {
        let kind = self == .nfc || self == .nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE
        let compatible = self == .nfkc || self == .nfkd ? UTF8PROC_COMPAT.rawValue : 0
        return utf8proc_option_t(rawValue: UTF8PROC_STABLE.rawValue | kind.rawValue | compatible)
    }

    func callAsFunction(_ text: UTF8Text) throws(LoragenError) -> UTF8Text {
        if text.isASCII { return text }
        if text.count >= 1 << 20 { try Memory.require(12 * Double(text.count), for: "normalising a text") }
        var result = UTF8Text()
        result.reserveCapacity(text.count + text.count / 2)
        // Scalars that are new since the reference's tables neither change nor take part there.
        var segment: [Int32] = []
        var place = 0
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            place += length
            if Exceptions.unnormalised.contains(value) {
                try finish(&segment, into: &result)
                result.append(scalar: value)
            } else {
                try decompose(value, into: &segment)
            }
        }
        try finish(&segment, into: &result)
        return result
    }

    private func decompose(_ value: UInt32, into segment: inout [Int32]) throws(LoragenError) {
        if value < 0x80 { return segment.append(Int32(bitPattern: value)) }
        var (parts, boundary) = ([Int32](repeating: 0, count: 32), Int32(0))
        let count = parts.withUnsafeMutableBufferPointer { parts in
            utf8proc_decompose_char(
                Int32(bitPattern: value), parts.baseAddress, parts.count, options, &boundary)
        }
        guard count >= 0, count <= parts.count else {
            throw LoragenError(.internalError, "the scalar \(value) has no normal form: \(count)")
        }
        segment += parts[..<count]
    }

    /// Puts marks into their order and composes. utf8proc's own ordering takes the square of the number of marks.
    private func finish(_ segment: inout [Int32], into result: inout UTF8Text) throws(LoragenError) {
        if segment.isEmpty { return }
        order(&segment)
        if self == .nfc || self == .nfkc {
            let count = segment.withUnsafeMutableBufferPointer { buffer in
                utf8proc_normalize_utf32(buffer.baseAddress, buffer.count, options)
            }
            guard count >= 0, count <= segment.count else {
                throw LoragenError(.internalError, "a text could not be composed: \(count)")
            }
            segment.removeLast(segment.count - count)
        }
        for value in segment { result.append(scalar: UInt32(bitPattern: value)) }
        segment.removeAll(keepingCapacity: true)
    }

    private func order(_ segment: inout [Int32]) {
        var start = 0
        while start < segment.count {
            guard combiningClass(segment[start]) != 0 else {
                start += 1
                continue
            }
            var end = start + 1
            while end < segment.count, combiningClass(segment[end]) != 0 { end += 1 }
            if end - start > 1 {
                let marks = segment[start..<end].enumerated().map { (combiningClass($1), $0, $1) }
                for (offset, mark) in marks.sorted(by: { ($0.0, $0.1) < ($1.0, $1.1) }).enumerated() {
                    segment[start + offset] = mark.2
                }
            }
            start = end
        }
    }

    private func combiningClass(_ value: Int32) -> Int16 {
        value < 0x300 ? 0 : utf8proc_get_property(value).pointee.combining_class
    }
}
