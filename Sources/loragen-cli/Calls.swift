import ArgumentParser
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

/// What a call was about, for the advice that helps there.
enum Topic {
    case generator, corpus, training, analysis
}

/// Makes a call of the C header; throws its message if it fails, with advice where there is any.
func call(_ status: loragen_status, about topic: Topic? = nil) throws {
    if status == loragen_status(LORAGEN_OK) { return }
    if status == loragen_status(LORAGEN_CANCELLED) && Interruption.happened {
        printError("Stopped.")
        throw ExitCode(Interruption.exitCode)
    }
    throw Failure(message: string(loragen_last_error()), next: advice(status, topic))
}

/// Makes an object by a call of the C header.
func make(
    about topic: Topic? = nil, _ call: (UnsafeMutablePointer<OpaquePointer?>) -> loragen_status
) throws -> OpaquePointer {
    var object: OpaquePointer?
    try loragen_cli.call(call(&object), about: topic)
    guard let object else { throw Failure(message: "the library made nothing") }
    return object
}

private func advice(_ status: loragen_status, _ topic: Topic?) -> String? {
    switch (Int(status), topic) {
    case (LORAGEN_IO, _): "Check that the path exists, that you may use it, and that the disk is not full."
    case (LORAGEN_FORMAT, .corpus), (LORAGEN_MISMATCH, .corpus):
        "`loragen corpus check PATH` lists all problems of a corpus, `loragen doctor PATH` looks into its adapters."
    case (LORAGEN_VERSION, _):
        "Install the version of loragen that wrote the file, or write it again with this one."
    case (LORAGEN_MISMATCH, .generator):
        "`loragen info GENERATOR` shows which conditions and modules a generator has."
    case (LORAGEN_MEMORY, .training): "Raise --memory-limit, or choose a smaller --preset."
    case (LORAGEN_MEMORY, .generator), (LORAGEN_MEMORY, .analysis): "Raise --memory-limit."
    case (LORAGEN_INTERNAL, _):
        "This is a defect of loragen; please report it with the command that you ran."
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
