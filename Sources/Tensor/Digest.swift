import CKernels

/// Takes `count` blocks of 64 bytes into a state of SHA-256 by the CPU's own instructions; false, and nothing done, where it
/// has none. `bytes` holds at least `64 * count`.
public func hashBlocks(_ state: inout [UInt32], _ bytes: UnsafeRawBufferPointer, count: Int) -> Bool {
    guard count > 0, bytes.count / 64 >= count, state.count == 8, let base = bytes.baseAddress else { return false }
    return lk_sha256_blocks(&state, base.assumingMemoryBound(to: UInt8.self), count)
}
