import CKernels

/// Rows handled together: about 16 K elements.
private func rowGrain(_ d: Int) -> Int { max(1, 16384 / max(1, d)) }

private func checkScale<E>(_ gamma: Tensor<E>?, _ beta: Tensor<E>?, _ d: Int) {
    precondition(gamma.map { $0.shape == [d] } ?? true, "gamma \(gamma!.shape) for \(d) features")
    precondition(beta.map { $0.shape == [d] } ?? true, "beta \(beta!.shape) for \(d) features")
}

/// Over the rows of x seen as [rows, d].
private func normaliseRows<E: Element>(
    _ x: Tensor<E>, d: Int, centre: Bool, gamma: Tensor<E>?, beta: Tensor<E>?, eps: Double
) -> Tensor<E> {
    checkScale(gamma, beta, d)
    let rows = d == 0 ? 0 : x.count / d
    let (mean, rstd) = (Storage<E>(count: rows), Storage<E>(count: rows))
    let result = Tensor<E>.make(x.shape) { y in
        Threads.over(rows, grain: rowGrain(d)) { r, n in
            lk_norm(
                E.kind, centre, n, d, eps, x.storage.base + r * d, gamma?.storage.base, beta?.storage.base,
                y + r * d, mean.base + r, rstd.base + r)
        }
    }
    guard Tensor.isTracked(x, gamma, beta) else { return result }
    let (input, scale) = (x.detached(), gamma?.detached())
    return result.recorded(from: [x, gamma, beta]) { g, inputs in
        // The sums over rows for gamma and beta: a partial sum for each of a fixed number of groups of rows.
        let perGroup = max(rowGrain(d), (rows + 63) / 64)
        let groups = max(1, (rows + perGroup - 1) / perGroup)
        let (hasX, hasGamma, hasBeta) = (inputs[0] != nil, inputs[1] != nil, inputs[2] != nil)
        let dgamma: Tensor<E>? = hasGamma ? .zeros([groups, d]) : nil
        let dbeta: Tensor<E>? = hasBeta ? .zeros([groups, d]) : nil
        let dx = Tensor<E>(storage: Storage(count: hasX ? input.count : 0), shape: hasX ? input.shape : [0])
        Threads.parallelFor(groups) { group in
            let r = group * perGroup
            let n = min(perGroup, rows - r)
            if n <= 0 { return }
            lk_norm_backward(
                E.kind, centre, n, d, input.storage.base + r * d, scale?.storage.base, mean.base + r, rstd.base + r,
                g.storage.base + r * d, hasX ? dx.storage.base + r * d : nil,
                dgamma.map { $0.storage.base + group * d }, dbeta.map { $0.storage.base + group * d })
        }
        inputs[0]?.accumulate(dx)
        if let dgamma { inputs[1]?.accumulate(dgamma.sum(axes: [0])) }
        if let dbeta { inputs[2]?.accumulate(dbeta.sum(axes: [0])) }
    }
}

/// (x - mean) / sqrt(variance + eps) * gamma + beta over the last axis d; biased variance; gamma, beta [d].
public func layerNorm<E: Element>(
    _ x: Tensor<E>, gamma: Tensor<E>? = nil, beta: Tensor<E>? = nil, eps: Double = 1e-5
) -> Tensor<E> {
    precondition(x.rank >= 1, "layerNorm of a scalar")
    return normaliseRows(x, d: x.shape[x.rank - 1], centre: true, gamma: gamma, beta: beta, eps: eps)
}

/// x / sqrt(mean(x^2) + eps) * gamma over the last axis d; gamma [d].
public func rmsNorm<E: Element>(_ x: Tensor<E>, gamma: Tensor<E>? = nil, eps: Double = 1e-6) -> Tensor<E> {
    precondition(x.rank >= 1, "rmsNorm of a scalar")
    return normaliseRows(x, d: x.shape[x.rank - 1], centre: false, gamma: gamma, beta: nil, eps: eps)
}

/// x [B, C, L] normalised over L for each sample and channel; biased variance, nothing learned.
public func instanceNorm<E: Element>(_ x: Tensor<E>, eps: Double = 1e-5) -> Tensor<E> {
    precondition(x.rank == 3, "instanceNorm of \(x.shape)")
    return normaliseRows(x, d: x.shape[2], centre: true, gamma: nil, beta: nil, eps: eps)
}

/// The mean and biased variance [C] of a batch, for the running update.
public struct BatchStatistics<E: Element> {
    public let mean: Tensor<E>
    public let variance: Tensor<E>
    /// How many numbers each channel's statistics were taken from.
    public let count: Int
}

/// x [B, C] or [B, C, L] normalised per channel with the statistics of this batch.
public func batchNorm<E: Element>(
    _ x: Tensor<E>, gamma: Tensor<E>? = nil, beta: Tensor<E>? = nil, eps: Double = 1e-5
) -> (output: Tensor<E>, statistics: BatchStatistics<E>) {
    precondition(x.rank == 2 || x.rank == 3, "batchNorm of \(x.shape)")
    let (b, c, l) = (x.shape[0], x.shape[1], x.rank == 3 ? x.shape[2] : 1)
    let variance = Tensor<E>.zeros([c])
    let mean = Tensor<E>.make([c]) { mean in
        Threads.over(c, grain: rowGrain(b * l)) { first, n in
            lk_channel_moments(E.kind, b, c, l, x.storage.base, mean, variance.storage.base, first, first + n)
        }
    }
    let output = normaliseChannels(
        x, mean: mean, variance: variance, gamma: gamma, beta: beta, eps: eps, ownStatistics: true)
    return (output, BatchStatistics(mean: mean, variance: variance, count: b * l))
}

/// x [B, C] or [B, C, L] normalised per channel with given statistics [C]: evaluation.
public func batchNorm<E: Element>(
    _ x: Tensor<E>, mean: Tensor<E>, variance: Tensor<E>, gamma: Tensor<E>? = nil, beta: Tensor<E>? = nil,
    eps: Double = 1e-5
) -> Tensor<E> {
    precondition(x.rank == 2 || x.rank == 3, "batchNorm of \(x.shape)")
    precondition(
        mean.shape == [x.shape[1]] && variance.shape == mean.shape,
        "batchNorm of \(x.shape) with statistics \(mean.shape)")
    return normaliseChannels(
        x, mean: mean, variance: variance, gamma: gamma, beta: beta, eps: eps, ownStatistics: false)
}

private func normaliseChannels<E: Element>(
    _ x: Tensor<E>, mean: Tensor<E>, variance: Tensor<E>, gamma: Tensor<E>?, beta: Tensor<E>?, eps: Double,
    ownStatistics: Bool
) -> Tensor<E> {
    let (b, c, l) = (x.shape[0], x.shape[1], x.rank == 3 ? x.shape[2] : 1)
    checkScale(gamma, beta, c)
    let (mean, input, offset) = (mean.detached(), x.detached(), beta?.detached())
    let factor = gamma?.detached()
    let rstd = 1 / (variance.detached() + eps).squareRoot()
    let scale = factor.map { rstd * $0 } ?? rstd
    let shift = offset.map { $0 - mean * scale } ?? -(mean * scale)
    let result = Tensor<E>.make(x.shape) { y in
        Threads.over(c, grain: rowGrain(b * l)) { first, n in
            lk_channel_affine(
                E.kind, b, c, l, input.storage.base, scale.storage.base, shift.storage.base, y, first, first + n)
        }
    }
    guard Tensor.isTracked(x, gamma, beta) else { return result }
    return result.recorded(from: [x, gamma, beta]) { g, inputs in
        let (sums, products) = (Tensor<E>.zeros([c]), Tensor<E>.zeros([c]))
        let hasX = inputs[0] != nil
        let dx = Tensor<E>(storage: Storage(count: hasX ? input.count : 0), shape: hasX ? input.shape : [0])
        let none = Tensor<E>.zeros([c])
        Threads.over(c, grain: rowGrain(b * l)) { first, n in
            lk_channel_gradient_sums(
                E.kind, b, c, l, input.storage.base, g.storage.base, mean.storage.base, rstd.storage.base,
                sums.storage.base, products.storage.base, first, first + n)
            if hasX {
                // Given statistics are constants: their terms are zero.
                let (s1, s2) = ownStatistics ? (sums, products) : (none, none)
                lk_channel_norm_backward(
                    E.kind, b, c, l, input.storage.base, g.storage.base, mean.storage.base, rstd.storage.base,
                    scale.storage.base, s1.storage.base, s2.storage.base, dx.storage.base, first, first + n)
            }
        }
        inputs[0]?.accumulate(dx)
        inputs[1]?.accumulate(products)
        inputs[2]?.accumulate(sums)
    }
}
