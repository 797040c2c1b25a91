import Files
import Glibc
import Tensor

/// The singular values of one module's update `ΔW = s·B·A`, in falling order, without those that are zero.
public struct Spectrum: Equatable, Sendable {
    public let values: [Double]

    public init(_ values: [Double]) { self.values = values }

    /// `‖ΔW‖`, the Frobenius norm.
    public var norm: Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

    /// `‖ΔW‖₂`, the largest singular value; 0 for a zero update.
    public var largest: Double { values.first ?? 0 }

    /// `exp(−Σ p log p)` with `p = σ / Σσ` (Roy and Vetterli 2007, "The effective rank"): 1 when one direction has
    /// everything, the number of values when all are equal, 0 for a zero update.
    public var effectiveRank: Double {
        let sum = values.reduce(0, +)
        if sum == 0 { return 0 }
        return exp(-values.reduce(0) { $0 + ($1 == 0 ? 0 : $1 / sum * log($1 / sum)) })
    }

    /// `‖ΔW‖² / ‖ΔW‖₂²`, the stable rank; 0 for a zero update.
    public var stableRank: Double {
        let largest = largest
        return largest == 0 ? 0 : values.reduce(0) { $0 + ($1 / largest) * ($1 / largest) }
    }

    var json: JSON {
        [
            "norm": .number(norm), "effective_rank": .number(effectiveRank), "stable_rank": .number(stableRank),
            "singular_values": JSON(values),
        ]
    }
}

extension Adapter {
    /// The canonical factors of one module. A convolution of several groups is one product too: B has its groups' blocks
    /// on the diagonal.
    func canonicalForm(ofModule index: Int) throws(LoragenError) -> CanonicalForm {
        let module = layout.modules[index]
        if module.groups == 1 { return try CanonicalForm(factors(of: index, group: 0), module: module) }
        var b = SmallMatrix(rows: module.outputs, columns: module.rank)
        var a = SmallMatrix(rows: module.columns, columns: module.rank)
        for group in 0..<module.groups {
            let part = factors(of: index, group: group)
            let (partB, partA) = (part.b, part.aTransposed)
            for k in 0..<module.groupRank {
                let column = group * module.groupRank + k
                for i in 0..<partB.rows { b[group * module.groupOutputs + i, column] = partB[i, k] }
                for i in 0..<partA.rows { a[i, column] = partA[i, k] }
            }
        }
        return try CanonicalForm(b: b, aTransposed: a, module: module)
    }

    /// The spectrum of each module's update. Throws `.nonFinite`.
    public func spectra() throws(LoragenError) -> [Spectrum] {
        try checkFinite(source: "the adapter")
        var spectra: [Spectrum] = []
        for i in layout.modules.indices { spectra.append(Spectrum(try canonicalForm(ofModule: i).sigma)) }
        return spectra
    }
}
