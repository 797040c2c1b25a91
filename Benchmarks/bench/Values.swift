import NN
import Tensor

/// Numbers that the Python side can make too: a multiplicative hash of the position, uniform in ±scale.
func hashed(_ shape: [Int], seed: Int, scale: Float = 1, around centre: Float = 0) -> Tensor<Float> {
    let count = shape.reduce(1, *)
    return Tensor((0..<count).map { hashed($0, seed) * scale + centre }, shape: shape)
}

private func hashed(_ i: Int, _ seed: Int) -> Float {
    var h = UInt32(truncatingIfNeeded: i) &* 2_654_435_761 &+ UInt32(truncatingIfNeeded: seed) &* 40_503
    h = (h ^ (h >> 15)) &* 2_246_822_519
    h ^= h >> 13
    return Float(h >> 8) * (2 / 16_777_216) - 1
}

extension Module where Scalar == Float {
    /// Every parameter from its position in the fixed order: weights in ±1/sqrt(fan in), vectors in ±0.1, scales of
    /// normalisations in 1 ± 0.1.
    func setHashed() {
        for (index, (name, parameter)) in namedParameters.enumerated() {
            let shape = parameter.shape
            let fanIn = shape.count > 1 ? shape.dropFirst().reduce(1, *) : 100
            let isScale = shape.count == 1 && name.contains("norm") && name.hasSuffix("weight")
            parameter.value = hashed(
                shape, seed: 100 + index, scale: 1 / Float(fanIn).squareRoot(), around: isScale ? 1 : 0)
        }
    }
}
