import Adapters
import Files
import Glibc
import Tensor

/// Whether a set of adapters has something in common that a generator could learn: measured on the Gram matrix alone.
struct Diversity: Sendable {
    /// Adapters, and sets of them that are left out together because they are of one run or task.
    let adapters: Int
    let blocks: Int
    /// `1 − Σ‖x − x̂‖² / Σ‖x − mean‖²` over all adapters, where both x̂, the best point in the affine span of the adapters
    /// of all other blocks, and the mean are made without x's own block. No linear method can do better on an adapter that
    /// it has not seen; `nil` with fewer than three blocks.
    let spanSkill: Double?
    /// The same with every second block left out for good: what half as many adapters give.
    let halfSpanSkill: Double?
    /// With x̂ the adapters whose conditions are nearest; `nil` without conditions.
    let nearestSkill: Double?
    /// With x̂ by ridge regression from the conditions; `nil` without conditions.
    let ridgeSkill: Double?
    /// `(Σλ)² / Σλ²` of the eigenvalues λ of the centred Gram matrix.
    let participation: Double
    /// How many principal components carry 90 % of the variance.
    let components90: Int
    /// Shares of the variance, falling.
    let variances: [Double]
    /// Intrinsic dimension by the distances to the two nearest neighbours (Facco et al. 2017, "TwoNN"); `nil` with fewer
    /// than 20 blocks.
    let twoNN: Double?

    /// `blocks[i]` is the block of adapter i; `conditions` are of equal length.
    init(_ gram: Gram, blocks: [Int], conditions: [[Float]]?) throws(LoragenError) {
        let gram = gram.inUnits()
        let task = LeaveBlocksOut(gram, blocks: blocks)
        adapters = gram.count
        self.blocks = task.members.count
        if task.members.count < 3 {
            (spanSkill, halfSpanSkill, nearestSkill, ridgeSkill) = (nil, nil, nil, nil)
        } else {
            spanSkill = task.skill(try task.span())
            let kept = task.members.enumerated().filter { $0.offset % 2 == 0 }.flatMap(\.element).sorted()
            let half = LeaveBlocksOut(gram.subset(kept), blocks: kept.map { blocks[$0] })
            halfSpanSkill = half.members.count >= 4 ? half.skill(try half.span()) : nil
            if let conditions, Set(conditions).count > 1 {
                nearestSkill = task.skill(task.nearest(conditions))
                var best: Double?
                for penalty in [1e-4, 1e-2, 1] {
                    guard let skill = task.skill(try task.ridge(conditions, penalty: penalty)) else { continue }
                    best = max(best ?? skill, skill)
                }
                ridgeSkill = best
            } else {
                (nearestSkill, ridgeSkill) = (nil, nil)
            }
        }
        variances = try Self.variances(gram)
        let squares = variances.reduce(0) { $0 + $1 * $1 }
        participation = squares > 0 ? 1 / squares : 0
        var sum = 0.0
        var components = 0
        for share in variances where sum < 0.9 {
            sum += share
            components += 1
        }
        components90 = components
        twoNN = task.members.count >= 20 ? Self.twoNN(gram, task.members.map { $0[0] }) : nil
    }

    var json: JSON {
        func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
        return [
            "adapters": JSON(adapters), "blocks": JSON(blocks), "span_skill": number(spanSkill),
            "half_span_skill": number(halfSpanSkill), "nearest_condition_skill": number(nearestSkill),
            "ridge_condition_skill": number(ridgeSkill), "participation": .number(participation),
            "components_90": JSON(components90), "two_nn": number(twoNN), "variances": JSON(variances),
        ]
    }
}

extension Diversity {
    /// Eigenvalues of the centred Gram matrix as shares of their sum, falling.
    private static func variances(_ gram: Gram) throws(LoragenError) -> [Double] {
        let n = gram.count
        if n < 2 { return [] }
        let means = (0..<n).map { i in (0..<n).reduce(0) { $0 + gram[i, $1] } / Double(n) }
        let mean = means.reduce(0, +) / Double(n)
        var centred = [Double](repeating: 0, count: n * n)
        for i in 0..<n { for j in 0..<n { centred[i * n + j] = gram[i, j] - means[i] - means[j] + mean } }
        let values = try typed { try symmetricEigen(Tensor<Double>(centred, shape: [n, n])).values.values }
        let positive = values.reversed().map { max(0, $0) }
        let sum = positive.reduce(0, +)
        return sum > LeaveBlocksOut.rounding(gram) ? positive.map { $0 / sum } : []
    }

    /// The maximum-likelihood estimate of one adapter of each block: neighbours at distances r₁ ≤ r₂ have `log(r₂/r₁)`
    /// exponential with the dimension as its rate.
    private static func twoNN(_ gram: Gram, _ members: [Int]) -> Double? {
        var sum = 0.0
        var count = 0
        for i in members {
            var (first, second) = (Double.infinity, Double.infinity)
            for j in members where j != i {
                let distance = gram.squaredDistance(i, j)
                if distance < first { (first, second) = (distance, first) } else { second = min(second, distance) }
            }
            // A copy's distance is rounding.
            guard first > Clusters.same * Clusters.same * gram[i, i], second.isFinite else { continue }
            // Half the logarithm of squares.
            sum += 0.5 * log(second / first)
            count += 1
        }
        return sum > 0 ? Double(count - 1) / sum : nil
    }
}
