import CKernels

/// A buffer of elements: either its own, 64-byte aligned, or memory that `owner` keeps alive and nobody writes.
final class Storage<E: Element>: @unchecked Sendable {
    let base: UnsafeMutablePointer<E>
    let count: Int
    private let owner: AnyObject?

    var isBorrowed: Bool { owner != nil }

    /// Contents are undefined. Operations on tensors do not throw: whoever starts them asks `Memory.require` before, for
    /// all that they hold at once. Where the system refuses in spite of that, the process ends here.
    init(count: Int) {
        var memory = lk_allocate(Storage.bytes(count))
        if memory == nil {
            lk_trim()
            memory = lk_allocate(Storage.bytes(count))
        }
        guard let memory else { fatalError("no memory for a tensor of \(count) elements") }
        base = memory.bindMemory(to: E.self, capacity: count)
        self.count = count
        owner = nil
        lk_count_bytes(Int64(Storage.bytes(count)))
    }

    init(borrowing memory: UnsafePointer<E>, count: Int, owner: AnyObject) {
        base = UnsafeMutablePointer(mutating: memory)
        self.count = count
        self.owner = owner
    }

    deinit {
        if owner == nil {
            lk_deallocate(base, Storage.bytes(count))
            lk_count_bytes(-Int64(Storage.bytes(count)))
        }
    }

    private static func bytes(_ count: Int) -> Int { max(count, 1) * MemoryLayout<E>.stride }

    func copy() -> Storage {
        let result = Storage(count: count)
        UnsafeMutableRawPointer(result.base).copyMemory(from: base, byteCount: count * MemoryLayout<E>.stride)
        return result
    }
}
