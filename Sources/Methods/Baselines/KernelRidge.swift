import Adapters
import Glibc
import Learning
import NN
import Tensor

/// Ridge regression with a Gaussian kernel of the condition, `k(c, c') = exp(−‖c − c'‖² / 2ℓ²)`, in closed form. On label
/// bits this is the product kernel: all interactions of the bits, weighted down geometrically with their order.
///
/// Width and ridge are chosen by the error on tasks that are left out, which has a closed form too; where no choice is better
/// than the mean of the others, the mean it is: a kernel without end, `k = 1`.
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

    static func weightCount(_ size: ProblemSize) -> Int { size.examples * (size.values + size.conditions) }

    /// Numbers that fitting holds: kernel, eigenvectors and LAPACK's room for them, in double.
    static func workspace(_ size: ProblemSize) -> Double {
        16 * Double(size.examples) * Double(size.examples) + 8 * Double(size.examples) * Double(size.values)
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

    /// Fits to `y [N, values]`, whose mean is zero, with each example's task if that is known; returns the predictions of
    /// each task by the others, `[N, values]`.
    @discardableResult
    func fit(_ c: Tensor<Float>, _ y: Tensor<Float>, tasks: [Int32] = []) throws(LoragenError) -> Tensor<Float> {
        let n = c.shape[0]
        let target: Tensor<Double> = y.converted()
        let reduced = try y.shape[1] > n ? squareRoot(target.matmul(target, transposeB: true)) : target
        let blocks = ExampleBlocks(conditions: c, tasks: tasks)
        var error = blocks.residualsOfMean(reduced).sumOfSquares
        var best: (width: Double, system: KernelSystem, lambda: Double)?
        for factor in blocks.count > 1 ? Self.widths : [] {
            // Standardised conditions are √(2·length) apart on average.
            let width = factor * Double(max(1, c.shape[1])).squareRoot()
            let system = try KernelSystem(kernel(c, c, width: width).converted())
            let turned = system.turned(reduced)
            for exponent in Self.exponents {
                // Copies add to the kernel's eigenvalues and say nothing new.
                let lambda = system.meanEigenvalue * pow(10, exponent) * (Double(n) / Double(blocks.count))
                let alpha = system.coefficients(turned, lambda: lambda)
                let found = try system.residuals(alpha, lambda: lambda, blocks: blocks).sumOfSquares
                if found < error { (error, best) = (found, (width, system, lambda)) }
            }
        }
        guard error.isFinite else {
            throw LoragenError(.nonFinite, "kernel ridge regression has no finite solution")
        }
        conditions.value = c
        guard let (width, system, lambda) = best else {
            let mean: Tensor<Float> = (target.mean(axes: [0], keepDims: true) / Double(n)).converted()
            coefficients.value = .concatenate([Tensor<Float>](repeating: mean, count: n), axis: 0)
            self.width.value = Tensor([.greatestFiniteMagnitude])
            return (target - blocks.residualsOfMean(target)).converted()
        }
        let alpha = system.coefficients(system.turned(target), lambda: lambda)
        coefficients.value = alpha.converted()
        self.width.value = Tensor([Float(width)])
        return (target - (try system.residuals(alpha, lambda: lambda, blocks: blocks))).converted()
    }

    private static let widths = [0.5, 0.7, 1.0, 1.4, 2.0, 2.8]
    /// Of ten, times the kernel's mean eigenvalue.
    private static let exponents = [-4.0, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2]

    /// Some L with `L Lᵀ = gram`. Errors are sums of squares over a row of targets, which do not change when `[N, N]` L
    /// stands for targets `[N, values]` of the same Gram matrix; the search over widths and ridges is that much shorter.
    private func squareRoot(_ gram: Tensor<Double>) throws(LoragenError) -> Tensor<Double> {
        let (values, vectors) = try typed { try symmetricEigen(gram) }
        return (vectors * values.clamp(0, .infinity).squareRoot().reshaped([gram.shape[0], 1])).transposed()
    }

    private func kernel(_ a: Tensor<Float>, _ b: Tensor<Float>, width: Double) -> Tensor<Float> {
        let squares =
            a.square().sum(axes: [1], keepDims: true) + b.square().sum(axes: [1], keepDims: true).transposed()
        let distance = (squares - a.matmul(b, transposeB: true) * 2).clamp(0, Double(Float.greatestFiniteMagnitude))
        return (distance * (-0.5 / (width * width))).exp()
    }
}
