import Adapters
import Files
import Formats
import Glibc
import Tensor

/// Merging into the initializers of an ONNX model. Sizes and places stay, so all else is copied byte for byte.
enum ONNXMerge {
    static func run(
        model: String, adapter: Adapter, to target: String, scale: Double
    ) throws(LoragenError) {
        let graph = try ONNXGraph(path: model)
        let layers = try graph.layers()
        var inside: [Patch] = []
        var outside: [String: [Patch]] = [:]
        let folder = splitPath(model).folder
        var files: [String: MappedFile] = [:]
        for location in graph.locations { files[location] = try MappedFile(path: joinPath(folder, location)) }
        for (i, module) in adapter.layout.modules.enumerated() {
            let found = try graph.layers(for: module, in: layers)
            let layer = found[0]
            try check(layer, module, graph, sharedBy: found)
            guard let type = ElementType(onnx: layer.weight.type) else {
                throw LoragenError(
                    .unsupported,
                    "\(model): the weight of '\(module.name)' has the ONNX type \(layer.weight.type); adapters are merged "
                        + "into FLOAT, FLOAT16 and BFLOAT16")
            }
            let update = try WeightUpdate(adapter, module: i, order: layer.order, scale: scale)
            let size = update.rows * update.columns * (type.bits / 8)
            switch layer.weight.data {
            case .inside(let range) where range.count == size:
                inside.append(try Patch(range: range, type: type, update: update))
            case .outside(let location, let offset, let length) where length ?? size == size:
                guard let file = files[location], offset <= file.size, size <= file.size - offset else {
                    throw LoragenError(
                        .format, "\(joinPath(folder, location)): too short for initializer '\(layer.weight.name)'")
                }
                let patch = try Patch(range: offset..<(offset + size), type: type, update: update)
                outside[location, default: []].append(patch)
            default:
                throw LoragenError(
                    .unsupported,
                    "\(model): initializer '\(shortened(layer.weight.name))' does not hold its \(size) bytes in one piece"
                )
            }
        }
        try ONNXFiles.check(graph, target, changes: Set(outside.keys))
        var written: [AtomicFile] = []
        for (location, file) in files.sorted(by: { precedes($0.key, $1.key) }) {
            written += try ONNXFiles.copy(file, location, outside[location] ?? [], beside: target)
        }
        let output = try AtomicFile(path: target, expectedSize: graph.file.size)
        try Patch.copy(graph.file, inside, to: output)
        try AtomicFile.commit(written + [output])
    }

    private static func check(
        _ layer: ONNXLayer, _ module: ModuleShape, _ graph: ONNXGraph, sharedBy found: [ONNXLayer]
    ) throws(LoragenError) {
        if layer.isQuantised {
            throw LoragenError(
                .unsupported,
                "\(graph.reader.source): the weight of '\(module.name)' is quantised and cannot be merged into; put the "
                    + "adapter in beside it (apply)")
        }
        let users = graph.nodes.indices.filter { graph.nodes[$0].inputs.contains(layer.weight.name) }
        let known = found.filter { $0.weight.name == layer.weight.name }
        if users.count > known.count {
            throw LoragenError(
                .unsupported,
                "\(graph.reader.source): the weight of '\(module.name)', '\(shortened(layer.weight.name))', is used by "
                    + "other layers too, which merging would change; put the adapter in beside it (apply)")
        }
    }
}

/// The files beside a model that hold its external data.
enum ONNXFiles {
    /// Throws `.invalidArgument` when writing would change the data of the model that is read.
    static func check(_ graph: ONNXGraph, _ target: String, changes: Set<String>) throws(LoragenError) {
        let folder = splitPath(target).folder
        for location in changes.sorted(by: precedes)
        where isSameFile(joinPath(splitPath(graph.reader.source).folder, location), joinPath(folder, location)) {
            throw LoragenError(
                .invalidArgument,
                "\(target): the model keeps its weights in '\(shortened(location))' beside it, which both models cannot "
                    + "share; write into another folder")
        }
    }

    /// Copies a file of external data into the folder of `target`, unless it is there already; the copy is to be committed
    /// with the model.
    static func copy(
        _ file: MappedFile, _ location: String, _ patches: [Patch], beside target: String
    ) throws(LoragenError) -> [AtomicFile] {
        let path = joinPath(splitPath(target).folder, location)
        if isSameFile(file.path, path) { return [] }
        let output = try AtomicFile(path: path, expectedSize: file.size)
        try Patch.copy(file, patches, to: output)
        return [output]
    }
}
