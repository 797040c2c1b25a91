import Glibc
import Tensor

/// A file's bytes, mapped read-only for as long as the object lives. The file descriptor is closed at once.
///
/// Whoever shortens the file in place while it is mapped makes reads fail with SIGBUS, which no library can catch for
/// its host. Replace files by rename, as `AtomicFile` does: the map then keeps the old content.
public final class MappedFile: @unchecked Sendable {
    // Safe to share: the bytes are never written, and unmapped only when nobody holds the object.

    public let path: String
    /// All bytes of the file; valid while this object lives. Empty for an empty file.
    /// Swift may release an object after its last use by name: hold it with `withExtendedLifetime` while you read.
    public let bytes: UnsafeRawBufferPointer
    private let owned: Owned

    private enum Owned { case map, allocation, nothing }

    /// Maps a regular file. Throws `.io` when it cannot be opened or is a folder or a device.
    public init(path: String) throws(LoragenError) {
        try checkPath(path)
        // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if descriptor < 0 { throw .system("cannot open it", path, errno) }
        defer { close(descriptor) }
        var info = stat()
        if fstat(descriptor, &info) != 0 { throw .system("cannot look at it", path, errno) }
        switch info.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: throw LoragenError(.io, "\(path): it is a folder; expected a file")
        default: throw LoragenError(.io, "\(path): it is not a regular file")
        }
        guard let size = Int(exactly: info.st_size), size >= 0 else {
            throw LoragenError(.io, "\(path): its size \(info.st_size) is beyond what this machine can address")
        }
        self.path = path
        if size == 0 {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            owned = .nothing
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw .system("cannot map its \(size) bytes", path, errno)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
        owned = .map
    }

    /// Holds a copy of bytes that did not come from a file; `name` stands for the path in messages.
    public init(copying source: UnsafeRawBufferPointer, name: String) throws(LoragenError) {
        path = name
        guard !source.isEmpty else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            owned = .nothing
            return
        }
        guard let copy = malloc(source.count) else {
            throw LoragenError(.memory, "\(name): no memory for its \(source.count) bytes")
        }
        UnsafeMutableRawBufferPointer(start: copy, count: source.count).copyMemory(from: source)
        bytes = UnsafeRawBufferPointer(start: copy, count: source.count)
        owned = .allocation
    }

    public var size: Int { bytes.count }

    /// Takes the pages of a range that has been read out of this process' memory; the bytes stay readable. For files that
    /// are larger than what a caller may hold.
    public func release(_ range: Range<Int>) {
        guard owned == .map, let base = bytes.baseAddress else { return }
        let page = sysconf(Int32(_SC_PAGESIZE))
        let first = max(0, range.lowerBound) / page * page
        let last = min(bytes.count, range.upperBound)
        if first < last { madvise(UnsafeMutableRawPointer(mutating: base + first), last - first, MADV_DONTNEED) }
    }

    deinit {
        guard let base = bytes.baseAddress else { return }
        switch owned {
        case .map: munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
        case .allocation: free(UnsafeMutableRawPointer(mutating: base))
        case .nothing: break
        }
    }
}
