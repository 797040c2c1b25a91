import Tensor
import Testing

@testable import Files
@testable import Formats
@testable import Learning
@testable import Methods

@Suite struct PrincipalAutoencoderTests {
    @Test(
        "it loses what the singular values that it leaves out hold, and no more",
        arguments: [(9, 20, 4), (20, 9, 4), (6, 6, 6)])
    func singularValues(examples: Int, values: Int, latents: Int) throws {
        var random = Random(seed: 1)
        let x: Tensor<Float> = random.normal([examples, values])
        let autoencoder = PrincipalAutoencoder(valueCount: values, latentCount: latents)
        try autoencoder.fit(x)
        let lost = (autoencoder.decode(autoencoder.encode(x)) - x).sumOfSquares
        let sigma = try thinSVD(x.converted(to: Double.self)).s.values
        let expected = sigma.dropFirst(latents).reduce(0) { $0 + $1 * $1 }
        #expect(abs(lost - expected) < 1e-4 * sigma.reduce(0) { $0 + $1 * $1 })
        // Latents are the projections: their squares are the singular values'.
        let latent = Dense(autoencoder.encode(x))
        for k in 0..<latents {
            let square = (0..<examples).reduce(0) { $0 + latent[$1, k] * latent[$1, k] }
            #expect(abs(square.squareRoot() - sigma[k]) < 1e-3 * sigma[0])
        }
    }

    /// Vectors of rank 5 in 400 dimensions: copies, mixtures, and both; all with the same singular values or falling ones.
    private static func dependent(_ kind: String) -> Tensor<Float> {
        var random = Random(seed: 4)
        var basis: Tensor<Float> = random.normal([6, 400])
        if kind == "steep" { basis = basis * Tensor([1, 0.3, 0.1, 0.03, 0.01, 0.003], shape: [6, 1]) }
        var x: Tensor<Float> = basis
        if kind == "copies" { x = .concatenate([basis, basis, basis], axis: 0) }
        if kind != "copies" { x = (random.normal([40, 6]) as Tensor<Float>).matmul(basis) }
        return x - x.mean(axes: [0], keepDims: true)
    }

    @Test(
        "components are orthonormal or zero, and give back vectors of a small rank",
        arguments: ["copies", "mixtures", "steep"], [1e-20, 1, 1e15])
    func dependent(kind: String, size: Double) throws {
        let x = Self.dependent(kind) * size
        let autoencoder = PrincipalAutoencoder(valueCount: 400, latentCount: x.shape[0] - 1)
        try autoencoder.fit(x)
        let components = Dense(try #require(autoencoder.namedTensors().first { $0.name == "components" }?.tensor))
        let product = components * components.transposed
        #expect(autoencoder.rank == (kind == "copies" ? 5 : 6))
        for i in 0..<product.rows {
            for j in 0..<i { #expect(abs(product[i, j]) < 1e-3, "\(i) \(j) \(product[i, j])") }
            #expect(abs(product[i, i] - (i < autoencoder.rank ? 1 : 0)) < 1e-5)
        }
        #expect(relativeError(autoencoder.decode(autoencoder.encode(x)), x) < 2e-5)
    }

    @Test func `examples that are all alike have latents and come back`() throws {
        let x = Tensor<Float>.zeros([5, 12])
        let autoencoder = PrincipalAutoencoder(valueCount: 12, latentCount: 4)
        try autoencoder.fit(x)
        #expect(autoencoder.decode(autoencoder.encode(x)).values.allSatisfy { $0 == 0 })
    }
}

@Suite struct ResidualDenoiserTests {
    private static func denoiser<E: Element>(
        conditions: Int, dropout: Double = 0, of type: E.Type = E.self
    ) -> ResidualDenoiser<E> {
        var random = Random(seed: 1)
        let denoiser = ResidualDenoiser<E>(
            latentCount: 5, conditionCount: conditions, width: 8, blocks: 2, dropout: dropout, random: &random)
        return denoiser
    }

    @Test func `it starts as the zero function but for its bias`() {
        let denoiser = Self.denoiser(conditions: 3, of: Float.self)
        var random = Random(seed: 2)
        let outputs = denoiser(random.normal([4, 5]), times: [0, 1, 500, 999], condition: random.normal([4, 3])).values
        for i in 5..<20 { #expect(outputs[i] == outputs[i % 5]) }
    }

    @Test("the parameters counted beforehand are those it has", arguments: [0, 3])
    func parameterCount(conditions: Int) {
        #expect(
            Self.denoiser(conditions: conditions, of: Float.self).parameterCount
                == ResidualDenoiser<Float>.parameterCount(
                    latentCount: 5, conditionCount: conditions, width: 8, blocks: 2))
    }

    @Test(
        "its derivatives are those of its loss, with the same dropout each time", arguments: [(0, 0), (3, 0), (3, 0.3)])
    func derivatives(conditions: Int, dropout: Double) {
        let denoiser = Self.denoiser(conditions: conditions, dropout: dropout, of: Double.self)
        fill(denoiser)
        var random = Random(seed: 2)
        let x: Tensor<Double> = random.normal([3, 5])
        let target: Tensor<Double> = random.normal([3, 5])
        let condition: Tensor<Double>? = conditions > 0 ? random.normal([3, conditions]) : nil
        func loss() -> Tensor<Double> {
            mseLoss(denoiser.run(x, times: [1, 9, 400], condition: condition, random: Random(seed: 7)), target)
        }
        loss().backward()
        for (name, parameter) in denoiser.namedParameters {
            guard let gradient = parameter.gradient else {
                Issue.record("\(name) has no gradient")
                continue
            }
            let direction: Tensor<Double> = Formula.normalLike("direction " + name, parameter.shape)
            let start = parameter.value
            func shifted(by distance: Double) -> Double {
                parameter.value = start + direction * distance
                return withoutGradients { loss().item }
            }
            let difference = (shifted(by: 1e-6) - shifted(by: -1e-6)) / 2e-6
            parameter.value = start
            let derivative = (gradient * direction).sum().item
            #expect(
                abs(difference - derivative) < 1e-6 * max(1, abs(derivative)), "\(name): \(derivative), \(difference)")
        }
    }

    @Test func `samples of a batch do not see each other`() {
        let denoiser = Self.denoiser(conditions: 3, of: Float.self)
        fill(denoiser)
        var random = Random(seed: 2)
        let (x, c): (Tensor<Float>, Tensor<Float>) = (random.normal([4, 5]), random.normal([4, 3]))
        let times = [0, 10, 20, 999]
        let together = denoiser(x, times: times, condition: c)
        for i in 0..<4 {
            let alone = denoiser(
                x.slice(axis: 0, i..<(i + 1)), times: [times[i]], condition: c.slice(axis: 0, i..<(i + 1)))
            #expect(relativeError(alone, together.slice(axis: 0, i..<(i + 1))) < 1e-6)
        }
    }

    @Test func `no condition is the zero condition`() {
        let denoiser = Self.denoiser(conditions: 3, of: Float.self)
        fill(denoiser)
        var random = Random(seed: 2)
        let x: Tensor<Float> = random.normal([2, 5])
        #expect(
            denoiser(x, times: [3, 4], condition: nil).values
                == denoiser(x, times: [3, 4], condition: .zeros([2, 3])).values)
        #expect(
            denoiser(x, times: [3, 4], condition: nil).values
                != denoiser(x, times: [3, 4], condition: .ones([2, 3])).values)
    }
}
