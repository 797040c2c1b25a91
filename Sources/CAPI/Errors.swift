// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CAPISupport
import CLoragen
import Tensor

/// Runs the body of a C function: what it throws becomes a status and this thread's message.
func status(of body: () throws(LoragenError) -> Void) -> loragen_status {
    do {
        try body()
        return 0
    } catch {
        remember(error.message)
        return error.code.rawValue
    }
}

/// The same for a function that takes memory of its own: it does not begin where little is left, for Swift's runtime ends
/// the process when its small objects find none.
func work(of body: () throws(LoragenError) -> Void) -> loragen_status {
    status { () throws(LoragenError) in
        try Memory.require(0, for: "the call")
        try body()
    }
}

/// Runs the body of a C function that makes an object, as `work`; `out` is NULL unless it succeeds.
func status(
    making out: UnsafeMutablePointer<OpaquePointer?>?, of body: () throws(LoragenError) -> AnyObject
) -> loragen_status {
    guard let out else {
        return status { () throws(LoragenError) in throw nullArgument("out") }
    }
    out.pointee = nil
    return work { () throws(LoragenError) in
        out.pointee = OpaquePointer(Unmanaged.passRetained(try body()).toOpaque())
    }
}

/// The object behind a handle. Throws `.invalidArgument` for NULL.
func object<Object: AnyObject>(
    _ handle: OpaquePointer?, _ name: StaticString, as type: Object.Type = Object.self
) throws(LoragenError) -> Object {
    guard let object = existing(handle, as: type) else { throw nullArgument(name) }
    return object
}

/// The object behind a handle, `nil` for NULL.
func existing<Object: AnyObject>(_ handle: OpaquePointer?, as type: Object.Type = Object.self) -> Object? {
    handle.map { Unmanaged<Object>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
}

/// Gives up a handle; NULL is none.
func release<Object: AnyObject>(_ handle: OpaquePointer?, as type: Object.Type) {
    if let handle { Unmanaged<Object>.fromOpaque(UnsafeRawPointer(handle)).release() }
}

func nullArgument(_ name: StaticString) -> LoragenError {
    LoragenError(.invalidArgument, "\(name) is NULL")
}

/// Keeps a message for `loragen_last_error`, cut to its buffer between two characters.
private func remember(_ message: String) {
    guard let buffer = capi_message() else { return }
    var message = message
    message.withUTF8 { bytes in
        var count = min(bytes.count, Int(CAPI_MESSAGE_SIZE) - 1)
        if count < bytes.count {
            while count > 0, bytes[count] & 0xC0 == 0x80 { count -= 1 }
        }
        for index in 0..<count { buffer[index] = CChar(bitPattern: bytes[index]) }
        buffer[count] = 0
    }
}

@c @implementation
public func loragen_last_error() -> UnsafePointer<CChar>? {
    UnsafePointer(capi_message())
}

@c @implementation
public func loragen_status_name(_ status: loragen_status) -> UnsafePointer<CChar>? {
    let name: StaticString =
        switch status {
        case 0: "ok"
        default:
            switch LoragenError.Code(rawValue: status) {
            case .invalidArgument: "invalid argument"
            case .io: "input or output"
            case .format: "format"
            case .version: "version"
            case .unsupported: "unsupported"
            case .mismatch: "mismatch"
            case .nonFinite: "not finite"
            case .memory: "memory"
            case .cancelled: "cancelled"
            case .internalError: "internal"
            case nil: "unknown status"
            }
        }
    return text(name)
}

/// A static C string.
func text(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}
