import Files
import Tensor

/// The text at the start of an `.npy` file, which says type, order and shape of an array.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
struct NumPyHeader: Equatable {
    var type: ElementType
    var isFortran = false
    var shape: [Int]

    private static let magic: [UInt8] = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

    /// NumPy's name of a type; it has none for BF16.
    static func name(of type: ElementType) -> String? {
        switch type {
        case .f16: "<f2"
        case .f32: "<f4"
        case .f64: "<f8"
        case .u8: "|u1"
        default: nil
        }
    }

    /// Version 1.0, padded with spaces to a multiple of 64 as NumPy does.
    func bytes() throws(LoragenError) -> [UInt8] {
        guard let name = Self.name(of: type) else {
            throw LoragenError(
                .unsupported,
                "NumPy has no \(type.rawValue); write F32, which holds every value of it exactly, or F16")
        }
        let list = shape.count == 1 ? "\(shape[0])," : shape.map(String.init).joined(separator: ", ")
        var text = Array("{'descr': '\(name)', 'fortran_order': False, 'shape': (\(list)), }".utf8)
        while (10 + text.count + 1) % 64 != 0 { text.append(0x20) }
        text.append(0x0a)
        var bytes = Self.magic + [1, 0]
        bytes.append(number: UInt16(clamping: text.count))
        return bytes + text
    }

    init(type: ElementType, shape: [Int]) {
        self.type = type
        self.shape = shape
    }

    /// Reads a header of version 1 or 2; the reader then stands at the array's bytes.
    init(_ reader: inout ByteReader, name: String) throws(LoragenError) {
        let what = "the header of '\(shortened(name))'"
        if try !reader.take(6, what).elementsEqual(Self.magic) { throw reader.error("\(what) is not NumPy's", at: 0) }
        let version = try reader.next(UInt16.self, what)
        let length: UInt64
        switch version {
        case 1: length = UInt64(try reader.next(UInt16.self, what))
        case 2: length = UInt64(try reader.next(UInt32.self, what))
        default:
            throw reader.error("\(what) is of version \(version & 0xff).\(version >> 8); expected 1.0 or 2.0", at: 6)
        }
        let start = reader.position
        // A dictionary of Python with these three entries only, without commas or braces inside the texts.
        var text = try reader.text(length, what).filter { $0 != " " && $0 != "\n" }[...]
        func wrong() -> LoragenError {
            reader.error(
                "\(what) is not a dictionary of 'descr' (<f2, <f4, <f8 or |u1), 'fortran_order' and 'shape'", at: start)
        }
        func take(_ part: String) -> Bool {
            guard text.hasPrefix(part) else { return false }
            text.removeFirst(part.count)
            return true
        }
        var type: ElementType?
        var isFortran: Bool?
        var shape: [Int]?
        guard take("{") else { throw wrong() }
        while !take("}") {
            if type == nil, take("'descr':'") {
                let code = text.prefix { $0 != "'" }
                type = ([.f16, .f32, .f64, .u8] as [ElementType]).first { Self.name(of: $0) == String(code) }
                text.removeFirst(code.count)
                guard type != nil, take("'") else { throw wrong() }
            } else if isFortran == nil, take("'fortran_order':") {
                isFortran = take("True")
                guard isFortran == true || take("False") else { throw wrong() }
            } else if shape == nil, take("'shape':(") {
                let list = text.prefix { $0 != ")" }
                text.removeFirst(list.count)
                var numbers = list.split(separator: ",", omittingEmptySubsequences: false)
                if numbers.last?.isEmpty == true { numbers.removeLast() }
                let values = numbers.compactMap { Int($0) }.filter { $0 >= 0 }
                guard values.count == numbers.count, values.count <= 8, take(")") else { throw wrong() }
                shape = values
            } else {
                throw wrong()
            }
            if !take(","), !text.hasPrefix("}") { throw wrong() }
        }
        guard let type, let isFortran, let shape, text.isEmpty else { throw wrong() }
        self.type = type
        self.isFortran = isFortran
        self.shape = shape
    }
}
