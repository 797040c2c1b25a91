import Testing

@testable import Tensor

/// The plain loops that the fast forms are tested against.
enum Naive {
    /// x [B, C, L], w [O, C, k], bias [O]
    static func conv1d(_ x: Tensor<Double>, _ w: Tensor<Double>, _ bias: Tensor<Double>, stride: Int, padding: Int)
        -> Tensor<Double>
    {
        let (b, c, l, o, k) = (x.shape[0], x.shape[1], x.shape[2], w.shape[0], w.shape[2])
        let out = (l + 2 * padding - k) / stride + 1
        let (xs, ws) = (x.values, w.values)
        var y = [Double]()
        for n in 0..<b {
            for f in 0..<o {
                for p in 0..<out {
                    var sum = bias[f]
                    for i in 0..<c {
                        for j in 0..<k where (0..<l).contains(p * stride + j - padding) {
                            sum += ws[(f * c + i) * k + j] * xs[(n * c + i) * l + p * stride + j - padding]
                        }
                    }
                    y.append(sum)
                }
            }
        }
        return Tensor(y, shape: [b, o, out])
    }

    /// x [B, C, L], w [C, O, k], bias [O]
    static func convTranspose1d(
        _ x: Tensor<Double>, _ w: Tensor<Double>, _ bias: Tensor<Double>, stride: Int, padding: Int, outputPadding: Int
    ) -> Tensor<Double> {
        let (b, c, l, o, k) = (x.shape[0], x.shape[1], x.shape[2], w.shape[1], w.shape[2])
        let out = (l - 1) * stride - 2 * padding + k + outputPadding
        let (xs, ws) = (x.values, w.values)
        var y = [Double](repeating: 0, count: b * o * out)
        for n in 0..<b {
            for f in 0..<o {
                for p in 0..<out { y[(n * o + f) * out + p] = bias[f] }
                for i in 0..<c {
                    for p in 0..<l {
                        for j in 0..<k where (0..<out).contains(p * stride + j - padding) {
                            y[(n * o + f) * out + p * stride + j - padding] +=
                                ws[(i * o + f) * k + j] * xs[(n * c + i) * l + p]
                        }
                    }
                }
            }
        }
        return Tensor(y, shape: [b, o, out])
    }

    static func conv2d(_ x: Tensor<Double>, _ w: Tensor<Double>, _ bias: Tensor<Double>, stride: Int, padding: Int)
        -> Tensor<Double>
    {
        let (b, c, h, l) = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        let (o, kh, kw) = (w.shape[0], w.shape[2], w.shape[3])
        let (oh, ow) = ((h + 2 * padding - kh) / stride + 1, (l + 2 * padding - kw) / stride + 1)
        let (xs, ws) = (x.values, w.values)
        var y = [Double]()
        for n in 0..<b {
            for f in 0..<o {
                for p in 0..<oh {
                    for q in 0..<ow {
                        var sum = bias[f]
                        for i in 0..<c {
                            for u in 0..<kh where (0..<h).contains(p * stride + u - padding) {
                                for v in 0..<kw where (0..<l).contains(q * stride + v - padding) {
                                    let row = (n * c + i) * h + p * stride + u - padding
                                    let weight = ws[((f * c + i) * kh + u) * kw + v]
                                    sum += weight * xs[row * l + q * stride + v - padding]
                                }
                            }
                        }
                        y.append(sum)
                    }
                }
            }
        }
        return Tensor(y, shape: [b, o, oh, ow])
    }

    static func matmul(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Tensor<Double> {
        let (m, k, n) = (a.shape[0], a.shape[1], b.shape[1])
        let (x, y) = (a.values, b.values)
        var c = [Double](repeating: 0, count: m * n)
        for i in 0..<m {
            for p in 0..<k { for j in 0..<n { c[i * n + j] += x[i * k + p] * y[p * n + j] } }
        }
        return Tensor(c, shape: [m, n])
    }
}

@Suite("Against plain loops") struct ReferenceTests {
    struct Window: Sendable, CustomTestStringConvertible {
        let c, o, l, k, stride, padding, outputPadding: Int
        var testDescription: String { "C\(c) O\(o) L\(l) k\(k) s\(stride) p\(padding) op\(outputPadding)" }
    }
    static let windows: [Window] = [
        Window(c: 1, o: 4, l: 625, k: 5, stride: 1, padding: 1, outputPadding: 0),
        Window(c: 4, o: 4, l: 623, k: 5, stride: 5, padding: 0, outputPadding: 0),
        Window(c: 4, o: 32, l: 58, k: 5, stride: 5, padding: 0, outputPadding: 2),
        Window(c: 8, o: 1, l: 290, k: 5, stride: 1, padding: 5, outputPadding: 0),
        Window(c: 3, o: 16, l: 129, k: 9, stride: 2, padding: 4, outputPadding: 1),
        Window(c: 16, o: 12, l: 65, k: 7, stride: 2, padding: 3, outputPadding: 1),
        Window(c: 64, o: 33, l: 40, k: 3, stride: 1, padding: 1, outputPadding: 0),
        Window(c: 5, o: 3, l: 2, k: 3, stride: 4, padding: 2, outputPadding: 3),
        Window(c: 20, o: 9, l: 2500, k: 3, stride: 1, padding: 2, outputPadding: 0),
        Window(c: 2, o: 2, l: 1, k: 1, stride: 1, padding: 0, outputPadding: 0),
        // Several tiles of positions, blocks of input channels, kernels shorter than the stride
        Window(c: 300, o: 10, l: 60, k: 5, stride: 1, padding: 2, outputPadding: 0),
        Window(c: 2, o: 3, l: 3001, k: 11, stride: 1, padding: 5, outputPadding: 0),
        Window(c: 5, o: 9, l: 2111, k: 9, stride: 2, padding: 4, outputPadding: 1),
        Window(c: 30, o: 7, l: 1200, k: 5, stride: 5, padding: 0, outputPadding: 0),
        Window(c: 3, o: 17, l: 100, k: 3, stride: 5, padding: 1, outputPadding: 4),
    ]

    @Test("The gradients of conv1d and of its adjoint equal the plain ones", arguments: windows)
    func convolutionGradients(_ s: Window) {
        var random = Random(seed: 9)
        let x: Tensor<Double> = random.normal([2, s.c, s.l])
        let w: Tensor<Double> = random.normal([s.o, s.c, s.k])
        let none = Tensor<Double>.zeros([s.c])
        let out = (s.l + 2 * s.padding - s.k) / s.stride + 1
        let g: Tensor<Double> = random.normal([2, s.o, out])
        // dx is the plain transposed convolution of g, cut or filled up to x's length
        let back = Naive.convTranspose1d(g, w, none, stride: s.stride, padding: 0, outputPadding: 0).values
        let length = (out - 1) * s.stride + s.k
        var dx = [Double](repeating: 0, count: x.count)
        for row in 0..<2 * s.c {
            for i in 0..<s.l where i + s.padding < length { dx[row * s.l + i] = back[row * length + i + s.padding] }
        }
        let (xs, gs) = (x.values, g.values)
        var dw = [Double](repeating: 0, count: w.count)
        for n in 0..<2 {
            for o in 0..<s.o {
                for c in 0..<s.c {
                    for j in 0..<s.k {
                        var sum = 0.0
                        for p in 0..<out where (0..<s.l).contains(p * s.stride + j - s.padding) {
                            sum += gs[(n * s.o + o) * out + p] * xs[(n * s.c + c) * s.l + p * s.stride + j - s.padding]
                        }
                        dw[(o * s.c + c) * s.k + j] += sum
                    }
                }
            }
        }
        func check<E: Element>(_ type: E.Type, _ bound: Double) {
            let (a, b) = (x.converted(to: E.self).requiringGradient(), w.converted(to: E.self).requiringGradient())
            let y = fastConv1d(a, b, Tensor<E>.zeros([s.o]), s)
            (y * g.converted()).sum().backward()
            #expect(relativeError(a.gradient!, Tensor(dx, shape: x.shape)) < bound)
            #expect(relativeError(b.gradient!, Tensor(dw, shape: w.shape)) < bound)
        }
        check(Double.self, 1e-13)
        check(Float.self, 2e-6)
    }

    @Test("conv1d equals seven nested loops, in both element types", arguments: windows)
    func conv1d(_ s: Window) {
        var random = Random(seed: 3)
        let x: Tensor<Double> = random.normal([3, s.c, s.l])
        let w: Tensor<Double> = random.normal([s.o, s.c, s.k])
        let bias: Tensor<Double> = random.normal([s.o])
        let expected = Naive.conv1d(x, w, bias, stride: s.stride, padding: s.padding)
        let double = fastConv1d(x, w, bias, s)
        #expect(relativeError(double, expected) < 1e-13)
        let single = fastConv1d(x.converted(to: Float.self), w.converted(), bias.converted(), s)
        #expect(relativeError(single, expected) < 1e-6)
    }

    @Test("convTranspose1d equals the plain scatter, in both element types", arguments: windows)
    func convTranspose1d(_ s: Window) {
        var random = Random(seed: 4)
        let x: Tensor<Double> = random.normal([3, s.c, s.l])
        let w: Tensor<Double> = random.normal([s.c, s.o, s.k])
        let bias: Tensor<Double> = random.normal([s.o])
        guard (s.l - 1) * s.stride - 2 * s.padding + s.k + s.outputPadding > 0 else { return }
        let expected = Naive.convTranspose1d(
            x, w, bias, stride: s.stride, padding: s.padding, outputPadding: s.outputPadding)
        #expect(relativeError(fastConvTranspose1d(x, w, bias, s), expected) < 1e-13)
        let single = fastConvTranspose1d(x.converted(to: Float.self), w.converted(), bias.converted(), s)
        #expect(relativeError(single, expected) < 1e-6)
    }

    @Test(
        "conv2d equals the plain loops",
        arguments: [(3, 64, 32, 7, 4, 3), (4, 5, 9, 3, 1, 1), (2, 3, 8, 5, 2, 2), (9, 10, 12, 3, 2, 0)])
    func conv2d(_ c: Int, _ o: Int, _ size: Int, _ k: Int, _ stride: Int, _ padding: Int) {
        var random = Random(seed: 5)
        let x: Tensor<Double> = random.normal([2, c, size, size + 3])
        let w: Tensor<Double> = random.normal([o, c, k, k])
        let bias: Tensor<Double> = random.normal([o])
        let expected = Naive.conv2d(x, w, bias, stride: stride, padding: padding)
        #expect(relativeError(fastConv2d(x, w, bias, stride, padding), expected) < 1e-13)
    }

    static let products: [[Int]] = [
        [1, 1, 1], [1, 300, 1000], [2, 17, 5], [3, 1000, 64], [5, 63, 33], [8, 129, 257], [9, 9, 9], [300, 1, 40],
        [300, 7, 40], [33, 8, 65], [64, 64, 64], [100, 200, 300], [257, 255, 129], [500, 300, 40], [16, 700, 100],
        [20, 97, 31],
        [97, 27, 33], [32, 200, 1],
    ]

    @Test("matmul equals three nested loops for all four ways of reading the operands", arguments: products)
    func matmul(_ size: [Int]) {
        let (m, n, k) = (size[0], size[1], size[2])
        var random = Random(seed: 6)
        let a: Tensor<Double> = random.normal([m, k])
        let b: Tensor<Double> = random.normal([k, n])
        let expected = Naive.matmul(a, b)
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let (left, right) = (ta ? a.transposed() : a, tb ? b.transposed() : b)
            let double = Tensor.matmul(left, right, transposeA: ta, transposeB: tb)
            #expect(relativeError(double, expected) < 1e-13, "\(size) \(ta) \(tb)")
            let single = Tensor<Float>.matmul(left.converted(), right.converted(), transposeA: ta, transposeB: tb)
            #expect(relativeError(single, expected) < 1e-6, "\(size) \(ta) \(tb)")
        }
    }

    @Test("permuted moves element (i, j, k, l) to its place", arguments: [[0, 1, 3, 2], [3, 1, 0, 2], [1, 0, 2, 3]])
    func permuted(_ order: [Int]) {
        let x = Tensor<Float>((0..<(3 * 4 * 1 * 40)).map { Float($0) }, shape: [3, 4, 1, 40])
        let y = x.permuted(order)
        #expect(y.shape == order.map { x.shape[$0] })
        for (i, j, l) in [(0, 0, 0), (2, 3, 39), (1, 2, 17), (0, 3, 1)] {
            let from = [i, j, 0, l]
            let to = order.map { from[$0] }
            #expect(y[to[0], to[1], to[2], to[3]] == x[i, j, 0, l])
        }
    }
}

private func fastConv1d<E>(_ x: Tensor<E>, _ w: Tensor<E>, _ b: Tensor<E>, _ s: ReferenceTests.Window) -> Tensor<E> {
    conv1d(x, weight: w, bias: b, stride: s.stride, padding: s.padding)
}
private func fastConvTranspose1d<E>(_ x: Tensor<E>, _ w: Tensor<E>, _ b: Tensor<E>, _ s: ReferenceTests.Window)
    -> Tensor<E>
{
    convTranspose1d(
        x, weight: w, bias: b, stride: s.stride, padding: s.padding, outputPadding: s.outputPadding)
}
private func fastConv2d<E>(_ x: Tensor<E>, _ w: Tensor<E>, _ b: Tensor<E>, _ stride: Int, _ padding: Int) -> Tensor<E> {
    conv2d(x, weight: w, bias: b, stride: stride, padding: padding)
}
