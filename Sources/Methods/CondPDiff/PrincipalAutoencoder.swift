import Adapters
import NN
import Tensor

/// The linear autoencoder with the least squared error, in closed form: the principal components of the training vectors.
///
/// With fewer training adapters than values nothing is gained by descending to what an eigenvalue problem gives exactly,
/// and a linear map cannot over-fit more than its number of components. Vectors of a smaller rank (copies, mixtures) leave
/// the last components zero, and so their latents.
final class PrincipalAutoencoder: Autoencoder {
    let valueCount: Int
    let latentCount: Int
    /// `[P, D]`, rows that are orthonormal or zero.
    private let components: ModuleBuffer<Float>

    init(valueCount: Int, latentCount: Int) {
        self.valueCount = valueCount
        self.latentCount = latentCount
        components = ModuleBuffer(.pending([latentCount, valueCount]))
    }

    func visit(_ visitor: ModuleVisitor<Float>) { visitor.buffer("components", components) }

    func encode(_ x: Tensor<Float>) -> Tensor<Float> { x.matmul(components.value, transposeB: true) }
    func decode(_ z: Tensor<Float>) -> Tensor<Float> { z.matmul(components.value) }
    func loss(_ x: Tensor<Float>, random: Random) -> Tensor<Float> { mseLoss(decode(encode(x)), x) }

    func solve(_ x: @autoclosure () throws(LoragenError) -> Tensor<Float>) throws(LoragenError) -> Bool {
        try fit(try x())
        return true
    }

    /// Solves for the components of `x [N, D]`, whose mean is zero, through the smaller of `x·xᵀ` and `xᵀ·x`.
    func fit(_ x: Tensor<Float>) throws(LoragenError) {
        let x = x.inUnits().0
        let isWide = x.shape[0] < x.shape[1]
        let gram: Tensor<Double> = x.matmul(x, transposeA: !isWide, transposeB: isWide).converted()
        let (eigenvalues, vectors) = try typed { try symmetricEigen(gram) }
        let n = vectors.shape[0]
        // Eigenvalues ascend; the components are the last ones, largest first.
        let order = (0..<latentCount).map { Int32(n - 1 - $0) }
        let leading: Tensor<Float> = vectors.gather(order).converted()
        let rows = isWide ? leading.matmul(x) : leading
        let norms = rows.square().sum(axes: [1], keepDims: true).squareRoot().clamp(1e-20, .infinity)
        // What is below the rounding of a Gram matrix in single precision has no direction: its row would be noise inside
        // the other components' span, and at unit length it would count them twice.
        let rounding = Double(n) * Double(Float.ulpOfOne) / 2 * (eigenvalues.values.last ?? 0)
        let isKept: [Float] = order.map { eigenvalues[Int($0)] > rounding ? 1 : 0 }
        components.value = rows / norms * Tensor(isKept, shape: [latentCount, 1])
    }

    /// Components that are not zero.
    var rank: Int { components.value.square().sum(axes: [1]).values.reduce(0) { $0 + ($1 > 0 ? 1 : 0) } }
}
