import Files
import Tensor

/// The tensors of a folder's `model.safetensors`, or of the parts that `model.safetensors.index.json` lists, as float32:
/// in place in the mapped file where they are stored so, converted from f16 and bf16 otherwise. What was taken is recorded,
/// for the identity.
final class VisionWeights: @unchecked Sendable {
    // Changes while a tower takes its tensors, by whoever opens it; afterwards it is only read.

    private let files: [SafetensorsFile]
    /// Before all names: "", "vit.", "dinov2." or "vision_model.".
    private(set) var prefix = ""
    private(set) var taken: [(name: String, file: SafetensorsFile, tensor: SafetensorsTensor)] = []

    init(folder: String) throws(LoragenError) {
        let single = joinPath(folder, "model.safetensors")
        let index = joinPath(folder, "model.safetensors.index.json")
        if try PathKind.of(single) == nil, try PathKind.of(index) == .file {
            let names = Set(
                (try JSON.read(path: index)["weight_map"]?.object?.members ?? []).compactMap { $0.value.string })
            guard !names.isEmpty, names.count <= 1024 else {
                throw LoragenError(.format, "\(index): weight_map lists \(names.count) files; expected 1 to 1024")
            }
            var files: [SafetensorsFile] = []
            for name in names.sorted() {
                guard !name.contains("/"), name.hasSuffix(".safetensors") else {
                    throw LoragenError(
                        .format, "\(index): weight_map names '\(shortened(name))'; expected a file beside it")
                }
                files.append(try SafetensorsFile(path: joinPath(folder, name)))
            }
            self.files = files
        } else {
            files = [try SafetensorsFile(path: single)]
        }
    }

    /// Settles what stands before all names, by one that must be there.
    func findPrefix(of name: String) throws(LoragenError) {
        for prefix in ["", "vit.", "dinov2.", "vision_model.", "clip.vision_model.", "model."]
        where files.contains(where: { $0.tensor(prefix + name) != nil }) {
            self.prefix = prefix
            return
        }
        throw LoragenError(
            .format, "\(files[0].path): tensor '\(name)' is missing; is it another model than config.json says?")
    }

    /// A tensor of that name behind the prefix; `nil` when there is none.
    func find(_ name: String, _ shape: [Int], anywhere: Bool = false) throws(LoragenError) -> Tensor<Float>? {
        let full = anywhere ? name : prefix + name
        for file in files {
            guard let tensor = file.tensor(full) else { continue }
            return try load(tensor, of: file, as: name, shape)
        }
        return nil
    }

    /// The first extent of a matrix whose name has no prefix.
    func rows(of name: String) -> Int? {
        files.lazy.compactMap { $0.tensor(name) }.first.flatMap { $0.shape.count == 2 ? $0.shape[0] : nil }
    }

    /// Throws `.format` naming file and tensor when it is missing or of another shape or type.
    func require(_ name: String, _ shape: [Int]) throws(LoragenError) -> Tensor<Float> {
        if let tensor = try find(name, shape) { return tensor }
        let path = files.count == 1 ? files[0].path : "\(files[0].path) and \(files.count - 1) more"
        throw LoragenError(.format, "\(path): tensor '\(prefix)\(name)' is missing")
    }

    private func load(
        _ tensor: SafetensorsTensor, of file: SafetensorsFile, as name: String, _ shape: [Int]
    ) throws(LoragenError) -> Tensor<Float> {
        guard tensor.shape == shape else {
            throw LoragenError(
                .format,
                "\(file.path): tensor '\(shortened(tensor.name))' has shape \(tensor.shape), expected \(shape) by config.json"
            )
        }
        guard [.f32, .f16, .bf16].contains(tensor.type) else {
            throw LoragenError(
                .unsupported,
                "\(file.path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); expected F32, F16 or BF16"
            )
        }
        taken.append((name, file, tensor))
        let bytes = file.bytes(of: tensor)
        if tensor.type == .f32, let base = bytes.baseAddress, UInt(bitPattern: base) % 4 == 0 {
            return Tensor(borrowing: base.assumingMemoryBound(to: Float.self), shape: shape, owner: file)
        }
        try Memory.require(tensor.count, of: Float.self, for: "\(file.path): tensor '\(shortened(tensor.name))'")
        return try typed {
            try Tensor.make(shape) {
                try file.read(tensor, into: UnsafeMutableBufferPointer(start: $0, count: tensor.count))
            }
        }
    }

    /// A digest of everything that was taken: names without the prefix, types, shapes and bytes, in the order of names. The
    /// same for a tower alone and inside a larger model, in one file and in several.
    var digest: String {
        var digest = SHA256()
        for (name, file, tensor) in taken.sorted(by: { precedes($0.name, $1.name) }) {
            digest.update("\(name) \(tensor.type.rawValue) \(tensor.shape) \(SHA256.ofParts(file.bytes(of: tensor)))\n")
        }
        return digest.finish()
    }
}
