import CKernels
import COpenBLAS
import Glibc

/// How many bytes the tensors of this process hold; scratch of running operations included, buffers kept for reuse not.
/// And how many more it can have.
public enum Memory {
    public static var currentBytes: Int { Int(lk_current_bytes()) }
    /// The most since the start or the last `resetPeak()`.
    public static var peakBytes: Int { Int(lk_peak_bytes()) }
    public static func resetPeak() { lk_reset_peak_bytes() }

    /// What has to be left over beyond the bytes that a caller counts: small objects, texts, the stacks and scratch of the
    /// library's threads. Where less is left, the Swift runtime can end the process, so calls refuse before.
    public static let margin = 48 << 20

    /// Requests below this are not held against the control group, whose files take longer to read than they to fill.
    private static let smallest = Double(16 << 20)

    /// Throws `.memory` unless this many bytes can be had, and the margin: of the machine, of the control group, and of the
    /// address space that RLIMIT_AS leaves. Nothing is taken; `what` is for the message, "training on 8 adapters", `advice`
    /// stands at its end.
    public static func require(
        _ bytes: Double, for what: @autoclosure () -> String, advice: @autoclosure () -> String = ""
    ) throws(LoragenError) {
        let room = bytes < smallest ? Double(physical) : Double(min(physical, ControlGroup.current.room))
        let wanted = bytes + Double(margin)
        if wanted <= room, openblas_prepare(lk_can_spare), canMap(Int(saturating: wanted)) { return }
        throw LoragenError(
            .memory,
            "\(what()) takes about \(mebibytes(bytes)) MiB, and \(margin >> 20) to spare, which this process cannot have: "
                + (wanted > room
                    ? "\(mebibytes(room)) MiB are there for it"
                    : "the system refuses them (is there a limit on its memory, ulimit -v?)") + advice())
    }

    /// The same for elements of a type, whose count may be anything.
    public static func require<T>(
        _ count: Int, of type: T.Type, for what: @autoclosure () -> String
    ) throws(LoragenError) {
        try require(Double(count) * Double(MemoryLayout<T>.stride), for: what())
    }

    /// For messages: whole, rounded up.
    public static func mebibytes(_ bytes: Double) -> UInt64 { UInt64(saturating: (bytes / 0x1p20).rounded(.up)) }

    /// The most bytes that a call without a limit of its own may plan with: of physical memory, of what the control group
    /// leaves, and of the address space that RLIMIT_AS does.
    public static var available: UInt64 { min(physical, ControlGroup.current.room, addresses) }

    private static var addresses: UInt64 {
        var limits = rlimit()
        // 9 is RLIMIT_AS, whose name Swift does not see.
        guard getrlimit(__rlimit_resource_t(9), &limits) == 0, limits.rlim_cur != rlim_t.max else { return .max }
        let limit = UInt64(limits.rlim_cur)
        // The first number is the size of all mappings, in pages.
        let pages = ControlGroup.read("/proc/self/statm").split(separator: " ").first.flatMap { UInt64($0) } ?? 0
        let mapped = pages.multipliedReportingOverflow(by: UInt64(clamping: sysconf(Int32(_SC_PAGESIZE))))
        return mapped.overflow || mapped.partialValue > limit ? 0 : limit - mapped.partialValue
    }

    /// In bytes; as much as there can be, if the system does not say.
    private static let physical: UInt64 = {
        let (bytes, overflow) = UInt64(clamping: sysconf(Int32(_SC_PHYS_PAGES))).multipliedReportingOverflow(
            by: UInt64(clamping: sysconf(Int32(_SC_PAGESIZE))))
        return overflow || bytes == 0 ? .max : bytes
    }()

    /// Asks the system by mapping and unmapping, which no page is touched for; buffers kept for reuse are given back if it
    /// refuses at first.
    private static func canMap(_ bytes: Int) -> Bool {
        if lk_can_map(bytes) { return true }
        lk_trim()
        return lk_can_map(bytes)
    }
}
