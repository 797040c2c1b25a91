import CKernels
import Glibc
import Testing

@testable import Tensor

/// What is one for the whole process. Tests that change the thread count run one by one; those that force an instruction
/// set have a process of their own, since other tests compare bytes meanwhile.
@Suite("Threads and instruction sets", .serialized) struct ProcessTests {
    /// Operators on sizes that are cut into several chunks.
    static func largeResults() -> [[UInt32]] {
        var random = Random(seed: 21)
        func draw(_ shape: [Int]) -> Tensor<Float> { random.normal(shape).requiringGradient() }
        var results: [[UInt32]] = []
        func keep(_ value: Tensor<Float>, _ leaves: [Tensor<Float>]) {
            (value * value.detached().tanh()).sum().backward()
            for tensor in [value] + leaves.map({ $0.gradient! }) { results.append(tensor.values.map { $0.bitPattern }) }
        }
        let (a, b, c) = (draw([300, 400]), draw([400, 350]), draw([300, 350]))
        keep(Tensor.matmul(a, b), [a, b])
        let (bias, row) = (draw([350]), draw([2, 400]))
        keep(linear(a, weight: b.transposed(), bias: bias), [a, b, bias])
        keep(Tensor.matmul(row, b), [row])
        keep(c.softmax().gelu() + bias, [c, bias])
        let (x, w, wt) = (draw([5, 6, 4001]), draw([8, 6, 5]), draw([6, 7, 5]))
        keep(conv1d(x, weight: w, stride: 2, padding: 3), [x, w])
        keep(convTranspose1d(x, weight: wt, stride: 2, padding: 1), [x, wt])
        keep(instanceNorm(x), [x])
        keep(layerNorm(c, gamma: bias), [c, bias])
        let scale = draw([6])
        keep(batchNorm(x, gamma: scale).output, [x, scale])
        keep(x.sum(axes: [0, 2]), [x])
        keep(x.permuted([2, 0, 1]).exp().mean(axes: [0]), [x])
        let (qkv, columns) = (draw([2, 150, 96]), draw([2, 150, 2 * 64 + 32 + 4]))
        keep(selfAttention(qkv, heads: 2, causal: true), [qkv])
        let heads = (0..<3).map { _ in draw([4]) }
        let (taps, offsets, gamma) = (draw([96, 4]), draw([96]), draw([64]))
        let mixer = StateSpaceParameters(
            convolution: taps, convolutionBias: offsets, dtBias: heads[0], aLog: heads[1], skip: heads[2],
            gamma: gamma)
        let shape = StateSpaceShape(heads: 4, headDim: 16, state: 16, taps: 4)
        keep(stateSpaceMixer(columns, mixer, shape: shape), [columns, taps, offsets, gamma] + heads)
        let half = HalfMatrix(random.normal([700, 400]))
        results.append(half(a.detached()).values.map { $0.bitPattern })
        let long = draw([3_000_000])
        keep(long.square().sum(), [long])
        return results
    }

    @Test("One, two and three threads give the same bytes")
    func sameBytes() {
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = 1
        let one = ProcessTests.largeResults()
        for count in 2...3 {
            Threads.count = count
            for _ in 0..<3 {
                // Not inside #expect, which would print them all.
                let same = ProcessTests.largeResults() == one
                #expect(same, "\(count) threads")
            }
        }
    }

    @Test("bf16 products are within 1e-2 of f32 on each instruction set, native or widened")
    func halves() async {
        await #expect(processExitsWith: .success) {
            var random = Random(seed: 31)
            let (x, weight): (Tensor<Float>, Tensor<Float>) = (random.normal([7, 133]), random.normal([45, 133]))
            let exact = linear(x.converted(to: Double.self), weight: weight.converted())
            for level in [LK_PORTABLE, LK_AVX2, LK_AVX512] where lk_force_level(level) {
                let error = relativeError(HalfMatrix(weight)(x), exact)
                #expect(error < 1e-2 && error > 1e-4, "\(level): \(error)")
            }
        }
    }

    @Test("Each instruction set agrees with the portable one, value and gradients")
    func levels() async {
        await #expect(processExitsWith: .success) {
            #expect(lk_force_level(LK_PORTABLE))
            let portable = Operator.allCases.map { valueAndGradients($0, $0.inputs(Float.self, seed: 8)) }
            let portable64 = Operator.allCases.map { valueAndGradients($0, $0.inputs(Double.self, seed: 8)) }
            for level in [LK_AVX2, LK_AVX512] where lk_force_level(level) {
                for (i, op) in Operator.allCases.enumerated() {
                    let (value, gradients) = valueAndGradients(op, op.inputs(Float.self, seed: 8))
                    #expect(relativeError(value, portable[i].0) < 2e-6, "\(op)")
                    for (a, b) in zip(gradients, portable[i].1) { #expect(relativeError(a, b) < 1e-5, "\(op)") }
                    let wide = valueAndGradients(op, op.inputs(Double.self, seed: 8))
                    for (a, b) in zip([wide.0] + wide.1, [portable64[i].0] + portable64[i].1) {
                        #expect(relativeError(a, b) < 1e-13, "\(op) in Double")
                    }
                }
            }
        }
    }

    @Test("Normal and uniform numbers have the same bytes on every instruction set")
    func randomBytes() async {
        await #expect(processExitsWith: .success) {
            var drawn: [[Double]] = []
            for level in [LK_PORTABLE, LK_AVX2, LK_AVX512] where lk_force_level(level) {
                var random = Random(seed: 6, stream: 1)
                let normal: Tensor<Double> = random.normal([10_001])
                let uniform: Tensor<Double> = random.uniform([1001])
                drawn.append(normal.values + uniform.values)
            }
            let same = drawn.allSatisfy { $0 == drawn[0] }
            #expect(same)
        }
    }

    @Test("Every length up to three vectors is handled on every instruction set")
    func lengths() async {
        await #expect(processExitsWith: .success) {
            for level in [LK_PORTABLE, LK_AVX2, LK_AVX512] where lk_force_level(level) {
                for n in 1...50 {
                    var random = Random(seed: UInt64(n))
                    let x: Tensor<Float> = random.normal([n])
                    let wide = x.converted(to: Double.self)
                    #expect(relativeError(x.tanh() + x * 2, wide.tanh() + wide * 2) < 1e-6)
                    #expect((x.sum().item - Float(wide.values.reduce(0, +))).magnitude < 1e-5)
                    #expect(relativeError(x.softmax(), wide.softmax()) < 1e-6)
                    #expect(relativeError(layerNorm(x), layerNorm(wide)) < 3e-5)
                    let rows: Tensor<Float> = random.normal([3, n])
                    #expect(relativeError(rows.sum(axes: [0]), rows.converted(to: Double.self).sum(axes: [0])) < 1e-6)
                }
            }
        }
    }

    @Test("Several host threads at once get the same results as one alone")
    func concurrentHosts() {
        let expected = ProcessTests.largeResults()
        let wrong = Counter()
        ProcessTests.onThreads(
            4, Unmanaged.passRetained(Work { if ProcessTests.largeResults() != expected { wrong.add() } }))
        #expect(wrong.value == 0)
    }

    @Test("Small products from eight host threads at once are all right")
    func concurrentProducts() {
        // Catches a work buffer that two products share (COpenBLAS/shim.c).
        let wrong = Counter()
        let box = Unmanaged.passRetained(
            Work {
                var random = Random(seed: 1)
                for _ in 0..<1500 {
                    let size = random.integers(3, below: 50).map { $0 + 9 }
                    let a = Tensor<Float>.full([size[0], size[1]], 0.5)
                    let b = Tensor<Float>.full([size[2], size[1]], 2)
                    let c = a.matmul(b, transposeB: true)
                    if c.values.contains(where: { $0 != Float(size[1]) }) { wrong.add() }
                }
            })
        ProcessTests.onThreads(8, box)
        #expect(wrong.value == 0)
    }

    /// Runs the work on this many threads of the host at once.
    private static func onThreads(_ count: Int, _ box: Unmanaged<Work>) {
        var threads = [pthread_t](repeating: 0, count: count)
        for i in threads.indices {
            let status = pthread_create(
                &threads[i], nil,
                { argument in
                    Unmanaged<Work>.fromOpaque(argument!).takeUnretainedValue().body()
                    return nil
                }, box.toOpaque())
            precondition(status == 0)
        }
        for thread in threads { pthread_join(thread, nil) }
        box.release()
    }

    @Test("The child of a fork computes, with threads of its own")
    func fork() {
        _ = ProcessTests.largeResults()  // the pool has started
        let status = lk_run_in_fork {
            let x = Tensor<Float>.full([1_000_000], 0.5)
            let w = Tensor<Float>.full([300, 300], 0.5)
            return x.square().sum().item == 250_000 && w.matmul(w)[7, 7] == 75
        }
        #expect(status == 0)
        #expect(Tensor<Float>.full([1_000_000], 0.5).sum().item == 500_000)
    }

    @Test("Buffers of every size class are writable to their end, and can be given back to the system")
    func buffers() {
        for bytes in [1, 64, 65, 80, 81, 127, 128, 129, 1000, 4097, 65_536, 1_000_003] {
            let first = lk_allocate(bytes)!
            #expect(UInt(bitPattern: first) % 64 == 0)
            memset(first, 0xab, bytes)
            lk_deallocate(first, bytes)
            let second = lk_allocate(bytes)!
            memset(second, 0xcd, bytes)
            lk_trim()
            lk_deallocate(second, bytes)
        }
        lk_trim()
        #expect(lk_allocate(1 << 60) == nil)
    }

    @Test("Large buffers are cut, joined and moved without touching those in use")
    func largeBuffers() {
        lk_trim()
        var random = Random(seed: 31)
        var held: [(UnsafeMutableRawPointer, Int, Int32)] = []
        for round in 0..<400 {
            let choice = random.integers(2, below: 20)
            if held.count > 12 || (choice[0] < 8 && !held.isEmpty) {
                let (memory, bytes, mark) = held.remove(at: choice[1] % held.count)
                for at in Array(stride(from: 0, to: bytes, by: 4096)) + [bytes - 1] {
                    #expect(memory.load(fromByteOffset: at, as: UInt8.self) == UInt8(mark))
                }
                lk_deallocate(memory, bytes)
            } else {
                let bytes = (4 << 20) + choice[1] * 1_500_000 + round
                let memory = lk_allocate(bytes)!
                #expect(UInt(bitPattern: memory) % 64 == 0)
                memset(memory, Int32(round % 251), bytes)
                held.append((memory, bytes, Int32(round % 251)))
            }
        }
        for (memory, bytes, _) in held { lk_deallocate(memory, bytes) }
        lk_trim()
    }

    @Test("A lower number of threads holds, though workers of a higher one wait")
    func fewerThreads() {
        // In a process of its own, where no other test sets the number.
        let status = lk_run_in_fork {
            var identities = [pthread_t](repeating: pthread_self(), count: 64)
            func threads(of count: Int) -> Int {
                Threads.count = count
                identities.withUnsafeMutableBufferPointer { identities in
                    let base = identities.baseAddress!
                    Threads.parallelFor(64) { chunk in
                        usleep(300)
                        base[chunk] = pthread_self()
                    }
                }
                return Set(identities).count
            }
            // A busy machine may not have woken a third one in time.
            let wakes = (0..<100).contains { _ in threads(of: 8) > 2 }
            return wakes && (0..<5).allSatisfy { _ in threads(of: 2) <= 2 }
        }
        #expect(status == 0)
    }

    @Test("parallelFor runs each chunk once, nested too")
    func chunks() {
        let counts = UnsafeMutablePointer<Int32>.allocate(capacity: 1000)
        counts.initialize(repeating: 0, count: 1000)
        defer { counts.deallocate() }
        for _ in 0..<200 {
            Threads.parallelFor(10) { outer in
                Threads.parallelFor(100) { inner in counts[outer * 100 + inner] += 1 }
            }
        }
        #expect((0..<1000).allSatisfy { counts[$0] == 200 })
        Threads.parallelFor(0) { _ in Issue.record("no chunk to run") }
    }
}

private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}

private final class Counter: @unchecked Sendable {
    private var lock = pthread_mutex_t()
    private(set) var value = 0
    init() { pthread_mutex_init(&lock, nil) }
    func add() {
        pthread_mutex_lock(&lock)
        value += 1
        pthread_mutex_unlock(&lock)
    }
}
