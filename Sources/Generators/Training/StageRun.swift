import Glibc
import NN
import Tensor

/// The state of one stage while it is trained: everything that a checkpoint has to hold.
final class StageRun {
    let stage: any TrainingStage
    let optimiser: AdamW<Float>
    let parameters: [NamedParameter<Float>]
    private(set) var step = 0
    private(set) var averageLoss = Double.nan
    private(set) var skill = Double.nan
    private(set) var bestSkill = Double.nan
    private(set) var bestStep = 0
    /// The weight average, and the weights of the best look at the validation tasks; in the order of `parameters`.
    private(set) var average: [Tensor<Float>]?
    private(set) var best: [Tensor<Float>]?
}
