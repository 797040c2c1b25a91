import Adapters
import Files
import Tensor

/// VeRA (arXiv 2310.11454): `ΔW = diag(λ_b)·B·diag(λ_d)·A` with random A and B that all modules share, cut to each one's sizes.
/// A LoRA of the same rank.
enum VeRA {
    private static let shared: Set<String> = ["base_model.vera_A", "base_model.vera_B"]

    static func modules(
        _ file: SafetensorsFile, _ config: ProductConfig, base: String?
    ) throws(LoragenError) -> [ProductModule] {
        let tensors = try ProductTensors(file, ["vera_lambda_b", "vera_lambda_d"], shared: shared)
        guard let first = file.tensor("base_model.vera_A"), let second = file.tensor("base_model.vera_B") else {
            throw LoragenError(
                .unsupported,
                "\(file.path): it lacks VeRA's random matrices, which PyTorch alone can draw again; load it with PEFT, set "
                    + "save_projection in its config to True and save it again")
        }
        guard let base else {
            throw LoragenError(
                .invalidArgument,
                "\(file.path): VeRA's file does not say how many inputs a module has; give the base model's weights (--base)"
            )
        }
        let weights = try BaseWeights(base)
        let (a, b) = (try tensors.matrix(first, "vera_A"), try tensors.matrix(second, "vera_B"))
        var modules: [ProductModule] = []
        for (name, parts) in tensors.modules {
            let (forB, forD) = (
                try tensors.matrix(parts["vera_lambda_b"], name + ".vera_lambda_b", dimensions: 1...1),
                try tensors.matrix(parts["vera_lambda_d"], name + ".vera_lambda_d", dimensions: 1...1)
            )
            guard case .found(let weight, _)? = weights.weight(of: name), let dimensions = weight.shape,
                dimensions.count == 2, !weight.isPacked
            else {
                throw LoragenError(.mismatch, "\(base): it does not say which shape module '\(name)' has")
            }
            let isTransposed = config.isTransposed && PEFTConfig.isConv1D(name)
            let (outputs, inputs) = isTransposed ? (dimensions[1], dimensions[0]) : (dimensions[0], dimensions[1])
            let rank = forD.rows
            guard forB.rows == outputs, b.rows >= outputs, a.columns >= inputs, a.rows == rank, b.columns == rank else {
                throw tensors.mismatch(
                    name,
                    "lambdas of \(forB.rows) and \(rank), A \([a.rows, a.columns]) and B \([b.rows, b.columns]) do not fit "
                        + "a weight \(dimensions)")
            }
            let shape = try ModuleShape(
                name: name, kind: isTransposed ? .transposedLinear : .linear, inputs: inputs, outputs: outputs, rank: 1,
                alpha: 1)
            try config.check(shape)
            modules.append(
                ProductModule(shape: shape) { (limit) throws(LoragenError) in
                    var (left, right) = (
                        SmallMatrix(rows: outputs, columns: rank), SmallMatrix(rows: inputs, columns: rank)
                    )
                    for k in 0..<rank {
                        for i in 0..<outputs { left[i, k] = forB[i, 0] * b[i, k] }
                        for j in 0..<inputs { right[j, k] = forD[k, 0] * a[k, j] }
                    }
                    return try ProductModule.cut(left, right, limit, shape)
                })
        }
        return modules
    }
}
