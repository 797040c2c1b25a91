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
    /// The canonical factors of one module.
    func canonicalForm(ofModule index: Int) throws(LoragenError) -> CanonicalForm {
        try CanonicalForm(
            a: tensor(at: 2 * index).values, b: tensor(at: 2 * index + 1).values, module: layout.modules[index])
    }

    /// The spectrum of each module's update. Throws `.nonFinite`.
    public func spectra() throws(LoragenError) -> [Spectrum] {
        try checkFinite(source: "the adapter")
        var spectra: [Spectrum] = []
        for i in layout.modules.indices { spectra.append(Spectrum(try canonicalForm(ofModule: i).sigma)) }
        return spectra
    }
}
