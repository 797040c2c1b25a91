import Glibc
import Tensor

/// A folder of files that is put in place when all of them are complete.
///
/// The files are written into a temporary folder beside the target. If the target does not exist, one rename makes it
/// appear whole. If it exists, its files of the same names are replaced one by one, each atomically, in the order in
/// which they were added, so add last the file that readers open first; other files in it stay. Without `commit()`, and
/// on any error before the renames, the target stays as it was.
public final class AtomicFolder {
    public let path: String
    private let temporary: String
    private var names: [String] = []
    private var finished = false
    private let write: AtomicFile.Write

    /// Makes the temporary folder. Throws `.io` when the parent does not exist or is not writable, or when the target
    /// is something other than a folder.
    public convenience init(path: String) throws(LoragenError) {
        try self.init(path: path, write: { Glibc.write($0, $1, $2) })
    }

    init(path: String, write: @escaping AtomicFile.Write) throws(LoragenError) {
        if let kind = try PathKind.of(path), kind != .folder {
            throw LoragenError(.io, "\(path): a file is in the way; expected a folder or nothing there")
        }
        self.path = path
        self.write = write
        // "." and ".." have no name beside which a folder could be renamed; their inside is as good a place.
        let (folder, last) = splitPath(path)
        let parent = last == "." || last == ".." || last.isEmpty ? path : folder
        temporary = try TemporaryName.create(in: parent, for: path) { mkdir($0, 0o777) }.name
    }

    /// Writes one file: `body` appends to it. `name` is a plain name without '/'.
    public func add(
        _ name: String, expectedSize: Int = 0, _ body: (AtomicFile) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        if name.isEmpty || name == "." || name == ".." || name.utf8.contains(UInt8(ascii: "/")) || names.contains(name)
        {
            throw LoragenError(.internalError, "\(path): '\(name)' is not a new plain file name")
        }
        do throws(LoragenError) {
            let file = try AtomicFile(path: joinPath(temporary, name), expectedSize: expectedSize, write: write)
            try body(file)
            try file.commit()
        } catch {
            // The caller knows its own path, not the temporary one.
            throw LoragenError(error.code, replacingPrefix(error.message))
        }
        names.append(name)
    }

    /// Puts the folder in place. Once only.
    public func commit() throws(LoragenError) {
        if finished { throw LoragenError(.internalError, "\(path): was committed before") }
        syncFolder(temporary)
        if try PathKind.of(path) == nil {
            if rename(temporary, splitTarget) == 0 {
                finished = true
                syncFolder(splitPath(path).folder)
                return
            }
            let number = errno
            // Somebody made the folder meanwhile: then as if it had been there.
            if number != EEXIST && number != ENOTEMPTY {
                throw .system("cannot rename the finished folder to it", path, number)
            }
        }
        for name in names {
            let target = joinPath(path, name)
            if try PathKind.of(target) == .folder {
                throw LoragenError(.io, "\(target): a folder is in the way; expected a file or nothing there")
            }
        }
        for name in names {
            let target = joinPath(path, name)
            if rename(joinPath(temporary, name), target) != 0 {
                throw .system("cannot rename the finished file to it", target, errno)
            }
        }
        syncFolder(path)
    }

    deinit {
        if finished { return }
        for name in names { unlink(joinPath(temporary, name)) }
        rmdir(temporary)
    }

    /// The target without trailing slashes, which rename(2) would not accept for a folder that does not exist yet.
    private var splitTarget: String {
        let (folder, name) = splitPath(path)
        return joinPath(folder, name)
    }

    private func replacingPrefix(_ message: String) -> String {
        guard message.hasPrefix(temporary) else { return message }
        return path + message.dropFirst(temporary.count)
    }
}
