/// An error that a host can act on: what was wrong, where, and what was expected.
public struct LoragenError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The classes of errors; the raw values are those of `loragen_status` in `include/loragen.h`.
    public enum Code: Int32, Sendable {
        case invalidArgument = 1
        /// A file could not be opened, read, written or renamed.
        case io = 2
        /// A file's bytes are not what its format requires.
        case format = 3
        /// A file of another version of a format that this library knows.
        case version = 4
        /// Valid, but not something this library does.
        case unsupported = 5
        /// Adapters, conditions or files that do not fit together.
        case mismatch = 6
        /// NaN or infinity where a finite number is required.
        case nonFinite = 7
        /// The operation would exceed the caller's memory cap, or memory ran out.
        case memory = 8
        /// The caller's callback asked to stop.
        case cancelled = 9
        /// A defect of the library itself.
        case internalError = 10
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

/// Runs code whose errors are this library's but whose signature does not say so.
public func typed<T>(_ body: () throws -> T) throws(LoragenError) -> T {
    do { return try body() } catch let error as LoragenError { throw error } catch {
        throw LoragenError(.internalError, "\(error)")
    }
}
