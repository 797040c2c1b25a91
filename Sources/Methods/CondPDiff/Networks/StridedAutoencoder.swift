import Tensor

/// What the vision and the parent autoencoder share: everything but the layers next to the latent.
protocol StridedAutoencoder<Scalar>: Autoencoder {
    var configuration: StridedAutoencoderConfiguration { get }
    /// `[n, D]` to `[n, P]`; batch norms use running statistics if `evaluating`, else what `setTraining` says.
    func latents(of x: Tensor<Scalar>, evaluating: Bool) -> Tensor<Scalar>
    /// `[n, P]` to `[n, D]`
    func values(of z: Tensor<Scalar>, evaluating: Bool) -> Tensor<Scalar>
}

extension StridedAutoencoder {
    var latentCount: Int { configuration.latentCount }

    func encode(_ x: Tensor<Scalar>) -> Tensor<Scalar> { latents(of: x, evaluating: true) }

    func decode(_ z: Tensor<Scalar>) -> Tensor<Scalar> { values(of: z, evaluating: true) }

    func loss(_ x: Tensor<Scalar>, random: Random) -> Tensor<Scalar> {
        var random = random
        let inputNoise = configuration.inputNoise > 0 ? random.normal(x.shape, of: Scalar.self) : nil
        let latentShape = [x.shape[0], latentCount]
        let latentNoise = configuration.latentNoise > 0 ? random.normal(latentShape, of: Scalar.self) : nil
        return loss(x, inputNoise: inputNoise, latentNoise: latentNoise)
    }

    /// The loss for given noise ε of deviation 1: `x' = x + s ε`, `z' = z + s ε`, and the clean `x` as the target.
    func loss(
        _ x: Tensor<Scalar>, inputNoise: Tensor<Scalar>?, latentNoise: Tensor<Scalar>?
    ) -> Tensor<Scalar> {
        let noised = inputNoise.map { x + $0 * configuration.inputNoise } ?? x
        var z = latents(of: noised, evaluating: false)
        if let latentNoise { z = z + latentNoise * configuration.latentNoise }
        return mseLoss(values(of: z, evaluating: false), x)
    }
}
