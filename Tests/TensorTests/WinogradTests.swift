import CKernels
import Testing

@testable import Tensor

/// Double takes the direct way, which `ReferenceTests` compares with plain loops.
@Suite("Convolutions with fewer multiplications") struct WinogradTests {
    struct Case: CustomTestStringConvertible {
        let inputs, outputs, length, kernel, padding: Int
        var isTransposed = false
        var testDescription: String {
            "\(inputs) to \(outputs), length \(length), kernel \(kernel), padding \(padding)"
                + (isTransposed ? ", transposed" : "")
        }
    }
    static let cases = [
        Case(inputs: 16, outputs: 16, length: 400, kernel: 3, padding: 1),
        Case(inputs: 33, outputs: 48, length: 203, kernel: 4, padding: 0),
        Case(inputs: 64, outputs: 32, length: 331, kernel: 5, padding: 4),
        Case(inputs: 18, outputs: 21, length: 290, kernel: 6, padding: 2),
        Case(inputs: 32, outputs: 64, length: 1001, kernel: 7, padding: 3),
        Case(inputs: 20, outputs: 32, length: 90, kernel: 7, padding: 9),
        Case(inputs: 48, outputs: 24, length: 180, kernel: 5, padding: 2, isTransposed: true),
        Case(inputs: 16, outputs: 35, length: 97, kernel: 7, padding: 0, isTransposed: true),
    ]

    static func run<E: Element>(_ c: Case, _ type: E.Type) -> [Tensor<E>] {
        var random = Random(seed: 3)
        // Not symmetric about zero: what is left of it after the transforms is rounding.
        let x: Tensor<Double> = random.normal([3, c.inputs, c.length], mean: 0.5)
        let w: Tensor<Double> = random.normal(
            c.isTransposed ? [c.inputs, c.outputs, c.kernel] : [c.outputs, c.inputs, c.kernel])
        let bias: Tensor<Double> = random.normal([c.outputs])
        let leaves = [x, w, bias].map { $0.converted(to: Float.self).converted(to: E.self).requiringGradient() }
        let y =
            c.isTransposed
            ? convTranspose1d(leaves[0], weight: leaves[1], bias: leaves[2], padding: c.padding)
            : conv1d(leaves[0], weight: leaves[1], bias: leaves[2], padding: c.padding)
        var other = Random(seed: 4)
        let g: Tensor<Double> = other.normal(y.shape, mean: 0.2)
        (y * g.converted(to: Float.self).converted(to: E.self)).sum().backward()
        return [y.detached()] + leaves.compactMap { $0.gradient }
    }

    @Test("What is done on the way is the same as the steps one by one")
    func fused() {
        var random = Random(seed: 5)
        let x: Tensor<Float> = random.normal([2, 24, 500])
        let w: Tensor<Float> = random.normal([32, 24, 7])
        let (add, multiply): (Tensor<Float>, Tensor<Float>) = (random.normal([2, 500]), random.normal([2, 500]))
        let bias: Tensor<Float> = random.normal([32])
        let once = inferConv1d(
            x, weight: w, bias: bias, padding: 3, add: add, multiply: multiply, activation: .elu(alpha: 1))
        let mixed = (x + add.reshaped([2, 1, 500])) * multiply.reshaped([2, 1, 500])
        let exact = conv1d(
            mixed.converted(to: Double.self), weight: w.converted(to: Double.self),
            bias: bias.converted(to: Double.self), padding: 3
        ).elu()
        let error = relativeError(once, exact)
        #expect(error < 5e-6, "\(error)")
    }
}

// They change what is one for the whole process.
extension ProcessTests {
    @Test("Winograd convolutions are within 1e-5 of Double, on every instruction set")
    func winogradLevels() async {
        await #expect(processExitsWith: .success) {
            for c in WinogradTests.cases {
                let exact = WinogradTests.run(c, Double.self)
                for level in [LK_PORTABLE, LK_AVX2, LK_AVX512] where lk_force_level(level) {
                    for (name, (a, b)) in zip(
                        ["value", "input", "weight", "bias"], zip(WinogradTests.run(c, Float.self), exact))
                    {
                        let error = relativeError(a, b)
                        #expect(error < 5e-6, "\(name) on \(level): \(error)")
                    }
                }
            }
        }
    }

    @Test("Winograd convolutions give the same bytes on one thread and on several")
    func winogradThreads() {
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = 1
        let one = WinogradTests.run(WinogradTests.cases[4], Float.self)
        Threads.count = 4
        let same = zip(one, WinogradTests.run(WinogradTests.cases[4], Float.self)).allSatisfy { $0.values == $1.values }
        #expect(same)
    }
}
