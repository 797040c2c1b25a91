import Adapters
import Files
import Formats
import Tensor

/// Merging into the safetensors of a base model. All but the adapted weights is copied byte for byte, headers too.
enum CheckpointMerge {
    static func run(
        model: String, adapter: Adapter, to target: String, scale: Double,
        note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        switch try PathKind.of(model) {
        case nil: throw LoragenError(.io, "\(model): there is no such file or folder")
        case .folder: try mergeFolder(model, adapter, to: target, scale, note)
        default:
            let file = try MappedFile(path: model)
            let patches = try patches([try SafetensorsFile(file: file)], adapter, scale, note)
            let output = try AtomicFile(path: target, expectedSize: file.size)
            try Patch.copy(file, patches[0], to: output)
            try output.commit()
        }
    }

    private static func mergeFolder(
        _ model: String, _ adapter: Adapter, to target: String, _ scale: Double,
        _ note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        let all = try fileNames(in: model)
        let shards = try shards(of: model, all)
        var files: [MappedFile] = []
        var contents: [SafetensorsFile] = []
        for name in shards {
            let file = try MappedFile(path: joinPath(model, name))
            files.append(file)
            contents.append(try SafetensorsFile(file: file))
        }
        try Sources(model).check(writing: all.map { joinPath(target, $0) })
        let patches = try patches(contents, adapter, scale, note)
        let folder = try AtomicFolder(path: target)
        // What a host needs beside the weights: config, tokenizer. Weights in other forms would be the old ones.
        let weights = [".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt"]
        for name in all where !shards.contains(name) && !weights.contains(where: { name.hasSuffix($0) }) {
            let file = try MappedFile(path: joinPath(model, name))
            try folder.add(name, expectedSize: file.size) { (output) throws(LoragenError) in
                try Patch.copy(file, [], to: output)
            }
        }
        for (i, name) in shards.enumerated() {
            try folder.add(name, expectedSize: files[i].size) { (output) throws(LoragenError) in
                try Patch.copy(files[i], patches[i], to: output)
            }
        }
        try folder.commit()
    }

    /// The files of the weights: those of the index if there is one, else the only `.safetensors` file.
    static func shards(of folder: String, _ names: [String]) throws(LoragenError) -> [String] {
        let indices = names.filter { $0.hasSuffix(".safetensors.index.json") }
        let single = names.filter { $0.hasSuffix(".safetensors") }
        if indices.isEmpty && single.count == 1 { return single }
        guard indices.count == 1 else {
            throw LoragenError(
                .unsupported,
                "\(folder): \(single.count) .safetensors files and \(indices.count) indices of shards; expected one file, or "
                    + "shards with one .safetensors.index.json")
        }
        let path = joinPath(folder, indices[0])
        let json = try JSON.read(path: path)
        guard let map = json["weight_map"]?.object else {
            throw LoragenError(.format, "\(path): it has no object 'weight_map'")
        }
        var shards: Set<String> = []
        for member in map.members {
            guard let name = member.value.string, names.contains(name) else {
                throw LoragenError(
                    .format,
                    "\(path): 'weight_map' gives '\(shortened(member.name))' \(member.value.kind); expected a file beside it"
                )
            }
            shards.insert(name)
        }
        return shards.sorted(by: precedes)
    }

    /// For each file the weights that change. Throws `.mismatch` when a module has no weight of its shape.
    private static func patches(
        _ files: [SafetensorsFile], _ adapter: Adapter, _ scale: Double,
        _ note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> [[Patch]] {
        var patches = [[Patch]](repeating: [], count: files.count)
        for (i, module) in adapter.layout.modules.enumerated() {
            let (file, tensor) = try weight(of: module.name, files)
            let order: WeightUpdate.Order
            let expected: [Int]
            switch module.kind {
            case .linear, .convolution:
                (order, expected) = (.outputsFirst, [module.outputs, module.inputs] + module.kernel)
            case .transposedLinear, .embedding: (order, expected) = (.inputsFirst, [module.inputs, module.outputs])
            }
            if StoredWeight.hidesShape(tensor.type) {
                throw LoragenError(
                    .unsupported,
                    "\(files[file].path): tensor '\(shortened(tensor.name))' is quantised (\(tensor.type.rawValue) "
                        + "\(tensor.shape)) and cannot be merged into; merge into the model that it was quantised from")
            }
            if tensor.shape != expected {
                throw LoragenError(
                    .mismatch,
                    "\(files[file].path): tensor '\(shortened(tensor.name))' is \(tensor.shape); module '\(module.name)' of "
                        + "the adapter needs \(expected). Is it the adapter's base model?")
            }
            if module.kind == .embedding,
                !files.contains(where: { $0.tensors.contains { $0.name.hasSuffix("lm_head.weight") } })
            {
                try note("module '\(module.name)': if the model's output layer shares this table, it changes too")
            }
            let start = files[file].dataStart
            patches[file].append(
                try Patch(
                    range: (start + tensor.begin)..<(start + tensor.end), type: tensor.type,
                    update: WeightUpdate(adapter, module: i, order: order, scale: scale)))
        }
        return patches
    }

    /// The tensor of a module's weight: by its name, else the only one whose name ends with it, or that it ends with.
    private static func weight(
        of module: String, _ files: [SafetensorsFile]
    ) throws(LoragenError) -> (file: Int, tensor: SafetensorsTensor) {
        let name = module + ".weight"
        for (i, file) in files.enumerated() {
            if let tensor = file.tensor(name) { return (i, tensor) }
        }
        var found: [(file: Int, tensor: SafetensorsTensor)] = []
        for (i, file) in files.enumerated() {
            for tensor in file.tensors where tensor.name.hasSuffix("." + name) || name.hasSuffix("." + tensor.name) {
                found.append((i, tensor))
            }
        }
        guard let first = found.first, found.count == 1 else {
            let names = files.lazy.flatMap(\.tensors).map(\.name)
            if let packed = names.first(where: { StoredWeight.unpacked($0) == name }) {
                throw LoragenError(
                    .unsupported,
                    "\(files.map(\.path).joined(separator: ", ")): the weight of module '\(module)' is quantised "
                        + "('\(shortened(packed))') and cannot be merged into; merge into the model that it was quantised from"
                )
            }
            if module == "lm_head" || module.hasSuffix(".lm_head"), found.isEmpty {
                throw LoragenError(
                    .unsupported,
                    "\(files.map(\.path).joined(separator: ", ")): module '\(module)' has no weight of its own: the model's "
                        + "output layer is its embedding table (tied), which the update would change too. Untie the model and "
                        + "save it, or leave '\(module)' out of the adapter")
            }
            throw LoragenError(
                .mismatch,
                "\(files.map(\.path).joined(separator: ", ")): \(found.isEmpty ? "no tensor" : "more than one tensor") for "
                    + "the weight of module '\(module)'; expected '\(shortened(name))'. Is it the adapter's base model?"
            )
        }
        return first
    }
}
