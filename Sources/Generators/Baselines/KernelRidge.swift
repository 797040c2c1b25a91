import Glibc
import NN
import Tensor

/// Ridge regression with a Gaussian kernel of the condition, `k(c, c') = exp(−‖c − c'‖² / 2ℓ²)`, in closed form. On label
/// bits this is the product kernel: all interactions of the bits, weighted down geometrically with their order.
///
/// Width and ridge are chosen by the leave-one-out error, which has a closed form too: with `α = (K + λ)⁻¹ y` the residual
/// of example i when it is left out is `α_i / [(K + λ)⁻¹]_ii` (Rasmussen and Williams 2006, section 5.4.2).
final class KernelRidge: Module {
    /// `[N, conditions]`, `[N, values]`.
    let conditions: ModuleBuffer<Float>
    let coefficients: ModuleBuffer<Float>
    let width: ModuleBuffer<Float>

    init(size: ProblemSize, values: Int) {
        conditions = ModuleBuffer(.pending([size.examples, size.conditions]))
        coefficients = ModuleBuffer(.pending([size.examples, values]))
        width = ModuleBuffer(Tensor([1]))
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        visitor.buffer("conditions", conditions)
        visitor.buffer("coefficients", coefficients)
        visitor.buffer("width", width)
    }

    /// The prediction, `[n, values]`.
    func callAsFunction(_ c: Tensor<Float>) -> Tensor<Float> {
        kernel(c, conditions.value, width: Double(width.value.item)).matmul(coefficients.value)
    }

    /// Fits to `y [N, values]`, whose mean is zero; returns the leave-one-out predictions, `[N, values]`.
    @discardableResult
    func fit(_ c: Tensor<Float>, _ y: Tensor<Float>) throws(LoragenError) -> Tensor<Float> {
        let n = c.shape[0]
        let target: Tensor<Double> = y.converted()
        let reduced = try y.shape[1] > n ? squareRoot(target.matmul(target, transposeB: true)) : target
        var best:
            (error: Double, width: Double, vectors: Tensor<Double>, inverse: Tensor<Double>, diagonal: Tensor<Double>)?
        for factor in [0.5, 0.7, 1.0, 1.4, 2.0, 2.8] {
            // Standardised conditions are √(2·length) apart on average.
            let width = factor * Double(max(1, c.shape[1])).squareRoot()
            let (values, vectors) = try typed {
                try symmetricEigen(kernel(c, c, width: width).converted(to: Double.self))
            }
            let turned = vectors.matmul(reduced)
            let squares = vectors.square()
            let mean = values.values.reduce(0, +) / Double(n)
            for exponent in [-4.0, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0] {
                let lambda = mean * pow(10, exponent)
                let inverse = (values.clamp(0, .infinity) + lambda).reciprocal().reshaped([n, 1])
                let diagonal = (squares * inverse).sum(axes: [0]).reshaped([n, 1])
                let error = (vectors.matmul(turned * inverse, transposeA: true) / diagonal).sumOfSquares
                if best.map({ error < $0.error }) ?? true { best = (error, width, vectors, inverse, diagonal) }
            }
        }
        guard let best, best.error.isFinite else {
            throw LoragenError(.nonFinite, "kernel ridge regression has no finite solution")
        }
        let alpha = best.vectors.matmul(best.vectors.matmul(target) * best.inverse, transposeA: true)
        conditions.value = c
        coefficients.value = alpha.converted()
        width.value = Tensor([Float(best.width)])
        return (target - alpha / best.diagonal).converted()
    }

    /// Some L with `L Lᵀ = gram`. Errors are sums of squares over a row of targets, which do not change when `[N, N]` L
    /// stands for targets `[N, values]` of the same Gram matrix; the search over widths and ridges is that much shorter.
    private func squareRoot(_ gram: Tensor<Double>) throws(LoragenError) -> Tensor<Double> {
        let (values, vectors) = try typed { try symmetricEigen(gram) }
        return (vectors * values.clamp(0, .infinity).squareRoot().reshaped([gram.shape[0], 1])).transposed()
    }

    private func kernel(_ a: Tensor<Float>, _ b: Tensor<Float>, width: Double) -> Tensor<Float> {
        let squares =
            a.square().sum(axes: [1], keepDims: true) + b.square().sum(axes: [1], keepDims: true).transposed()
        let distance = (squares - a.matmul(b, transposeB: true) * 2).clamp(0, .infinity)
        return (distance * (-0.5 / (width * width))).exp()
    }
}
