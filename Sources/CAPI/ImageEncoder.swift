// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Encoders
import Files
import Tensor

/// What a `loragen_image_encoder` is.
private final class ImageEncoderBox: Sendable {
    let encoder: ImageEncoder
    /// The identity in it reads all weights.
    private let description = LazyText()

    init(_ encoder: ImageEncoder) { self.encoder = encoder }

    func json() -> UnsafePointer<CChar>? {
        description { try? encoder.description().text() }
    }
}

/// The encoder of a handle.
func imageEncoder(_ handle: OpaquePointer?) throws(LoragenError) -> ImageEncoder {
    try object(handle, "encoder", as: ImageEncoderBox.self).encoder
}

extension Picture {
    /// A picture of the header's struct; `name` stands for it in messages.
    fileprivate init(_ pointer: UnsafePointer<loragen_picture>?, name: String) throws(LoragenError) {
        guard let pointer else { throw LoragenError(.invalidArgument, "\(name) is NULL") }
        let given = try CAPI.options(pointer, over: loragen_picture(), "picture")
        guard [given.path != nil, given.file != nil, given.rgb != nil].filter({ $0 }).count == 1 else {
            throw LoragenError(.invalidArgument, "\(name): give one of path, file and rgb")
        }
        guard given.pixel_limit >= 0 else {
            throw LoragenError(.invalidArgument, "\(name): pixel_limit is \(given.pixel_limit); expected 0 or more")
        }
        var options = PictureOptions()
        options.upright = given.as_stored == 0
        options.transparency = given.drop_alpha == 0 ? .onWhite : .dropped
        if given.pixel_limit > 0 { options.pixelLimit = Int(given.pixel_limit) }
        if given.path != nil {
            try self.init(path: try path(given.path, "path"), options: options)
        } else if let file = given.file {
            guard given.file_size >= 0 else {
                throw LoragenError(.invalidArgument, "\(name): file_size is \(UInt(bitPattern: given.file_size))")
            }
            try self.init(
                file: UnsafeRawBufferPointer(start: file, count: given.file_size), name: name, options: options)
        } else {
            try self.init(raw: given, name: name, options: options)
        }
    }

    private init(raw given: loragen_picture, name: String, options: PictureOptions) throws(LoragenError) {
        let (width, height) = (Int(given.width), Int(given.height))
        let (row, overflow) = width.multipliedReportingOverflow(by: 3)
        let stride = given.stride == 0 ? row : Int(given.stride)
        let (before, beyond) = stride.multipliedReportingOverflow(by: max(height, 1) - 1)
        let (count, over) = before.addingReportingOverflow(row)
        guard width > 0, height > 0, stride >= row, !overflow, !beyond, !over else {
            throw LoragenError(
                .invalidArgument,
                "\(name): width is \(width), height \(height), stride \(given.stride); expected 1 and more, and a stride of at "
                    + "least 3 * width, or 0")
        }
        try self.init(
            rgb: UnsafeRawBufferPointer(start: given.rgb, count: count), width: width, height: height, stride: stride,
            options: options)
    }
}

@c @implementation
public func loragen_image_encoder_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ folder: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        ImageEncoderBox(try ImageEncoder(folder: try path(folder, "folder")))
    }
}

@c @implementation
public func loragen_image_encoder_width(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: ImageEncoderBox.self)?.encoder.pooledFeatures ?? 0
}

@c @implementation
public func loragen_image_encoder_state_width(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: ImageEncoderBox.self)?.encoder.features ?? 0
}

@c @implementation
public func loragen_image_encoder_layers(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: ImageEncoderBox.self)?.encoder.layers ?? 0
}

@c @implementation
public func loragen_image_encoder_json(_ encoder: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(encoder, as: ImageEncoderBox.self)?.json()
}

@c @implementation
public func loragen_image_encoder_encode(
    _ encoder: OpaquePointer?, _ pictures: UnsafePointer<UnsafePointer<loragen_picture>?>?, _ count: Int,
    _ vectors: UnsafeMutablePointer<Float>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let encoder = try imageEncoder(encoder)
        if count == 0 { return }
        try check(count, below: 1 << 40, "count")
        guard let pictures else { throw nullArgument("pictures") }
        guard let vectors else { throw nullArgument("vectors") }
        // One at a time: decoded pictures are large, and a call that fails in the middle has written whole vectors only.
        for place in 0..<count {
            let picture = try Picture(pictures[place], name: "pictures[\(place)]")
            guard let output = try encoder.encode([picture]).first else {
                throw LoragenError(.internalError, "one picture gave no vector")
            }
            copy(output.pooled, to: vectors + place * encoder.pooledFeatures)
        }
    }
}

@c @implementation
public func loragen_image_encoder_states(
    _ encoder: OpaquePointer?, _ picture: UnsafePointer<loragen_picture>?, _ layer: Int32,
    _ values: UnsafeMutablePointer<Float>?, _ capacity: Int, _ tokens: UnsafeMutablePointer<Int>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let encoder = try imageEncoder(encoder)
        let picture = try Picture(picture, name: "picture")
        let count = try encoder.tokens(of: picture)
        tokens?.pointee = count
        guard let values else { return }
        // A size_t beyond Int.max comes in negative, and is more than any number of states.
        guard capacity < 0 || count <= capacity / encoder.features else {
            throw LoragenError(
                .invalidArgument, "capacity is \(capacity); the states are \(count) x \(encoder.features) numbers")
        }
        guard let output = try encoder.encode([picture], layer: layer == -1 ? nil : Int(layer)).first else {
            throw LoragenError(.internalError, "one picture gave no states")
        }
        copy(output.states, to: values)
    }
}

private func copy(_ tensor: Tensor<Float>, to target: UnsafeMutablePointer<Float>) {
    tensor.withUnsafeBufferPointer { values in
        if let base = values.baseAddress { target.update(from: base, count: values.count) }
    }
}

@c @implementation
public func loragen_image_encoder_free(_ encoder: OpaquePointer?) { release(encoder, as: ImageEncoderBox.self) }
