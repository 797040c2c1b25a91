import Files
import Tensor

/// PEFT's PSOFT (0.21) as a container of SVFit: `ΔW = U·Σ·(R − 1)·Vᵀ` with `R = diag(b)·Q·diag(a)`; with Q = 1 and a = 1 that is
/// `U·diag(δ)·Vᵀ` for `b = 1 + δ/σ`. The file is a few numbers; PEFT computes U, Σ and V itself when it loads it, by a full SVD
/// of each weight.
public enum PSOFTFolder {
    /// Beyond, the unused rotation's r(r − 1)/2 zeros outweigh what the file is for.
    public static let rankLimit = 64

    /// Whether a folder's config names the method.
    public static func isOne(_ path: String) throws(LoragenError) -> Bool {
        try PEFTConfig.method(of: path) == "PSOFT"
    }
}
