import Glibc
import Tensor

/// The system's own words for an error number, "No space left on device".
func systemMessage(_ number: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
        buffer.initialize(repeating: 0)
        guard let base = buffer.baseAddress, strerror_r(number, base, buffer.count) == 0 else {
            return "error \(number)"
        }
        return String(cString: base)
    }
}

extension LoragenError {
    /// An `.io` error, `.memory` where the system has none: what was tried, on which path, and what the system said.
    static func system(_ action: String, _ path: String, _ number: Int32) -> LoragenError {
        LoragenError(number == ENOMEM ? .memory : .io, "\(path): \(action): \(systemMessage(number))")
    }
}

/// What the body returns, `nil` where it throws. Short memory is thrown on: it says nothing about a file.
public func attempt<T>(_ body: () throws(LoragenError) -> T) throws(LoragenError) -> T? {
    do throws(LoragenError) { return try body() } catch {
        if error.code == .memory { throw error }
        return nil
    }
}

/// Refuses paths that C would read differently: empty ones and those with a NUL inside.
func checkPath(_ path: String) throws(LoragenError) {
    if path.isEmpty { throw LoragenError(.invalidArgument, "the path is empty; expected the name of a file or folder") }
    if hasNUL(path) {
        throw LoragenError(.invalidArgument, "\(path.prefix { $0 != "\0" }): the path has a NUL character inside")
    }
}

/// What a path is, links followed. `nil` when nothing is there.
public enum PathKind {
    case file, folder, other

    public static func of(_ path: String) throws(LoragenError) -> PathKind? {
        try checkPath(path)
        var info = stat()
        if stat(path, &info) != 0 {
            let number = errno
            if number == ENOENT { return nil }
            throw .system("cannot look at it", path, number)
        }
        switch info.st_mode & S_IFMT {
        case S_IFREG: return .file
        case S_IFDIR: return .folder
        default: return .other
        }
    }
}

/// Makes a folder, unless there is one. Throws `.io`.
public func makeFolder(_ path: String) throws(LoragenError) {
    if try PathKind.of(path) == .folder { return }
    if mkdir(path, 0o777) != 0 && errno != EEXIST { throw .system("cannot make the folder", path, errno) }
}

/// The folder that holds `path`, and the last component of it. "a/b" gives ("a", "b"); "b" gives (".", "b").
public func splitPath(_ path: String) -> (folder: String, name: String) {
    var bytes = Array(path.utf8)
    while bytes.count > 1, bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else {
        return (".", String(decoding: bytes, as: UTF8.self))
    }
    let folder = slash == 0 ? "/" : String(decoding: bytes[..<slash], as: UTF8.self)
    return (folder, String(decoding: bytes[(slash + 1)...], as: UTF8.self))
}

/// `folder/name`.
public func joinPath(_ folder: String, _ name: String) -> String {
    folder.utf8.last == UInt8(ascii: "/") ? folder + name : folder + "/" + name
}

/// Whether a text has a NUL inside, where C would see its end.
public func hasNUL(_ text: String) -> Bool {
    let found = text.utf8.withContiguousStorageIfAvailable { bytes in
        bytes.baseAddress.map { memchr($0, 0, bytes.count) != nil } ?? false
    }
    return found ?? text.utf8.contains(0)
}

/// The regular files of a folder, sorted.
public func fileNames(in folder: String) throws(LoragenError) -> [String] {
    var names: [String] = []
    for name in try entries(of: folder)
    where !name.hasPrefix(AtomicFile.temporaryPrefix) {
        if try PathKind.of(joinPath(folder, name)) == .file { names.append(name) }
    }
    return names.sorted(by: precedes)
}
