import Adapters
import Files
import Formats
import Tensor

/// The weights of a base model in safetensors, one file or several, none of them read.
struct BaseCheckpoint: Sendable {
    let path: String
    /// `model_type` and `_name_or_path` of the config.json beside it.
    let modelType: String?
    let name: String?
    private let files: [SafetensorsFile]

    /// Opens a `.safetensors` file, or a folder with one or with shards and their index. Throws `.io`, `.format` and
    /// `.unsupported`.
    init(path: String) throws(LoragenError) {
        self.path = path
        var config: JSON?
        switch try PathKind.of(path) {
        case nil: throw LoragenError(.io, "\(path): there is no such file or folder; expected the base model's weights")
        case .folder:
            var files: [SafetensorsFile] = []
            for name in try CheckpointMerge.shards(of: path, fileNames(in: path)) {
                files.append(try SafetensorsFile(path: joinPath(path, name)))
            }
            self.files = files
            let place = joinPath(path, "config.json")
            if try PathKind.of(place) == .file { config = try JSON.read(path: place) }
        default: files = [try SafetensorsFile(path: path)]
        }
        modelType = config?["model_type"]?.string
        name = config?["_name_or_path"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The tensor of that name and the file that has it.
    func tensor(_ name: String) -> (file: SafetensorsFile, tensor: SafetensorsTensor)? {
        for file in files { if let tensor = file.tensor(name) { return (file, tensor) } }
        return nil
    }

    /// Names without ".weight" of all weights with two dimensions or more, tables and output layers aside, sorted.
    var modules: [String] {
        var names: [String] = []
        for tensor in files.lazy.flatMap(\.tensors) where tensor.shape.count >= 2 && tensor.name.hasSuffix(".weight") {
            names.append(String(tensor.name.dropLast(".weight".count)))
        }
        return names.sorted(by: precedes)
    }

    private static let tables: Set<String> = [
        "embed_tokens", "wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings", "embed_in",
        "shared", "lm_head", "embed_positions",
    ]
    /// Models whose layers are transformers' Conv1D, which keeps its weight as [in, out].
    private static let transposing: Set<String> = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"]

    /// Whether a name is that of an embedding or output layer by its last component.
    static func isTable(_ module: String) -> Bool {
        module.split(separator: ".").last.map { tables.contains(String($0)) } ?? false
    }

    /// A module's name in the model, and in the checkpoint where transformers 5 gives it another one on loading.
    typealias Name = (module: String, stored: String)

    /// The modules that `targets` mean: names, or their last components, as PEFT's `target_modules`; all but tables if it is
    /// empty. A target may be a name of the file or the one that transformers has for it, which is preferred. Throws
    /// `.mismatch` for a target that no weight has.
    func modules(matching targets: [String]) throws(LoragenError) -> [Name] {
        let all = modules.flatMap { stored -> [Name] in
            let new = TransformersNames.renamed(stored + ".weight")?.dropping(suffix: ".weight")
            return new.map { [($0, stored), (stored, stored)] } ?? [(stored, stored)]
        }
        func isNamed(_ module: String, _ target: String) -> Bool { module == target || module.hasSuffix("." + target) }
        for target in targets where !all.contains(where: { isNamed($0.module, target) }) {
            let ends = Set(all.compactMap { $0.module.split(separator: ".").last.map(String.init) }).sorted(
                by: precedes)
            throw LoragenError(
                .mismatch,
                "\(path): no weight belongs to a module '\(shortened(target))'; modules here end in "
                    + ends.prefix(12).map { "'\(shortened($0))'" }.joined(separator: ", "))
        }
        var seen: Set<String> = []
        let found = all.filter { name in
            let isMeant =
                targets.isEmpty ? !Self.isTable(name.stored) : targets.contains { isNamed(name.module, $0) }
            return isMeant && seen.insert(name.stored).inserted
        }
        if found.isEmpty { throw LoragenError(.mismatch, "\(path): there is no weight of a linear layer in it") }
        return found
    }

    /// The matrix that a module's weight is. Throws `.mismatch` when there is none, `.unsupported` for tables, for types that
    /// are no plain numbers and for sizes that LAPACK cannot count.
    func matrix(of module: String) throws(LoragenError) -> BaseMatrix {
        let name = module + ".weight"
        guard let (file, tensor) = tensor(name) else {
            if let packed = files.lazy.flatMap(\.tensors).map(\.name).first(where: { StoredWeight.unpacked($0) == name }
            ) {
                throw LoragenError(
                    .unsupported,
                    "\(path): the weight of module '\(module)' is quantised ('\(shortened(packed))'); give the model that it "
                        + "was quantised from")
            }
            throw LoragenError(
                .mismatch, "\(path): there is no tensor '\(shortened(name))'; is it the adapter's base model?")
        }
        if Self.isTable(module) {
            throw LoragenError(
                .unsupported, "\(file.path): '\(module)' is a table or the output layer, for which no basis is made")
        }
        let isTransposed =
            PEFTConfig.isConv1D(module) && tensor.shape.count == 2 && (modelType.map(Self.transposing.contains) ?? true)
        return try BaseMatrix(module: module, file: file, tensor: tensor, isTransposed: isTransposed)
    }
}

/// One weight of a base model as the matrix `[outputs, columns]` of its module, read in parts.
struct BaseMatrix: Sendable {
    /// With rank 1; a basis gives it its own.
    let shape: ModuleShape
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    /// Rows and columns as they are stored: `[columns, outputs]` of a layer that keeps its weight transposed.
    let rows: Int
    let columns: Int
    var isTransposed: Bool { shape.kind == .transposedLinear }

    init(
        module: String, file: SafetensorsFile, tensor: SafetensorsTensor, isTransposed: Bool
    ) throws(LoragenError) {
        let dimensions = tensor.shape
        guard [.f32, .f16, .bf16].contains(tensor.type) else {
            throw LoragenError(
                .unsupported,
                "\(file.path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); a basis is made of F32, F16 and "
                    + "BF16 weights")
        }
        guard (2...5).contains(dimensions.count), tensor.count > 0 else {
            throw LoragenError(
                .unsupported,
                "\(file.path): tensor '\(shortened(tensor.name))' is \(dimensions); expected the weight of a linear layer or a "
                    + "convolution")
        }
        let isPlain = dimensions.count == 2
        shape = try ModuleShape(
            name: module, kind: isPlain ? (isTransposed ? .transposedLinear : .linear) : .convolution,
            inputs: isTransposed ? dimensions[0] : dimensions[1],
            outputs: isTransposed ? dimensions[1] : dimensions[0], kernel: Array(dimensions[2...]), rank: 1, alpha: 1)
        self.file = file
        self.tensor = tensor
        (rows, columns) = isTransposed ? (shape.columns, shape.outputs) : (shape.outputs, shape.columns)
    }

    /// The largest rank.
    var fullRank: Int { min(rows, columns) }

    /// Stored rows as float32 into `target`, row-major. Throws `.nonFinite` naming the element.
    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>) throws(LoragenError) {
        let width = tensor.type.bits / 8
        let bytes = file.bytes(of: tensor)
        let (start, count) = (range.lowerBound * columns, range.count * columns)
        guard range.lowerBound >= 0, range.upperBound <= rows, bytes.count == tensor.count * width else {
            throw LoragenError(.internalError, "\(file.path): rows \(range) of \(rows)")
        }
        let part = UnsafeMutableBufferPointer(start: target, count: count)
        tensor.type.convert(
            UnsafeRawBufferPointer(rebasing: bytes[(start * width)..<((start + count) * width)]), to: part)
        var sum: Float = 0
        for value in part { sum += value * 0 }
        if sum != 0, let bad = part.firstIndex(where: { !$0.isFinite }) {
            throw LoragenError(
                .nonFinite,
                "\(file.path): tensor '\(shortened(tensor.name))': element \(start + bad) is \(part[bad]); expected a finite "
                    + "number")
        }
    }

    /// SHA-256 of type, shape and bytes, the first 32 hexadecimal digits.
    var fingerprint: String {
        var digest = SHA256()
        digest.update("\(tensor.type.rawValue) \(tensor.shape)\n")
        digest.update(file.bytes(of: tensor))
        return String(digest.finish().prefix(32))
    }

    /// Takes its pages out of memory; they stay readable.
    func release() { file.release(tensor, 0..<tensor.byteCount) }
}
