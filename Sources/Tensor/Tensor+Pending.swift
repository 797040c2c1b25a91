import Glibc

extension Tensor {
    /// Zeros that take no memory until they are read: the place of weights that are about to be loaded.
    public static func pending(_ shape: [Int]) -> Tensor {
        let count = elementCount(shape)
        guard let zeros = ZeroPages(byteCount: max(1, count) * MemoryLayout<E>.stride) else { return .zeros(shape) }
        return Tensor(
            borrowing: UnsafePointer(zeros.base.bindMemory(to: E.self, capacity: max(1, count))), shape: shape,
            owner: zeros)
    }
}

/// Read-only memory that the kernel fills with zeros when it is touched.
private final class ZeroPages {
    let base: UnsafeMutableRawPointer
    private let byteCount: Int

    init?(byteCount: Int) {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, byteCount, PROT_READ, flags, -1, 0), base != MAP_FAILED else { return nil }
        self.base = base
        self.byteCount = byteCount
    }

    deinit { munmap(base, byteCount) }
}
