import COnnxABI
import Glibc
import Tensor

/// A folder of files that is put in place when all of them are complete.
///
/// The files are written into a temporary folder beside the target. If the target does not exist, one rename makes it
/// appear whole. If it exists, one exchange replaces it, and other files in it come along; where that cannot be (it holds
/// folders, or is a link or the working folder), its files of the same names are replaced one by one, each atomically, in the
/// order in which they were added, so add last the file that readers open first. Without `commit()`, and on any error
/// before that, the target stays as it was.
public final class AtomicFolder {
    public let path: String
    private let temporary: Temporary
    private var names: [String] = []
    private var finished = false
    private let isNew: Bool
    private let write: AtomicFile.Write

    /// Makes the temporary folder. Throws `.io` when the parent does not exist or is not writable, or when the target
    /// is something other than a folder.
    /// With `isNew` the target may not be there at all.
    public convenience init(path: String, isNew: Bool = false) throws(LoragenError) {
        try self.init(path: path, isNew: isNew, write: { Glibc.write($0, $1, $2) })
    }

    init(path: String, isNew: Bool = false, write: @escaping AtomicFile.Write) throws(LoragenError) {
        if isNew, try PathKind.of(path) != nil { throw Self.isThere(path) }
        if let kind = try PathKind.of(path), kind != .folder {
            throw LoragenError(.io, "\(path): a file is in the way; expected a folder or nothing there")
        }
        self.path = path
        self.isNew = isNew
        self.write = write
        // "." and ".." have no name beside which a folder could be renamed; their inside is as good a place.
        let (folder, last) = splitPath(path)
        let parent = last == "." || last == ".." || last.isEmpty ? path : folder
        temporary = try Temporary.folder(in: parent, for: path)
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
            let file = try AtomicFile(path: joinPath(temporary.path, name), expectedSize: expectedSize, write: write)
            try body(file)
            try file.commit()
        } catch {
            // The caller knows its own path, not the temporary one.
            throw LoragenError(error.code, replacingPrefix(error.message))
        }
        names.append(name)
    }

    /// Runs `body` with the path that the folder has until it is put in place, for what is written by other means than
    /// `add`. Of a new folder alone.
    public func fill(_ body: (String) throws(LoragenError) -> Void) throws(LoragenError) {
        if !isNew { throw LoragenError(.internalError, "\(path): only a new folder can be filled") }
        do throws(LoragenError) { try body(temporary.path) } catch {
            throw LoragenError(error.code, replacingPrefix(error.message))
        }
    }

    private static func isThere(_ path: String) -> LoragenError {
        LoragenError(.io, "\(path): it is there already; expected the name of a folder to make")
    }

    /// Puts the folder in place. Once only.
    public func commit() throws(LoragenError) {
        if finished { throw LoragenError(.internalError, "\(path): was committed before") }
        syncFolder(temporary.path)
        var changed = path
        try Temporary.place([]) { () throws(LoragenError) in changed = try place() }
        finished = true
        temporary.remove()
        syncFolder(changed)
    }

    /// Renames; returns the folder whose names that changes.
    private func place() throws(LoragenError) -> String {
        if try PathKind.of(path) == nil {
            if rename(temporary.path, splitTarget) == 0 { return splitPath(path).folder }
            let number = errno
            // Somebody made the folder meanwhile: then as if it had been there.
            if number != EEXIST && number != ENOTEMPTY {
                throw .system("cannot rename the finished folder to it", path, number)
            }
        }
        if isNew { throw Self.isThere(path) }
        for name in names {
            let target = joinPath(path, name)
            if try PathKind.of(target) == .folder {
                throw LoragenError(.io, "\(target): a folder is in the way; expected a file or nothing there")
            }
        }
        if exchange() { return splitPath(path).folder }
        for name in names {
            let target = joinPath(path, name)
            if rename(joinPath(temporary.path, name), target) != 0 {
                throw .system("cannot rename the finished file to it", target, errno)
            }
        }
        return path
    }

    /// Files of others that are taken along, at most.
    private static let othersLimit = 64

    /// Exchanges the finished folder with the one that is there. False where that cannot be; then nothing has changed.
    private func exchange() -> Bool {
        let last = splitPath(path).name
        var (info, ours) = (stat(), stat())
        guard last != ".", last != "..", lstat(splitTarget, &info) == 0, info.st_mode & S_IFMT == S_IFDIR,
            fstat(temporary.descriptor, &ours) == 0, info.st_uid == ours.st_uid, info.st_gid == ours.st_gid,
            let there = try? entries(of: path), there.count <= names.count + Self.othersLimit
        else { return false }
        for name in there where !names.contains(name) {
            var file = stat()
            let other = joinPath(path, name)
            guard lstat(other, &file) == 0, file.st_mode & S_IFMT == S_IFREG,
                link(other, joinPath(temporary.path, name)) == 0
            else { return false }
        }
        syncFolder(temporary.path)
        guard fchmod(temporary.descriptor, info.st_mode & 0o7777) == 0,
            lgo_renameat2(AT_FDCWD, temporary.path, AT_FDCWD, splitTarget, UInt32(LGO_RENAME_EXCHANGE)) == 0
        else { return false }
        // What somebody put there meanwhile.
        for name in (try? entries(of: temporary.path)) ?? [] where !there.contains(name) {
            _ = rename(joinPath(temporary.path, name), joinPath(path, name))
        }
        return true
    }

    /// The target without trailing slashes, which rename(2) would not accept for a folder that does not exist yet.
    private var splitTarget: String {
        let (folder, name) = splitPath(path)
        return joinPath(folder, name)
    }

    private func replacingPrefix(_ message: String) -> String {
        guard message.hasPrefix(temporary.path) else { return message }
        return path + message.dropFirst(temporary.path.count)
    }
}
