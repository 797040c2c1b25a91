import Files
import Tensor

/// What a tokenizer does to a text before it is cut; the names are those of tokenizer.json.
indirect enum Normalizer: Sendable {
    case bert(BertNormalizer)
    case form(NormalForm)
    case lowercase
    case stripAccents
    case strip(left: Bool, right: Bool)
    case replace(Target, UTF8Text)
    case prepend(UTF8Text)
    case precompiled(PrecompiledMap)
    case byteLevel
    case nmt
    case sequence([Normalizer])

    /// What `Replace` and `Split` look for.
    enum Target: Sendable {
        case text(UTF8Text)
        case pattern(Pattern)

        func matches(in text: UTF8Text) throws(LoragenError) -> [Range<Int>] {
            switch self {
            case .pattern(let pattern): return try pattern.matches(in: text)
            case .text(let wanted):
                guard let first = wanted.first else { return [] }
                var found: [Range<Int>] = []
                var place = 0
                while place + wanted.count <= text.count {
                    if text[place] == first, text[place..<place + wanted.count].elementsEqual(wanted) {
                        found.append(place..<place + wanted.count)
                        place += wanted.count
                    } else {
                        place += 1
                    }
                }
                return found
            }
        }
    }

    func callAsFunction(_ text: UTF8Text) throws(LoragenError) -> UTF8Text {
        switch self {
        case .bert(let normalizer): return try normalizer(text)
        case .form(let form): return try form(text)
        case .lowercase: return lowercased(text)
        case .stripAccents: return text.isASCII ? text : filtered(text) { !Scalars.isMark($0) }
        case .strip(let left, let right): return stripped(text, left: left, right: right)
        case .replace(let target, let content):
            var result = UTF8Text()
            var place = 0
            for match in try target.matches(in: text) {
                result += text[place..<match.lowerBound]
                result += content
                place = match.upperBound
            }
            if place == 0 { return text }
            return result + text[place...]
        case .prepend(let prefix): return text.isEmpty ? text : prefix + text
        case .precompiled(let map): return map(text)
        case .byteLevel: return ByteAlphabet.encode(text)
        case .nmt: return NMT.normalize(text)
        case .sequence(let steps):
            var text = text
            for step in steps { text = try step(text) }
            return text
        }
    }
}

func filtered(_ text: UTF8Text, _ isKept: (UInt32) -> Bool) -> UTF8Text {
    var result = UTF8Text()
    result.reserveCapacity(text.count)
    var place = 0
    while place < text.count {
        let (value, length) = scalar(text, at: place)
        if isKept(value) { result += text[place..<min(text.count, place + length)] }
        place += length
    }
    return result
}

private func lowercased(_ text: UTF8Text) -> UTF8Text {
    var result = UTF8Text()
    result.reserveCapacity(text.count)
    var place = 0
    while place < text.count {
        let (value, length) = scalar(text, at: place)
        Scalars.appendLowercase(value, to: &result)
        place += length
    }
    return result
}

private func stripped(_ text: UTF8Text, left: Bool, right: Bool) -> UTF8Text {
    var (start, end) = (0, text.count)
    while left, start < end {
        let (value, length) = scalar(text, at: start)
        guard Scalars.isSpace(value) else { break }
        start += length
    }
    while right, end > start {
        var last = end - 1
        while last > start, text[last] & 0xc0 == 0x80 { last -= 1 }
        guard Scalars.isSpace(scalar(text, at: last).value) else { break }
        end = last
    }
    return UTF8Text(text[start..<max(start, end)])
}

/// BERT's own: control characters out, spaces alike, ideographs apart, accents off, lower case.
struct BertNormalizer: Sendable {
    var cleanText = true
    var separatesIdeographs = true
    /// As `lowercase` when nothing is said.
    var stripAccents: Bool?
    var lowercase = true

    func callAsFunction(_ text: UTF8Text) throws(LoragenError) -> UTF8Text {
        var result = UTF8Text()
        result.reserveCapacity(text.count)
        var place = 0
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            if cleanText, value == 0 || value == 0xfffd || Scalars.isControl(value) {
            } else if cleanText, Scalars.isSpace(value) {
                result.append(0x20)
            } else if separatesIdeographs, Scalars.isIdeograph(value) {
                result.append(0x20)
                result += text[place..<min(text.count, place + length)]
                result.append(0x20)
            } else {
                result += text[place..<min(text.count, place + length)]
            }
            place += length
        }
        if stripAccents ?? lowercase, !result.isASCII {
            result = filtered(try NormalForm.nfd(result)) { !Scalars.isNonspacingMark($0) }
        }
        return lowercase ? lowercased(result) : result
    }
}

/// The normaliser of Google's translation models in SentencePiece: some control characters out, some are spaces.
private enum NMT {
    static func normalize(_ text: UTF8Text) -> UTF8Text {
        var result = UTF8Text()
        result.reserveCapacity(text.count)
        var place = 0
        while place < text.count {
            let (value, length) = scalar(text, at: place)
            place += length
            switch value {
            case 1...8, 0xb, 0xe...0x1f, 0x7f, 0x8f, 0x9f: break
            case 9, 0xa, 0xc, 0xd, 0x1680, 0x200b...0x200f, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd: result.append(0x20)
            default: result.append(scalar: value)
            }
        }
        return result
    }
}

/// The printable characters that byte-level tokenizers write each byte as (GPT-2).
enum ByteAlphabet {
    /// The UTF-8 of the character that stands for each byte.
    static let characters: [UTF8Text] = {
        var next: UInt32 = 256
        return (UInt32(0)..<256).map { byte in
            var text = UTF8Text()
            switch byte {
            case 0x21...0x7e, 0xa1...0xac, 0xae...0xff: text.append(scalar: byte)
            default:
                text.append(scalar: next)
                next += 1
            }
            return text
        }
    }()

    static func encode(_ text: UTF8Text) -> UTF8Text {
        let characters = characters
        var result = UTF8Text()
        result.reserveCapacity(2 * text.count)
        for byte in text { result += characters[Int(byte)] }
        return result
    }
}
