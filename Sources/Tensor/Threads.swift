import CKernels

/// The library's own threads. How work is cut into chunks depends on shapes alone, so results do not depend on `count`.
public enum Threads {
    /// How many threads work together, the caller included: 1 ... 16, at first the number of online CPUs.
    public static var count: Int {
        get { lk_thread_count() }
        set { lk_set_thread_count(max(newValue, 1)) }
    }

    /// Calls `body` once for each chunk, in any order, on several threads. Runs on the caller alone when nested or
    /// when another thread is using the pool.
    public static func parallelFor(_ chunks: Int, _ body: (Int) -> Void) {
        if chunks == 1 { return body(0) }
        withoutActuallyEscaping(body) { body in
            var call = body
            withUnsafeMutablePointer(to: &call) { context in
                lk_parallel(
                    chunks,
                    { context, chunk in
                        context.unsafelyUnwrapped.assumingMemoryBound(to: ((Int) -> Void).self).pointee(chunk)
                    }, context)
            }
        }
    }

    /// Cuts [0, count) into pieces of `grain` and runs them in parallel as (start, length).
    static func over(_ count: Int, grain: Int = 16384, _ body: (_ start: Int, _ length: Int) -> Void) {
        if count <= grain {
            if count > 0 { body(0, count) }
            return
        }
        parallelFor((count + grain - 1) / grain) { chunk in
            let start = chunk * grain
            body(start, min(grain, count - start))
        }
    }
}
