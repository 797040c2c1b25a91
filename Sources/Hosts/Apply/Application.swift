import Adapters
import Files
import Formats
import Tensor

/// Adapters applied to models: merged into the weights, or put into an ONNX model beside them.
public enum Application {
    public enum Mode: Sendable {
        /// Weights become `weight + scale · update`, each rounded once.
        case merge
        /// `weight − scale · update`: the model before, up to the rounding of its weights.
        case unmerge
        /// ONNX: nodes and initializers that add the update.
        case inject
        /// ONNX: nodes and optional inputs for it.
        case inputs
        /// ONNX: takes out what `inject` or `inputs` put in.
        case remove
    }

    /// Applies the adapter at `adapter` to the model at `model`: a `.safetensors` file, a folder of them, or an `.onnx`
    /// file. `target` becomes a file or folder like it. Memory for the adapter and a part of one weight is taken.
    /// With `basis`, a basis file, the adapter is a compact one. Remarks go to `note` before anything is written. Throws `.io`, `.format`; `.mismatch` when the model has no place
    /// for a module; `.unsupported` for what cannot be merged or put in; `.nonFinite`.
    public static func run(
        model: String, adapter: String?, to target: String, mode: Mode, scale: Double = 1, base: String? = nil,
        basis: String? = nil, isLoRAEnough: Bool = false, note: (String) throws(LoragenError) -> Void = { _ in }
    ) throws(LoragenError) {
        if !scale.isFinite || abs(scale) > 1e9 {
            throw LoragenError(.invalidArgument, "the scale is \(scale); expected a finite number")
        }
        let isONNX = model.hasSuffix(".onnx")
        try checkTarget(target, model: model)
        try Sources(model, adapter, base, basis).check(writing: [target])
        if mode == .remove {
            if adapter != nil { throw LoragenError(.invalidArgument, "taking an adapter out needs none") }
            return try ONNXInjection.remove(from: model, to: target)
        }
        guard let adapter else { throw LoragenError(.invalidArgument, "no adapter was given") }
        let part = LoRAPart(isEnough: isLoRAEnough, base: isONNX ? nil : model)
        let update =
            if let basis {
                try CompactExpansion(CompactAdapter(path: adapter), basis: Basis(path: basis)).adapter()
            } else {
                try Adapter.read(path: adapter, base: base, part: part, note: note)
            }
        switch mode {
        case .merge, .unmerge:
            let factor = mode == .merge ? scale : -scale
            if isONNX {
                try ONNXMerge.run(model: model, adapter: update, to: target, scale: factor)
            } else {
                try CheckpointMerge.run(model: model, adapter: update, to: target, scale: factor, note: note)
            }
        case .inject, .inputs:
            if !isONNX {
                throw LoragenError(.unsupported, "\(model): nodes can be put into .onnx files only; merge instead")
            }
            try ONNXInjection.run(
                model: model, adapter: update, to: target, scale: scale, asInputs: mode == .inputs)
        case .remove: break
        }
    }
    /// The result is a file or folder like the model, and is called like one.
    private static func checkTarget(_ target: String, model: String) throws(LoragenError) {
        let suffixes = [".safetensors", ".onnx"]
        let suffix = suffixes.first { target.hasSuffix($0) }
        if try PathKind.of(model) == .folder {
            guard let suffix else { return }
            throw LoragenError(
                .invalidArgument,
                "\(target): the model is a folder, and so is what is written; expected a name without '\(suffix)'")
        }
        if let expected = suffixes.first(where: { model.hasSuffix($0) }), suffix != expected {
            throw LoragenError(
                .invalidArgument, "\(target): the model is a file '\(expected)'; expected the name of another such file"
            )
        }
    }
}
