import CKernels

/// Random numbers from Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Plain data:
/// the same three numbers give the same sequence, on every CPU and with any number of threads.
public struct Random: Sendable, Equatable {
    public var seed: UInt64
    /// Streams of one seed are independent sequences.
    public var stream: UInt64
    /// Blocks of 128 bits used so far. Every call starts at a new block.
    public var position: UInt64

    /// False for `none`.
    private let draws: Bool

    public init(seed: UInt64, stream: UInt64 = 0, position: UInt64 = 0) {
        self.init(seed: seed, stream: stream, position: position, draws: true)
    }

    private init(seed: UInt64, stream: UInt64, position: UInt64, draws: Bool) {
        (self.seed, self.stream, self.position, self.draws) = (seed, stream, position, draws)
    }

    /// Gives tensors of pending zeros: for modules whose weights are about to be loaded.
    public static let none = Random(seed: 0, stream: 0, position: 0, draws: false)

    public var isNone: Bool { !draws }

    private mutating func take(_ count: Int, perBlock: Int) -> UInt64 {
        let start = position
        position &+= UInt64((count + perBlock - 1) / perBlock)
        return start
    }

    /// `count` raw 32-bit words.
    public mutating func words(_ count: Int) -> [UInt32] {
        let blocks = (count + 3) / 4
        let start = take(count, perBlock: 4)
        var result = [UInt32](repeating: 0, count: blocks * 4)
        lk_philox(seed, stream, start, blocks, &result)
        result.removeLast(blocks * 4 - count)
        return result
    }

    /// Elements uniform in [low, high).
    public mutating func fillUniform<E: Element>(
        _ buffer: UnsafeMutableBufferPointer<E>, low: Double = 0, high: Double = 1
    ) {
        guard let base = buffer.baseAddress else { return }
        let perBlock = E.self == Float.self ? 4 : 2
        let (seed, stream, start) = (seed, stream, take(buffer.count, perBlock: perBlock))
        Threads.over(buffer.count, grain: 8192) { at, n in
            lk_uniform(E.kind, seed, stream, start &+ UInt64(at / perBlock), n, low, high, base + at)
        }
    }

    /// Normal elements by Box-Muller, computed in double without fused operations: the same bytes on every CPU.
    public mutating func fillNormal<E: Element>(
        _ buffer: UnsafeMutableBufferPointer<E>, mean: Double = 0, deviation: Double = 1
    ) {
        guard let base = buffer.baseAddress else { return }
        let (seed, stream, start) = (seed, stream, take(buffer.count, perBlock: 4))
        Threads.over(buffer.count, grain: 8192) { at, n in
            lk_normal(E.kind, seed, stream, start &+ UInt64(at / 4), n, mean, deviation, base + at)
        }
    }

    public mutating func uniform<E: Element>(
        _ shape: [Int], low: Double = 0, high: Double = 1, of type: E.Type = E.self
    ) -> Tensor<E> {
        guard draws else { return .pending(shape) }
        return Tensor.make(shape) {
            fillUniform(UnsafeMutableBufferPointer(start: $0, count: elementCount(shape)), low: low, high: high)
        }
    }

    public mutating func normal<E: Element>(
        _ shape: [Int], mean: Double = 0, deviation: Double = 1, of type: E.Type = E.self
    ) -> Tensor<E> {
        guard draws else { return .pending(shape) }
        return Tensor.make(shape) {
            fillNormal(
                UnsafeMutableBufferPointer(start: $0, count: elementCount(shape)), mean: mean, deviation: deviation)
        }
    }

    private mutating func next64() -> UInt64 {
        let pair = words(2)
        return UInt64(pair[1]) << 32 | UInt64(pair[0])
    }

    /// One uniform number in [0, 1) with 53 random bits.
    public mutating func uniform() -> Double { Double(next64() >> 11) * 0x1p-53 }

    /// An integer uniform in 0 ..< bound, without bias (Lemire's rejection).
    public mutating func integer(below bound: Int) -> Int {
        precondition(bound > 0, "integer below \(bound)")
        let n = UInt64(bound)
        let threshold = (0 &- n) % n
        while true {
            let wide = next64().multipliedFullWidth(by: n)
            if wide.low >= threshold { return Int(wide.high) }
        }
    }

    public mutating func integers(_ count: Int, below bound: Int) -> [Int] {
        (0..<count).map { _ in integer(below: bound) }
    }

    /// The numbers 0 ..< n in random order (Fisher-Yates).
    public mutating func permutation(_ n: Int) -> [Int] {
        var order = Array(0..<n)
        for i in stride(from: n - 1, to: 0, by: -1) { order.swapAt(i, integer(below: i + 1)) }
        return order
    }
}
