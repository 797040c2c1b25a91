import CLoragen
import Glibc

/// What a command fails with: the library's message, and what to do next.
struct Failure: Error, CustomStringConvertible {
    var message: String
    var next: String?

    var description: String {
        guard let next else { return message }
        return "\(message)\n\(next)"
    }
}

/// Makes a call of the C header; throws its message if it fails. `next` overrides the usual advice.
func call(_ status: loragen_status, next: String? = nil) throws {
    if status == loragen_status(LORAGEN_OK) { return }
    throw Failure(message: String(cString: loragen_last_error()), next: next ?? advice(status))
}

/// Makes an object by a call of the C header.
func make(_ call: (UnsafeMutablePointer<OpaquePointer?>) -> loragen_status) throws -> OpaquePointer {
    var object: OpaquePointer?
    try loragen_cli.call(call(&object))
    guard let object else { throw Failure(message: "the library made nothing") }
    return object
}

private func advice(_ status: loragen_status) -> String? {
    switch Int(status) {
    case LORAGEN_IO: "Check that the path exists, that you may use it, and that the disk is not full."
    case LORAGEN_FORMAT:
        "The file is damaged or of another kind; `loragen corpus check PATH` lists all problems of a corpus."
    case LORAGEN_VERSION: "Install the version of loragen that wrote the file, or write it again with this one."
    case LORAGEN_MISMATCH: "`loragen info GENERATOR` shows which conditions and modules a generator has."
    case LORAGEN_MEMORY: "Raise --memory-limit, or choose a smaller --preset."
    case LORAGEN_INTERNAL: "This is a defect of loragen; please report it with the command that you ran."
    default: nil
    }
}

/// A C string of the library; "" for NULL.
func string(_ pointer: UnsafePointer<CChar>?) -> String {
    pointer.map { String(cString: $0) } ?? ""
}

/// Runs `body` with the C string of an optional text.
func withCString<Result>(_ text: String?, _ body: (UnsafePointer<CChar>?) throws -> Result) rethrows -> Result {
    guard let text else { return try body(nil) }
    return try text.withCString(body)
}

func printError(_ line: String, terminator: String = "\n") {
    var text = line + terminator
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
