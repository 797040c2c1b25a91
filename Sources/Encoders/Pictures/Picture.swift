import CImages
import Files
import Tensor

/// A picture as rows of red, green and blue, 8 bits each.
public struct Picture: Sendable, Equatable {
    public let width: Int
    public let height: Int
    /// [height, width, 3]
    public let pixels: [UInt8]

    init(width: Int, height: Int, pixels: [UInt8]) {
        (self.width, self.height, self.pixels) = (width, height, pixels)
    }
}

/// How a file of a picture is read.
public struct PictureOptions: Sendable, Equatable {
    /// What becomes of pixels that are transparent in part.
    public enum Transparency: Sendable { case onWhite, dropped }

    /// As the camera was held: the file's EXIF orientation (or XMP's) is applied, as `PIL.ImageOps.exif_transpose` does.
    /// The processors of `transformers` leave it to whoever opens the file; a host that hands in a path means what people
    /// see.
    public var upright = true
    /// On white is what is seen on most pages, and what `transformers` does since version 5; Pillow's `convert("RGB")`
    /// alone, and `transformers` before, drop the alpha and take whatever colours lie under it.
    public var transparency = Transparency.onWhite
    /// Pictures of more pixels are refused before anything is allocated. Pillow refuses at the same number.
    public var pixelLimit = 178_956_970

    public init() {}

    /// The limit, where no number of bytes or of rows can overflow.
    var effectiveLimit: Int { min(pixelLimit, 1 << 31) }
}

extension Picture {
    /// Reads a PNG, JPEG or WebP file. Throws `.io`, `.format` for what is damaged or cut off, `.unsupported` for other
    /// files and for more pixels than `options` allow.
    public init(path: String, options: PictureOptions = .init()) throws(LoragenError) {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        try self.init(file: file.bytes, name: path, options: options)
    }

    /// Decodes the bytes of a PNG, JPEG or WebP file; `name` stands for it in messages. What Pillow's `convert("RGB")`
    /// makes of it: grey in three channels, palettes looked up, 16 bits cut to 8 (of grey ones, values above 255 are 255),
    /// CMYK by Adobe's convention. No colour profile is applied. Of an animation, the first frame.
    public init(
        file: UnsafeRawBufferPointer, name: String, options: PictureOptions = .init()
    ) throws(LoragenError) {
        let header = try Self.header(file, name, options)
        let (width, height) = (Int(header.width), Int(header.height))
        let orientation = options.upright ? Orientation(file: file) : .upright
        let copies = orientation == .upright ? 1.0 : 2
        try Memory.require(
            3 * copies * Double(width) * Double(height) + header.scratch,
            for: "\(name): its \(width) x \(height) pixels")
        var message = [CChar](repeating: 0, count: Int(CIMAGES_MESSAGE))
        var (status, read) = (Int32(CIMAGES_OK), header)
        let pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { buffer, count in
            status = cimages_decode(
                file.baseAddress, file.count, &read, options.transparency == .onWhite, buffer.baseAddress, &message)
            count = status == CIMAGES_OK ? 3 * width * height : 0
        }
        try Self.check(status, message, name)
        self = Picture(width: width, height: height, pixels: pixels).turned(orientation)
    }

    /// Raw pixels: rows of red, green and blue, `stride` bytes from one row to the next. Throws `.invalidArgument` when
    /// they do not lie within `rgb`.
    public init(
        rgb: UnsafeRawBufferPointer, width: Int, height: Int, stride: Int, options: PictureOptions = .init()
    ) throws(LoragenError) {
        guard width > 0, height > 0, width <= options.effectiveLimit / height else {
            throw LoragenError(
                .invalidArgument,
                "a picture of \(width) x \(height) pixels; expected at least 1 x 1 and at most \(options.effectiveLimit) in all"
            )
        }
        let (before, overflow) = stride.multipliedReportingOverflow(by: height - 1)
        guard !overflow, stride >= 3 * width, 3 * width <= rgb.count, before <= rgb.count - 3 * width else {
            throw LoragenError(
                .invalidArgument,
                "\(height) rows of \(width) pixels, \(stride) bytes apart, do not lie within \(rgb.count) bytes")
        }
        try Memory.require(3 * width * height, of: UInt8.self, for: "a picture of \(width) x \(height) pixels")
        let pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { buffer, count in
            for y in 0..<height {
                UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[(3 * y * width)...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: rgb[(y * stride)..<(y * stride + 3 * width)]))
            }
            count = 3 * width * height
        }
        self.init(width: width, height: height, pixels: pixels)
    }

    private static func header(
        _ file: UnsafeRawBufferPointer, _ name: String, _ options: PictureOptions
    ) throws(LoragenError) -> cimages_header {
        guard !file.isEmpty else { throw LoragenError(.format, "\(name): it is empty; expected a picture") }
        var header = cimages_header()
        var message = [CChar](repeating: 0, count: Int(CIMAGES_MESSAGE))
        try check(cimages_probe(file.baseAddress, file.count, &header, &message), message, name)
        guard header.width > 0, header.height > 0 else {
            throw LoragenError(.format, "\(name): a picture of \(header.width) x \(header.height) pixels")
        }
        guard UInt64(header.width) * UInt64(header.height) <= UInt64(clamping: options.effectiveLimit) else {
            throw LoragenError(
                .unsupported,
                "\(name): \(header.width) x \(header.height) pixels; at most \(options.effectiveLimit) are read. Make it smaller, "
                    + "or raise the limit if you trust where it comes from")
        }
        return header
    }

    private static func check(_ status: Int32, _ message: [CChar], _ name: String) throws(LoragenError) {
        if status == CIMAGES_OK { return }
        let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let code: LoragenError.Code =
            status == CIMAGES_MEMORY ? .memory : status == CIMAGES_UNSUPPORTED ? .unsupported : .format
        throw LoragenError(code, "\(name): \(shortened(text))")
    }
}
