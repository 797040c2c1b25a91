import Glibc
import Tensor

/// A short linear digest of adapter vectors that keeps distances (Charikar et al. 2002, "Count sketch"): each element is
/// added to one of `width` buckets with a random sign. Squared distances are unbiased, with a relative deviation of
/// `√(2/width)`, so that a generator can name the nearest training adapters without carrying them.
public struct Sketch {
    public static let width = 512

    public private(set) var buckets = [Float](repeating: 0, count: width)

    public init(buckets: [Float] = [Float](repeating: 0, count: width)) {
        self.buckets = buckets
    }
    private var count: UInt64 = 0

    /// Adds the next numbers of the vector.
    public mutating func add(_ numbers: UnsafeBufferPointer<Float>) {
        for value in numbers {
            let hash = Self.mix(count)
            let sign: Float = hash >> 63 == 0 ? 1 : -1
            buckets[Int(hash % UInt64(Self.width))] += sign * value
            count &+= 1
        }
    }

    public static func distance(_ a: UnsafeBufferPointer<Float>, _ b: [Float]) -> Double {
        var sum = 0.0
        for j in 0..<min(a.count, b.count) {
            let delta = Double(a[j] - b[j])
            sum += delta * delta
        }
        return sum.squareRoot()
    }

    /// The finaliser of SplitMix64, which scatters consecutive numbers.
    private static func mix(_ index: UInt64) -> UInt64 {
        var z = (index &+ 1) &* 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
