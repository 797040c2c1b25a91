import Files
import NN
import Tensor

/// What the folders of encoders from Hugging Face have in common.
public enum Encoders {
    /// An encoder that opens in less memory than this is not asked about.
    static let smallAllocation = 1 << 20
}
