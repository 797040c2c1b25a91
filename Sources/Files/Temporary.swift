import COnnxABI
import Glibc
import Synchronization
import Tensor

/// A file or folder under a temporary name, `.loragen-tmp-<hex>` beside the target that it becomes.
///
/// It is locked (flock(2)) for as long as it is worked on. One that can be locked is nobody's: its process was killed, and
/// the first writing of a process into a folder removes what it finds there of that kind; not on file systems that other
/// machines may share, whose locks this one might not see.
final class Temporary {
    let path: String
    /// Open for as long as this is locked.
    let descriptor: Int32
    private var isOver = false

    /// Names of all that this process has under way.
    private static let live = Mutex<Set<String>>([])
    /// Folders that were looked through, by their paths.
    private static let swept = Mutex<[String: FileIdentity]>([:])

    /// Tries names in `folder` until `make` gives an open descriptor. Throws `.io` with the system's message when it fails
    /// for another reason than the name being taken.
    init(in folder: String, for path: String, make: (String) -> Int32) throws(LoragenError) {
        Self.sweep(folder)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<100 {
            let name = joinPath(
                folder, AtomicFile.temporaryPrefix + String(generator.next() as UInt64, radix: 16))
            let (descriptor, number) = Self.live.withLock { names in
                let descriptor = make(name)
                let number = errno
                if descriptor >= 0 { names.insert(name) }
                return (descriptor, number)
            }
            if descriptor < 0 {
                if number == EEXIST || number == EINTR { continue }
                throw .system("cannot create a temporary file beside it", path, number)
            }
            if Self.holds(descriptor, name) {
                self.path = name
                self.descriptor = descriptor
                return
            }
            // Another process took it for a killed one's, between its making and its lock.
            Self.live.withLock { _ = $0.remove(name) }
            close(descriptor)
        }
        throw .system("cannot create a temporary file beside it", path, EEXIST)
    }

    /// A file, open for writing.
    static func file(for path: String, mode: mode_t) throws(LoragenError) -> Temporary {
        try Temporary(in: splitPath(path).folder, for: path) {
            open($0, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        }
    }

    /// An empty folder.
    static func folder(in parent: String, for path: String) throws(LoragenError) -> Temporary {
        try Temporary(in: parent, for: path) { name in
            if mkdir(name, 0o777) != 0 { return -1 }
            let descriptor = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if descriptor < 0 {
                let number = errno
                rmdir(name)
                errno = number
            }
            return descriptor
        }
    }

    /// Runs the renames that put things in place: `removeAll` waits for them, so Ctrl-C falls before or after.
    /// What is in place then is no longer removed; `renames` returns whether that is so.
    static func place(_ all: [Temporary], _ renames: () throws(LoragenError) -> Void) throws(LoragenError) {
        let result = live.withLock { names in
            let result = Result { () throws(LoragenError) in try renames() }
            if case .success = result { for one in all { names.remove(one.path) } }
            return result
        }
        try result.get()
        for one in all { one.end() }
    }

    /// Removes it with all that is in it.
    func remove() {
        if isOver { return }
        removeTree(path)
        Self.live.withLock { _ = $0.remove(path) }
        end()
    }

    private func end() {
        if isOver { return }
        isOver = true
        close(descriptor)
    }

    deinit { remove() }

    /// Removes all that this process has under way, lets nothing new begin, and calls `exit`: for programs that end in
    /// the middle of a call.
    static func removeAll(then exit: () -> Never) {
        live.withLock { names in
            for name in names {
                // A thread that still writes may add a file to a folder meanwhile.
                var tries = 0
                while !removeTree(name), tries < 100 { tries += 1 }
            }
            exit()
        }
    }

    /// Locks what was made, and whether it is still there.
    private static func holds(_ descriptor: Int32, _ path: String) -> Bool {
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK { return false }
        return FileIdentity(path) == FileIdentity(descriptor: descriptor)
    }

    /// Whether a folder is on a file system of this machine alone: ext, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs
    /// (statfs(2) has the numbers).
    private static func isLocal(_ folder: String) -> Bool {
        let local: Set<Int> = [
            0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E, 0x0102_1994, 0x794C_7630,
        ]
        var system = [Int](repeating: 0, count: Int(LGO_STATFS_LONGS))
        return lgo_statfs(folder, &system) == 0 && local.contains(system[0])
    }

    /// Removes what killed processes left in a folder, once in a process.
    private static func sweep(_ folder: String) {
        if splitPath(folder).name.hasPrefix(AtomicFile.temporaryPrefix) { return }
        guard let identity = FileIdentity(folder) else { return }
        let isNew = swept.withLock { folders in
            if folders.count >= 4096 { folders.removeAll() }
            return folders.updateValue(identity, forKey: folder) != identity
        }
        guard isNew, isLocal(folder), let names = try? entries(of: folder) else { return }
        for name in names where name.hasPrefix(AtomicFile.temporaryPrefix) {
            let path = joinPath(folder, name)
            let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            if descriptor < 0 { continue }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { removeTree(path) }
            close(descriptor)
        }
    }
}

/// Which file or folder it is, whatever it is called: links followed.
struct FileIdentity: Hashable, Sendable {
    private let device: UInt
    private let inode: UInt

    private init(_ info: stat) { (device, inode) = (UInt(info.st_dev), UInt(info.st_ino)) }

    /// `nil` when nothing is there.
    init?(_ path: String) {
        var info = stat()
        if path.isEmpty || hasNUL(path) || stat(path, &info) != 0 { return nil }
        self.init(info)
    }

    init?(descriptor: Int32) {
        var info = stat()
        if fstat(descriptor, &info) != 0 { return nil }
        self.init(info)
    }
}

/// Names in a folder, without "." and "..", in the order of the system.
func entries(of folder: String) throws(LoragenError) -> [String] {
    guard let stream = opendir(folder) else { throw .system("cannot list it", folder, errno) }
    defer { closedir(stream) }
    return rawEntries(stream).map { name in
        String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Removes a file, or a folder with all that is in it; links are removed, not followed. Whether nothing is left.
@discardableResult func removeTree(_ path: String) -> Bool { removeTree(AT_FDCWD, Array(path.utf8CString)) }

private func removeTree(_ parent: Int32, _ name: [CChar]) -> Bool {
    if unlinkat(parent, name, 0) == 0 || errno == ENOENT { return true }
    let descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    if descriptor < 0 { return errno == ENOENT }
    guard let stream = fdopendir(descriptor) else {
        close(descriptor)
        return false
    }
    for inner in rawEntries(stream) { _ = removeTree(descriptor, inner) }
    closedir(stream)
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT
}

private func rawEntries(_ stream: OpaquePointer) -> [[CChar]] {
    var names: [[CChar]] = []
    while let entry = readdir(stream) {
        let name: [CChar] = withUnsafePointer(to: &entry.pointee.d_name) { all in
            all.withMemoryRebound(to: CChar.self, capacity: 256) { pointer in
                [CChar](UnsafeBufferPointer(start: pointer, count: strnlen(pointer, 255))) + [0]
            }
        }
        if name != [46, 0] && name != [46, 46, 0] { names.append(name) }
    }
    return names
}

/// Programs that end while the library writes.
public enum UnfinishedFiles {
    /// Removes what this process is writing, and calls `exit`, which nothing new begins before.
    public static func remove(then exit: () -> Never) { Temporary.removeAll(then: exit) }
}
