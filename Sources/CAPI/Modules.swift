import Adapters
import CLoragen

extension loragen_module {
    /// The module with strings in `arena`. The header knows one scaling, alpha / rank; others come as the alpha that
    /// gives the same.
    init(_ module: ModuleShape, in arena: Arena) {
        let alpha = module.scaling == .standard ? module.alpha : module.scale * Double(module.rank)
        self.init(
            name: arena.text(module.name), layer: module.layerIndex.map { Int32(clamping: $0) } ?? -1,
            rank: Int32(clamping: module.rank), inputs: Int64(module.inputs), outputs: Int64(module.outputs),
            alpha: alpha)
    }
}
