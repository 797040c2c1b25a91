import COnnxABI
import Glibc
import Tensor

/// A file that appears whole or not at all: written under a temporary name beside its target, flushed to the disk, then
/// renamed. A reader sees the old file or the new one.
///
/// Without `commit()`, and on any error, the temporary file is removed and the target stays as it was. A process that is
/// killed in between leaves a file `.loragen-tmp-<hex>`, which the next one that writes there removes (see `Temporary`).
/// A target that is a symbolic link is replaced by the file itself. Not for use by several threads at once.
public final class AtomicFile {
    /// What temporary names start with.
    public static let temporaryPrefix = ".loragen-tmp-"

    /// `write(2)`; tests put a full disk here.
    typealias Write = (_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int

    public let path: String
    private let temporary: Temporary
    /// -1 when it was finished or given up.
    private var descriptor: Int32
    private let write: Write
    private var buffer: [UInt8] = []
    private var written: UInt64 = 0
    private let limit: UInt64
    private static let bufferSize = 1 << 18
    /// Up to here the system was asked to write to the disk.
    private var flushing: UInt64 = 0
    private static let flushingSize: UInt64 = 16 << 20

    /// Opens the temporary file. `expectedSize` is set aside on the disk at once, so that a full disk shows early.
    /// Throws `.io` when the folder does not exist or is not writable, or the path is a folder.
    public convenience init(path: String, expectedSize: Int = 0) throws(LoragenError) {
        try self.init(path: path, expectedSize: expectedSize, write: { Glibc.write($0, $1, $2) })
    }

    init(
        path: String, expectedSize: Int = 0, sizeLimit: UInt64? = nil, write: @escaping Write
    ) throws(LoragenError) {
        var mode: mode_t = 0o666
        var keepsMode = false
        if let kind = try PathKind.of(path) {
            if kind == .folder {
                throw LoragenError(.io, "\(path): it is a folder; expected the name of a file to write")
            }
            var info = stat()
            if kind == .file, stat(path, &info) == 0 {
                mode = info.st_mode & 0o777
                keepsMode = true
            }
        } else if path.utf8.last == UInt8(ascii: "/") {
            throw LoragenError(.io, "\(path): it ends in '/'; expected the name of a file to write")
        }
        temporary = try Temporary.file(for: path, mode: mode)
        if keepsMode { _ = fchmod(temporary.descriptor, mode) }
        // Writing past RLIMIT_FSIZE would kill the host with SIGXFSZ; the limit is therefore checked here.
        limit = sizeLimit ?? Self.processLimit()
        self.path = path
        descriptor = temporary.descriptor
        self.write = write
        if expectedSize > 0, UInt64(expectedSize) <= limit,
            posix_fallocate(descriptor, 0, off_t(expectedSize)) == ENOSPC
        {
            throw LoragenError.system("cannot set \(expectedSize) bytes aside", path, ENOSPC)
        }
    }

    /// RLIMIT_FSIZE, in bytes.
    private static func processLimit() -> UInt64 {
        var limits = rlimit()
        return getrlimit(__rlimit_resource_t(1), &limits) == 0 ? UInt64(limits.rlim_cur) : .max
    }

    /// Appends bytes. Throws `.io` (disk full, quota, ...) and gives the file up.
    public func append(_ bytes: UnsafeRawBufferPointer) throws(LoragenError) {
        if buffer.count + bytes.count <= Self.bufferSize {
            buffer.append(contentsOf: bytes)
            return
        }
        try flushBuffer()
        if bytes.count <= Self.bufferSize {
            buffer.append(contentsOf: bytes)
        } else {
            try writeAll(bytes)
        }
    }

    /// Appends bytes.
    public func append(_ bytes: [UInt8]) throws(LoragenError) {
        // A typed throw does not pass through withUnsafeBytes; the result does.
        try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try append(raw) } }.get()
    }

    /// Appends the UTF-8 bytes of a text.
    public func append(_ text: String) throws(LoragenError) { try append(Array(text.utf8)) }

    /// Writes over the first bytes, of which at least as many have been appended.
    public func replaceStart(_ bytes: [UInt8]) throws(LoragenError) {
        try flushBuffer()
        guard descriptor >= 0, UInt64(bytes.count) <= written else {
            throw LoragenError(.internalError, "\(path): \(bytes.count) bytes to write over, of \(written)")
        }
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(done)) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let number = errno
                abandon()
                throw .system("cannot write its first bytes", path, number)
            }
            done += count
        }
    }

    /// Flushes to the disk and renames to the target. Once only.
    public func commit() throws(LoragenError) { try Self.commit([self]) }

    /// Puts files in place that belong together, in this order, when all are complete.
    public static func commit(_ files: [AtomicFile]) throws(LoragenError) {
        for file in files { try file.finish() }
        try Temporary.place(files.map(\.temporary)) { () throws(LoragenError) in
            for file in files where rename(file.temporary.path, file.path) != 0 {
                throw .system("cannot rename the finished file to it", file.path, errno)
            }
        }
        for folder in Set(files.map { splitPath($0.path).folder }) { syncFolder(folder) }
    }

    /// Flushes to the disk. The descriptor stays open, for it holds the lock.
    private func finish() throws(LoragenError) {
        try flushBuffer()
        guard descriptor >= 0 else { throw LoragenError(.internalError, "\(path): was finished or given up before") }
        if ftruncate(descriptor, off_t(clamping: written)) != 0 || fsync(descriptor) != 0 {
            let number = errno
            abandon()
            throw .system("cannot flush it to the disk", path, number)
        }
        descriptor = -1
    }

    /// Gives the file up: the temporary file goes, the target stays as it was.
    public func abandon() {
        temporary.remove()
        descriptor = -1
    }

    deinit { abandon() }

    private func flushBuffer() throws(LoragenError) {
        if buffer.isEmpty { return }
        let pending = buffer
        buffer.removeAll(keepingCapacity: true)
        try pending.withUnsafeBytes { raw in Result { () throws(LoragenError) in try writeAll(raw) } }.get()
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) throws(LoragenError) {
        guard descriptor >= 0 else { throw LoragenError(.internalError, "\(path): was finished or given up before") }
        var rest = bytes
        while let base = rest.baseAddress, !rest.isEmpty {
            let chunk = min(rest.count, 1 << 30)
            let (end, overflow) = written.addingReportingOverflow(UInt64(chunk))
            if overflow || end > limit {
                abandon()
                throw .system("cannot write past byte \(written)", path, EFBIG)
            }
            let count = write(descriptor, base, chunk)
            if count < 0 {
                let number = errno
                if number == EINTR { continue }
                abandon()
                throw .system("cannot write past byte \(written)", path, number)
            }
            if count == 0 || count > chunk {
                abandon()
                throw .system("cannot write past byte \(written)", path, EIO)
            }
            written += UInt64(count)
            startFlushing()
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }
}

extension AtomicFile {
    /// Sends what has gathered on its way to the disk, so that the disk works while the next bytes are made and the flush
    /// at the end finds little to do. Only a hint: what fails here shows in that flush.
    private func startFlushing() {
        let (begin, count) = (flushing, written - flushing)
        if count < Self.flushingSize { return }
        flushing = written
        _ = lgo_sync_file_range(
            descriptor, Int(clamping: begin), Int(clamping: count), UInt32(LGO_SYNC_FILE_RANGE_WRITE))
    }
}

/// Makes a rename last through a power failure. File systems that cannot flush a folder say so; that is no error.
func syncFolder(_ path: String) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor < 0 { return }
    _ = fsync(descriptor)
    close(descriptor)
}
