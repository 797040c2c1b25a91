import CKernels

/// How many bytes the tensors of this process hold; scratch of running operations included, buffers kept for reuse not.
public enum Memory {
    public static var currentBytes: Int { Int(lk_current_bytes()) }
    /// The most since the start or the last `resetPeak()`.
    public static var peakBytes: Int { Int(lk_peak_bytes()) }
    public static func resetPeak() { lk_reset_peak_bytes() }
}
