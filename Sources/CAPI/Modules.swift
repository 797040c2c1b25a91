import Adapters
import CLoragen

extension loragen_module {
    init(_ module: LoraModule, in arena: Arena) {
        self.init(
            name: arena.text(module.name), layer: module.layer.map { Int32(clamping: $0) } ?? -1,
            rank: Int32(clamping: module.rank), inputs: Int64(module.inputs), outputs: Int64(module.outputs),
            alpha: module.alpha)
    }
}
