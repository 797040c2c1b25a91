import Adapters
import Files
import Formats
import Tensor

extension Basis {
    /// What it is, for people and programs.
    public var json: JSON {
        var object: JSONObject = [
            "method": .string(method.rawValue), "dtype": .string(type.rawValue),
            "directions": JSON(layout.modules.reduce(0) { $0 + $1.rank }),
        ]
        if let base = layout.baseModel { object["base_model"] = .string(base) }
        object["modules"] = .array(
            zip(layout.modules, modules).map { shape, module in
                [
                    "name": .string(shape.name), "tensor": .string(module.tensor), "outputs": JSON(shape.outputs),
                    "columns": JSON(shape.columns), "rank": JSON(shape.rank),
                    "fingerprint": .string(module.fingerprint),
                    "residual": .number(module.residual), "gap": module.gap.map { .number($0) } ?? .null,
                ]
            })
        return .object(object)
    }
}

extension CompactAdapter {
    /// What it is, for people and programs. `norm` is `‖δ‖`, which for SVFit is `‖ΔW‖`.
    public var json: JSON {
        var object: JSONObject = ["method": .string(method.rawValue), "numbers": JSON(count)]
        if let base = layout.baseModel { object["base_model"] = .string(base) }
        object["modules"] = .array(
            modules.enumerated().map { index, module in
                let norm = module.delta.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
                let change = relativeChange(ofModule: index)
                return [
                    "name": .string(module.shape.name), "outputs": JSON(module.shape.outputs),
                    "columns": JSON(module.shape.columns), "rank": JSON(module.shape.rank), "norm": .number(norm),
                    "largest_relative_change": change.isFinite ? .number(change) : .null,
                    "fingerprint": .string(module.source.fingerprint),
                ]
            })
        if metadata.count > 0 {
            object["metadata"] = .object(
                JSONObject(metadata.sorted { precedes($0.key, $1.key) }.map { ($0.key, .string($0.value)) }))
        }
        return .object(object)
    }
}
