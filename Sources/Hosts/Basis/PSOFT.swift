import Adapters
import Files
import Formats
import Tensor

extension PSOFTFolder {
    /// Throws `.unsupported` for LoLDU, for ranks that differ or pass the limit, for convolutions, and for a change where the
    /// weight has nothing.
    public static func write(_ compact: CompactAdapter, to path: String) throws(LoragenError) {
        func refuse(_ what: String) -> LoragenError {
            LoragenError(.unsupported, "\(path): PSOFT cannot hold this adapter: \(what). Expand it to LoRA instead")
        }
        if compact.method != .svfit { throw refuse("it is \(compact.method.rawValue), not svfit") }
        let ranks = Set(compact.modules.map(\.shape.rank))
        guard let rank = ranks.first, ranks.count == 1, rank <= rankLimit else {
            throw refuse("its ranks are \(ranks.sorted()); expected one, of at most \(rankLimit)")
        }
        let kinds = Set(compact.modules.map(\.shape.kind))
        guard kinds == [.linear] || kinds == [.transposedLinear] else {
            throw refuse("its modules are not all linear layers that keep their weight the same way")
        }
        var writer = SafetensorsWriter(metadata: ["format": "pt"])
        for module in compact.modules {
            let name = PEFTKey.prefix + module.shape.name + ".psoft_R"
            var b: [Float] = []
            for (delta, sigma) in zip(module.delta, module.sigma) {
                let value = delta == 0 ? 1 : 1 + delta / sigma
                if !value.isFinite {
                    throw refuse("module '\(module.shape.name)' changes by \(delta) where sigma is \(sigma)")
                }
                b.append(value)
            }
            try writer.add(name + ".vector_a", shape: [rank], elements: [Float](repeating: 1, count: rank))
            try writer.add(name + ".vector_b", shape: [rank], elements: b)
            let count = rank * (rank - 1) / 2
            try writer.add(name + ".weight", shape: [count], elements: [Float](repeating: 0, count: count))
        }
        let config: JSON = [
            "ab_svd_init": "psoft_init",
            "base_model_name_or_path": compact.layout.baseModel.map { .string($0) } ?? .null,
            "cayley_neumann_eps": nil, "exclude_modules": nil, "fan_in_fan_out": .bool(kinds == [.transposedLinear]),
            "inference_mode": true, "init_weights": true, "layers_pattern": nil, "layers_to_transform": nil,
            "modules_to_save": nil, "num_cayley_neumann_terms": 5, "peft_type": "PSOFT", "psoft_alpha": JSON(rank),
            "psoft_dropout": 0.0, "psoft_mag_a": true, "psoft_mag_b": true, "psoft_orth": true, "psoft_svd": "full",
            "psoft_svd_lowrank_niter": 10, "r": JSON(rank), "random_seed": 0, "revision": nil,
            "target_modules": JSON(compact.modules.map(\.shape.name).sorted(by: precedes)),
            "task_type": compact.layout.taskType.map { .string($0) } ?? .null, "use_cayley_neumann": false,
        ]
        let text = try config.text(indent: 2) + "\n"
        let folder = try AtomicFolder(path: path)
        try folder.add(PEFTFolder.weightsName) { (file) throws(LoragenError) in try writer.write(into: file) }
        try folder.add(PEFTConfig.fileName) { (file) throws(LoragenError) in try file.append(text) }
        try folder.commit()
    }

    /// Reads a folder on the basis of its base model: `δ = σ·(a·b − 1)`. Throws `.unsupported` for what is more than a diagonal:
    /// a rotation acts between singular vectors, whose signs the base model does not fix, so that PEFT itself gives another
    /// adapter where another LAPACK computes them.
    public static func read(path: String, basis: Basis) throws(LoragenError) -> CompactAdapter {
        let source = joinPath(path, PEFTConfig.fileName)
        let json = try JSON.read(path: source)
        func refuse(_ what: String) -> LoragenError { LoragenError(.unsupported, "\(source): \(what)") }
        guard json["peft_type"]?.string == "PSOFT" else { throw refuse("'peft_type' is not \"PSOFT\"") }
        guard let rank = json["r"]?.integer, (1...ModuleShape.rankLimit).contains(rank) else {
            throw PEFTConfig.wrong(json, "r", "a whole number from 1 to \(ModuleShape.rankLimit)", source)
        }
        if json["psoft_svd"]?.string == "lowrank" {
            throw refuse(
                "'psoft_svd' is \"lowrank\", PyTorch's randomised SVD, whose directions are not the singular vectors and which "
                    + "PyTorch alone can draw again")
        }
        if basis.method != .svfit { throw LoragenError(.mismatch, "\(basis.path): PSOFT needs a basis of svfit") }
        let targets = try PEFTTargets(json, isOptional: false, source: source)
        let file = try SafetensorsFile(path: joinPath(path, PEFTFolder.weightsName))
        var names: Set<String> = []
        for tensor in file.tensors {
            guard tensor.name.hasPrefix(PEFTKey.prefix),
                let end = [".vector_a", ".vector_b", ".weight"].first(where: { tensor.name.hasSuffix(".psoft_R" + $0) })
            else {
                throw LoragenError(.unsupported, "\(file.path): tensor '\(shortened(tensor.name))' is none of PSOFT's")
            }
            names.insert(
                String(tensor.name.dropFirst(PEFTKey.prefix.count).dropLast(end.utf8.count + ".psoft_R".utf8.count)))
        }
        let isRotation = json["psoft_orth"]?.bool ?? true
        var modules: [CompactAdapter.Module] = []
        for name in names.sorted(by: precedes) {
            let scale = try diagonal(file, name, rank, isRotation: isRotation)
            guard let place = basis.module(name), basis.layout.modules[place].rank >= rank else {
                throw LoragenError(
                    .mismatch,
                    "\(basis.path): it has no module '\(shortened(name))' with \(rank) directions, which PSOFT's "
                        + "folder has; make a basis with --rank \(rank)")
            }
            let factors = try basis.factors(of: place).prefix(rank)
            try targets.check(factors.shape)
            modules.append(
                CompactAdapter.Module(
                    shape: factors.shape, delta: zip(scale, factors.sigma).map { Float(($0 - 1) * Double($1)) },
                    sigma: factors.sigma, pivots: [], signature: factors.signature, source: basis.modules[place]))
        }
        let layout = try Layout(
            modules: modules.map(\.shape), baseModel: json["base_model_name_or_path"]?.string,
            taskType: json["task_type"]?.string.flatMap { Layout.taskTypes.contains($0) ? $0 : nil })
        let order = Dictionary(uniqueKeysWithValues: modules.map { ($0.shape.name, $0) })
        return try CompactAdapter(
            method: .svfit, layout: layout, modules: layout.modules.compactMap { order[$0.name] }, metadata: [:],
            source: path)
    }

    /// The diagonal of R. Throws `.unsupported` unless R is one.
    private static func diagonal(
        _ file: SafetensorsFile, _ name: String, _ rank: Int, isRotation: Bool
    ) throws(LoragenError) -> [Double] {
        let prefix = PEFTKey.prefix + name + ".psoft_R."
        func vector(_ part: String) throws(LoragenError) -> [Double] {
            guard file.tensor(prefix + part) != nil else { return [Double](repeating: 1, count: rank) }
            let values = try file.floats(prefix + part)
            guard values.count == rank, values.allSatisfy(\.isFinite) else {
                throw LoragenError(
                    .format, "\(file.path): tensor '\(shortened(prefix + part))' is not \(rank) finite numbers")
            }
            return values.map { Double($0) }
        }
        let weight = try file.floats(prefix + "weight")
        if weight.count != (isRotation ? rank * (rank - 1) / 2 : rank * rank) {
            throw LoragenError(
                .format,
                "\(file.path): tensor '\(shortened(prefix))weight' has \(weight.count) elements at rank \(rank)")
        }
        let isDiagonal =
            isRotation
            ? weight.allSatisfy { $0 == 0 } : weight.indices.allSatisfy { weight[$0] == 0 || $0 / rank == $0 % rank }
        if !isDiagonal {
            throw LoragenError(
                .unsupported,
                "\(file.path): module '\(shortened(name))' turns singular vectors into each other (its 'weight' is not a "
                    + "diagonal). Their signs are not the base model's but its SVD routine's, so no other program can tell what "
                    + "the adapter is; merge it with PEFT where it was trained, or save the difference as LoRA there")
        }
        let (a, b) = (try vector("vector_a"), try vector("vector_b"))
        return (0..<rank).map { i in a[i] * b[i] * (isRotation ? 1 : Double(weight[i * rank + i])) }
    }
}
