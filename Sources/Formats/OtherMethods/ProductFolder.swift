import Adapters
import Files
import Tensor

/// PEFT folders of methods whose update is a product of low rank in another guise: VeRA, LoHa and LoKr. They become LoRA
/// without forming the update, exactly, or as the best approximation of a smaller rank.
enum ProductFolder {
    /// `peft_type` of the methods, and what they are called.
    static let methods = ["VERA": "VeRA", "LOHA": "LoHa", "LOKR": "LoKr"]

    /// Whether the folder's config names one of them. What cannot be read is none.
    static func isOne(_ path: String) throws(LoragenError) -> Bool {
        try PEFTConfig.method(of: path).map { methods[$0] != nil } ?? false
    }

    /// Reads a folder as LoRA with alpha = rank: of the rank that is exact, or of `rank` where that is smaller; what this
    /// costs is told to `note`. `base` is the base model's weights, whose shapes VeRA's files lack. Throws `.format`,
    /// `.unsupported`, `.nonFinite`, `.memory`, and `.invalidArgument` without a base where one is needed.
    static func read(
        path: String, base: String?, rank: Int?, note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Adapter {
        if let rank, rank < 1 || rank > ModuleShape.rankLimit {
            throw LoragenError(.invalidArgument, "rank is \(rank); expected 1 to \(ModuleShape.rankLimit)")
        }
        let config = try ProductConfig(path: joinPath(path, PEFTConfig.fileName))
        let file = try SafetensorsFile(path: joinPath(path, PEFTFolder.weightsName))
        let modules: [ProductModule] =
            switch config.method {
            case "VERA": try VeRA.modules(file, config, base: base)
            case "LOHA": try LoHa.modules(file, config)
            default: try LoKr.modules(file, config)
            }
        if modules.isEmpty { throw LoragenError(.format, "\(file.path): it has no module") }
        let name = methods[config.method] ?? config.method
        var parts: [(shape: ModuleShape, form: ProductModule.Factors)] = []
        var (kept, all) = (0.0, 0.0)
        for module in modules {
            let factors = try module.factors(rank)
            kept += factors.energy - factors.lost
            all += factors.energy
            parts.append((try module.shape.withRank(max(1, factors.a.columns)), factors))
        }
        try note(
            kept >= all * (1 - 1e-12)
                ? "\(name) became LoRA exactly, of rank \(parts.map(\.shape.rank).max() ?? 1)"
                : "\(name) became LoRA of rank \(rank ?? 0), which keeps \(percent(kept / all)) of its energy ‖ΔW‖²")
        for (shape, _) in parts where shape.rank * (shape.outputs + shape.columns) > shape.outputs * shape.columns {
            try note(
                "module '\(shape.name)': rank \(shape.rank) makes the LoRA larger than the weight \([shape.outputs, shape.columns]); "
                    + "give a smaller rank, or merge it")
            break
        }
        let layout = try Layout(
            modules: parts.map(\.shape), baseModel: config.baseModel, taskType: config.taskType)
        let adapter = try Adapter(layout: layout) { (target) throws(LoragenError) in
            for (shape, factors) in parts {
                guard let index = layout.tensor(shape.keyA).map(\.module) else { continue }
                let a = layout.range(.a, of: index, group: 0, in: target)
                let b = layout.range(.b, of: index, group: 0, in: target)
                for k in 0..<factors.a.columns {
                    for j in 0..<shape.columns { a[k * shape.columns + j] = Float(factors.a[j, k]) }
                    for i in 0..<shape.outputs { b[i * shape.rank + k] = Float(factors.b[i, k]) }
                }
            }
        }
        try adapter.checkFinite(source: path)
        return adapter
    }

    static func percent(_ share: Double) -> String {
        let hundredths = Int(saturating: (share * 10000).rounded(.down))
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100) %"
    }
}

/// One module of another method.
struct ProductModule {
    struct Factors {
        /// `[outputs, r]` and `[columns, r]`: `ΔW = b·aᵀ`.
        let b: SmallMatrix
        let a: SmallMatrix
        /// `‖ΔW‖²`, and what of it is not in the factors.
        var energy: Double
        var lost: Double
    }

    /// With rank 1; the factors say which.
    let shape: ModuleShape
    /// Of all ranks, or of at most this one.
    let factors: (_ rank: Int?) throws(LoragenError) -> Factors

    /// `b·aᵀ` as it is, or cut by QR of both and the SVD of the core.
    static func cut(_ b: SmallMatrix, _ a: SmallMatrix, _ rank: Int?, _ shape: ModuleShape) throws(LoragenError)
        -> Factors
    {
        let form = try CanonicalForm(b: b, aTransposed: a, module: shape)
        let energy = form.energy(beyond: 0)
        guard let rank, rank < form.sigma.count else {
            // Zero padding aside, what stands there; its own factors carry no rounding of a decomposition.
            return b.columns <= max(1, rank ?? b.columns)
                ? Factors(b: b, a: a, energy: energy, lost: 0)
                : Factors(b: form.b, a: form.a.transposed(), energy: energy, lost: 0)
        }
        return Factors(
            b: form.b.leadingColumns(rank), a: form.a.leadingRows(rank).transposed(), energy: energy,
            lost: form.energy(beyond: rank))
    }
}

/// What `adapter_config.json` says of the three methods.
struct ProductConfig {
    let source: String
    let method: String
    let rank: Int
    let alpha: Double
    let baseModel: String?
    let taskType: String?
    let isTransposed: Bool
    private let targets: PEFTTargets
    private let rankPattern: PEFTPatterns
    private let alphaPattern: PEFTPatterns

    init(path: String) throws(LoragenError) {
        let json = try JSON.read(path: path)
        source = path
        method = json["peft_type"]?.string ?? ""
        guard let rank = json["r"]?.integer, (1...ModuleShape.rankLimit).contains(rank) else {
            throw PEFTConfig.wrong(json, "r", "a whole number from 1 to \(ModuleShape.rankLimit)", path)
        }
        self.rank = rank
        alpha = method == "VERA" ? Double(rank) : json["alpha"]?.double ?? .nan
        if !alpha.isFinite { throw PEFTConfig.wrong(json, "alpha", "a number", path) }
        for field in ["modules_to_save", "layer_replication"] {
            switch json[field] ?? .null {
            case .null: continue
            case .array(let list) where list.isEmpty: continue
            default: throw LoragenError(.unsupported, "\(path): '\(field)' asks for more than this library reads")
            }
        }
        if let bias = json["bias"]?.string, bias != "none" {
            throw LoragenError(.unsupported, "\(path): 'bias' is \"\(shortened(bias))\"; this library reads \"none\"")
        }
        targets = try PEFTTargets(json, isOptional: false, source: path)
        rankPattern = try PEFTPatterns(json["rank_pattern"], field: "rank_pattern", source: path)
        alphaPattern = try PEFTPatterns(json["alpha_pattern"], field: "alpha_pattern", source: path)
        baseModel = json["base_model_name_or_path"]?.string
        taskType = json["task_type"]?.string.flatMap { Layout.taskTypes.contains($0) ? $0 : nil }
        isTransposed = json["fan_in_fan_out"]?.bool ?? false
    }

    /// alpha / r of a module, by the patterns or the general values.
    func scale(of module: String) throws(LoragenError) -> Double {
        let rank = try rankPattern.value(for: module) ?? Double(rank)
        let scale = try (alphaPattern.value(for: module) ?? alpha) / rank
        if !scale.isFinite || rank < 1 {
            throw LoragenError(.format, "\(source): module '\(module)' has alpha / r = \(scale)")
        }
        return scale
    }

    /// Throws `.mismatch` where PEFT would leave the module out without a word.
    func check(_ module: ModuleShape) throws(LoragenError) { try targets.check(module) }
}

/// The tensors of a folder's file by module.
struct ProductTensors {
    let file: SafetensorsFile
    /// In the order of the modules' names.
    let modules: [(name: String, parts: [String: SafetensorsTensor])]

    /// `names`: the endings that the method knows. Throws `.unsupported` for any other tensor, those of `shared` aside.
    init(_ file: SafetensorsFile, _ names: [String], shared: Set<String> = []) throws(LoragenError) {
        self.file = file
        var found: [String: [String: SafetensorsTensor]] = [:]
        for tensor in file.tensors where !shared.contains(tensor.name) {
            guard tensor.name.hasPrefix(PEFTKey.prefix),
                let end = names.first(where: { tensor.name.hasSuffix("." + $0) })
            else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): tensor '\(shortened(tensor.name))' is none of the method's; expected names that end in "
                        + names.joined(separator: ", "))
            }
            guard tensor.type.isReadable else {
                throw LoragenError(
                    .unsupported, "\(file.path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue)")
            }
            let module = tensor.name.dropFirst(PEFTKey.prefix.count).dropLast(end.count + 1)
            found[String(module), default: [:]][end] = tensor
        }
        modules = found.sorted { precedes($0.key, $1.key) }.map { ($0.key, $0.value) }
    }

    /// A tensor as a matrix `[shape[0], the rest]`. Throws `.format` unless it has that many dimensions.
    func matrix(
        _ tensor: SafetensorsTensor?, _ name: String, dimensions: ClosedRange<Int> = 2...2
    ) throws(LoragenError) -> SmallMatrix {
        guard let tensor else { throw LoragenError(.format, "\(file.path): tensor '\(shortened(name))' is missing") }
        guard dimensions.contains(tensor.shape.count), tensor.count > 0, tensor.count <= 1 << 28 else {
            throw LoragenError(
                .format,
                "\(file.path): tensor '\(shortened(tensor.name))' is \(tensor.shape); expected "
                    + "\(dimensions.lowerBound) dimensions")
        }
        try Memory.require(3 * tensor.count, of: Double.self, for: "\(file.path): tensor '\(shortened(tensor.name))'")
        let floats = try file.floats(tensor.name)
        if let bad = floats.firstIndex(where: { !$0.isFinite }) {
            throw LoragenError(
                .nonFinite, "\(file.path): tensor '\(shortened(tensor.name))': element \(bad) is \(floats[bad])")
        }
        return floats.withUnsafeBufferPointer {
            SmallMatrix(rowMajor: $0, rows: tensor.shape[0], columns: tensor.count / tensor.shape[0])
        }
    }

    func mismatch(_ module: String, _ what: String) -> LoragenError {
        LoragenError(.format, "\(file.path): module '\(shortened(module))': \(what)")
    }
}

extension SmallMatrix {
    func transposed() -> SmallMatrix {
        var result = SmallMatrix(rows: columns, columns: rows)
        for j in 0..<columns { for i in 0..<rows { result[j, i] = self[i, j] } }
        return result
    }
}

extension PEFTConfig {
    /// `peft_type` of a folder's config; `nil` when there is none to read.
    static func method(of path: String) throws(LoragenError) -> String? {
        let kind = try attempt { () throws(LoragenError) in try PathKind.of(path) }
        guard kind == .folder else { return nil }
        let json = try attempt { () throws(LoragenError) in try JSON.read(path: joinPath(path, fileName)) }
        return json?["peft_type"]?.string
    }
}
