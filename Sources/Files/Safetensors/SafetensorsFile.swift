import Tensor

/// A safetensors file, mapped: its header read and checked, its tensors in place.
public final class SafetensorsFile: Sendable {
    public let path: String
    public let metadata: [String: String]
    /// In the order of their bytes in the file.
    public let tensors: [SafetensorsTensor]
    /// Where the first tensor begins in the file.
    public let dataStart: Int
    let file: MappedFile
    private let index: [ByteKey: Int]

    /// Maps the file and checks its header. Throws `.io`, and `.format` for anything that the reference reader would
    /// reject, and for names or fields that it would drop silently.
    public convenience init(path: String) throws(LoragenError) {
        try self.init(file: MappedFile(path: path))
    }

    /// Reads a safetensors image that is in memory already.
    public init(file: MappedFile) throws(LoragenError) {
        let header = try SafetensorsHeader(file: file.bytes, path: file.path)
        path = file.path
        metadata = header.metadata
        tensors = header.tensors
        dataStart = header.dataStart
        self.file = file
        index = header.index
    }

    /// The same bytes without the list of tensors, for those who hold the tensors that they read.
    public var unlisted: SafetensorsFile { SafetensorsFile(bytesOf: self) }

    private init(bytesOf other: SafetensorsFile) {
        (path, dataStart, file) = (other.path, other.dataStart, other.file)
        (metadata, tensors, index) = ([:], [], [:])
    }

    /// The tensor of that name, `nil` if there is none.
    public func tensor(_ name: String) -> SafetensorsTensor? { index[ByteKey(name)].map { tensors[$0] } }

    /// The tensor of that name. Throws `.format` naming the file when there is none.
    public func require(_ name: String) throws(LoragenError) -> SafetensorsTensor {
        guard let tensor = tensor(name) else {
            throw LoragenError(.format, "\(path): tensor '\(shortened(name))' is missing")
        }
        return tensor
    }

    /// The tensor of that name, of that type and shape. Throws `.format` with both shapes when it is another.
    public func require(
        _ name: String, type: ElementType, shape: [Int]
    ) throws(LoragenError) -> SafetensorsTensor {
        let tensor = try require(name)
        if tensor.type != type || tensor.shape != shape {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(name))' is \(tensor.type.rawValue) \(tensor.shape); expected "
                    + "\(type.rawValue) \(shape)")
        }
        return tensor
    }

    /// The tensor's bytes in the map, little-endian, maybe unaligned; valid while this object lives.
    /// The tensor must be one of this file.
    public func bytes(of tensor: SafetensorsTensor) -> UnsafeRawBufferPointer {
        guard tensor.begin >= 0, tensor.begin <= tensor.end, tensor.end <= file.size - dataStart else {
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        return UnsafeRawBufferPointer(rebasing: file.bytes[(dataStart + tensor.begin)..<(dataStart + tensor.end)])
    }

    /// Converts F32, F16, BF16 or F64 to float32 into `target`, which has `tensor.count` elements.
    /// Throws `.format` for other types and `.invalidArgument` for another count.
    public func read(
        _ tensor: SafetensorsTensor, into target: UnsafeMutableBufferPointer<Float>
    ) throws(LoragenError) {
        guard tensor.type.isReadable else {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); expected F32, F16, BF16, F64, F8_E4M3 or F8_E5M2"
            )
        }
        let source = bytes(of: tensor)
        guard tensor.count == target.count, source.count == tensor.byteCount else {
            throw LoragenError(
                .invalidArgument,
                "\(path): tensor '\(shortened(tensor.name))' has \(tensor.count) elements; the target has "
                    + "\(target.count)")
        }
        tensor.type.convert(source, to: target)
        withExtendedLifetime(self) {}
    }

    /// A float tensor as float32.
    public func floats(_ name: String) throws(LoragenError) -> [Float] {
        let tensor = try require(name)
        guard tensor.type.isReadable else {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(name))' is \(tensor.type.rawValue); expected F32, F16, BF16, F64, F8_E4M3 or F8_E5M2"
            )
        }
        try requireMemory(for: tensor)
        var failure: LoragenError?
        let values = [Float](unsafeUninitializedCapacity: tensor.count) { buffer, count in
            do throws(LoragenError) {
                try read(tensor, into: UnsafeMutableBufferPointer(rebasing: buffer[..<tensor.count]))
                count = tensor.count
            } catch { failure = error }
        }
        if let failure { throw failure }
        return values
    }

    /// Asks for the memory of a copy, in the wider of float32 and the stored type.
    private func requireMemory(for tensor: SafetensorsTensor) throws(LoragenError) {
        if tensor.count < 1 << 18 { return }
        try Memory.require(
            Double(max(tensor.byteCount, 4 * tensor.count)), for: "\(path): tensor '\(shortened(tensor.name))'")
    }

    /// Elements of a type that is stored as it is in memory: Int8 for I8, Int16 for I16, Int32, Int64, UInt8, Double.
    /// Throws `.format` when the tensor is of another type.
    public func elements<Element: SafetensorsElement>(
        _ name: String, of: Element.Type = Element.self
    ) throws(LoragenError) -> [Element] {
        let tensor = try require(name)
        guard tensor.type == Element.elementType else {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(name))' is \(tensor.type.rawValue); expected "
                    + Element.elementType.rawValue)
        }
        try requireMemory(for: tensor)
        let source = bytes(of: tensor)
        let values = [Element](unsafeUninitializedCapacity: tensor.count) { buffer, count in
            UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
            count = tensor.count
        }
        withExtendedLifetime(self) {}
        return values
    }
}

/// A Swift type whose memory is a safetensors element type.
public protocol SafetensorsElement: BitwiseCopyable {
    static var elementType: ElementType { get }
}

extension Int8: SafetensorsElement { public static var elementType: ElementType { .i8 } }
extension UInt8: SafetensorsElement { public static var elementType: ElementType { .u8 } }
extension Int16: SafetensorsElement { public static var elementType: ElementType { .i16 } }
extension Int32: SafetensorsElement { public static var elementType: ElementType { .i32 } }
extension Int64: SafetensorsElement { public static var elementType: ElementType { .i64 } }
extension UInt64: SafetensorsElement { public static var elementType: ElementType { .u64 } }
extension Float: SafetensorsElement { public static var elementType: ElementType { .f32 } }
extension Double: SafetensorsElement { public static var elementType: ElementType { .f64 } }

extension SafetensorsFile {
    /// Converts elements `range` of a float tensor to float32 into `target`, which has room for them, and takes their
    /// pages out of memory.
    public func read(
        _ tensor: SafetensorsTensor, range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        guard tensor.type.isReadable, range.lowerBound >= 0, range.upperBound <= tensor.count else {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue) with \(tensor.count) elements; "
                    + "expected a float and at least \(range.upperBound)")
        }
        let width = tensor.type.bits / 8
        let source = bytes(of: tensor)
        guard source.count == tensor.count * width else {
            throw LoragenError(.invalidArgument, "\(path): tensor '\(shortened(tensor.name))' is of another file")
        }
        let part = range.lowerBound * width..<range.upperBound * width
        tensor.type.convert(
            UnsafeRawBufferPointer(rebasing: source[part]),
            to: UnsafeMutableBufferPointer(start: target, count: range.count))
        release(tensor, part)
    }

    /// Takes the pages of some bytes of a tensor out of memory; they stay readable.
    public func release(_ tensor: SafetensorsTensor, _ bytes: Range<Int>) {
        let start = dataStart + tensor.begin
        file.release(start + bytes.lowerBound..<start + bytes.upperBound)
    }
}
