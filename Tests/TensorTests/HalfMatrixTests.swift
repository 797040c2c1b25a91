import Testing

@testable import Tensor

@Suite("bf16 weights") struct HalfMatrixTests {
    @Test("Rounding is to nearest even and keeps infinities and NaN")
    func rounding() {
        let x: [Float] = [1, 1.00390625, 1.01171875, -2.5, 0, .infinity, 3.4e38, Float(bitPattern: 0x0001_8001)]
        let y = HalfMatrix(Tensor(x, shape: [1, 8])).widened.values
        #expect(y == [1, 1, 1.015625, -2.5, 0, .infinity, .infinity, Float(bitPattern: 0x0002_0000)])
        #expect(HalfMatrix(Tensor([.nan], shape: [1, 1])).widened.values[0].isNaN)
    }

    @Test("Products are within 1e-2 of f32, for any number of rows and columns", arguments: [1, 2, 4, 5, 16, 23])
    func products(_ rows: Int) {
        for (n, k) in [(64, 96), (131, 77), (7, 1), (300, 1024)] {
            var random = Random(seed: 9)
            let x: Tensor<Float> = random.normal([rows, k])
            let weight: Tensor<Float> = random.normal([n, k])
            let bias: Tensor<Float> = random.normal([n])
            let half = HalfMatrix(weight)
            let exact = linear(x.converted(to: Double.self), weight: weight.converted(), bias: bias.converted())
            let error = relativeError(half(x, bias: bias), exact)
            #expect(error < 1e-2, "\(rows) x \(n) x \(k): \(error)")
            // Rounded operands multiply exactly: what is left is the sum's rounding.
            let roundedX = HalfMatrix(x).widened
            let rounded = linear(roundedX.converted(to: Double.self), weight: half.widened.converted())
            #expect(relativeError(half(roundedX), rounded) < 1e-5)
        }
    }
}
