import NN
import Tensor

/// The fully convolutional autoencoder of language adapters (cond_pdiff.md 3.1) from layers, with its noise given.
final class Autoencoder: Module {
    let down: [(Conv1d<Float>, Conv1d<Float>)]
    let up: [(ConvTranspose1d<Float>, Conv1d<Float>)]

    init() {
        var random = Random(seed: 1)
        let channels = [1, 4, 4, 4, 4]
        down = zip(channels, channels.dropFirst()).map {
            (
                Conv1d(inputChannels: $0, outputChannels: $1, kernel: 5, padding: 1, random: &random),
                Conv1d(inputChannels: $1, outputChannels: $1, kernel: 5, stride: 5, random: &random)
            )
        }
        let wide = [4, 256, 256, 8, 1]
        up = zip(wide, wide.dropFirst()).enumerated().map { index, pair in
            (
                ConvTranspose1d(
                    inputChannels: pair.0, outputChannels: pair.0, kernel: 5, stride: 5, random: &random),
                Conv1d(
                    inputChannels: pair.0, outputChannels: pair.1, kernel: 5, padding: index == 3 ? 5 : 4,
                    random: &random)
            )
        }
    }

    func visit(_ visitor: ModuleVisitor<Float>) {
        for (i, stage) in down.enumerated() {
            visitor.child("down.\(i).0", stage.0)
            visitor.child("down.\(i).1", stage.1)
        }
        for (i, stage) in up.enumerated() {
            visitor.child("up.\(i).0", stage.0)
            visitor.child("up.\(i).1", stage.1)
        }
    }

    func loss(_ x: Tensor<Float>, _ inputNoise: Tensor<Float>, _ latentNoise: Tensor<Float>) -> Tensor<Float> {
        let (batch, count) = (x.shape[0], x.shape[1])
        let padded = (count / 625 + 1) * 625
        let mixed = x * 0.999 + inputNoise * 0.001
        var h = Tensor.concatenate([mixed, .zeros([batch, padded - count])], axis: 1).reshaped([batch, 1, padded])
        for (i, stage) in down.enumerated() {
            h = stage.0(instanceNorm(i == 0 ? h : h.leakyReLU()))
            h = stage.1(instanceNorm(h.leakyReLU()))
        }
        h = (h.tanh() * 0.9 + latentNoise.reshaped(h.shape) * 0.1).clamp(-1, 1)
        for stage in up {
            h = stage.0(instanceNorm(h.leakyReLU()))
            h = stage.1(instanceNorm(h.leakyReLU()))
        }
        return mseLoss(h.slice(axis: 2, 0..<count).reshaped([batch, count]), x)
    }
}
