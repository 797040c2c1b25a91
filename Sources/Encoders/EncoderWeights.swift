import Files
import Tensor

/// The tensors of an encoder's folder, mapped: model.safetensors, or the parts that model.safetensors.index.json lists.
/// Numbers are those of float32, whatever they are stored as; those that are stored so stay where they are.
final class EncoderWeights: Sendable {
    let folder: String
    /// The mapped files, for the digest.
    let files: [SafetensorsFile]
    private let places: [ByteKey: Int]
    /// What all names begin with, "bert." for one.
    private let prefix: String

    /// `prefixes` are what names may begin with; the first with which the file has `probe` is taken.
    init(
        _ files: FolderFiles, prefixes: [String], probe: String, subfolder: String = ""
    ) throws(LoragenError) {
        folder = files.folder
        var (mapped, places) = ([SafetensorsFile](), [ByteKey: Int]())
        for path in try Self.paths(files, subfolder) {
            let file = try SafetensorsFile(path: path)
            for tensor in file.tensors { places[ByteKey(tensor.name)] = mapped.count }
            mapped.append(file)
        }
        (self.files, self.places) = (mapped, places)
        guard let prefix = prefixes.first(where: { places[ByteKey($0 + probe)] != nil }) else {
            let path = mapped.first?.path ?? folder
            throw LoragenError(
                .format,
                "\(path): tensor '\(prefixes.first ?? "")\(probe)' is missing; is config.json that of these weights?")
        }
        self.prefix = prefix
    }

    private static func paths(_ files: FolderFiles, _ subfolder: String) throws(LoragenError) -> [String] {
        let start = subfolder.isEmpty ? "" : subfolder + "/"
        if files.has(start + "model.safetensors") { return [files.path(start + "model.safetensors")] }
        let index = start + "model.safetensors.index.json"
        if let json = try files.json(index) {
            var names: [String] = []
            for member in json["weight_map"]?.object?.members ?? [] {
                guard let name = member.value.string, !name.isEmpty, !name.contains("/"), !name.contains("\0") else {
                    throw LoragenError(
                        .format,
                        "\(files.path(index)): '\(shortened(member.name))' is in \(member.value.kind); expected "
                            + "the name of a file beside it")
                }
                if !names.contains(name) { names.append(name) }
                guard names.count <= 1000 else {
                    throw LoragenError(.format, "\(files.path(index)): more than 1000 files")
                }
            }
            return names.map { files.path(start + $0) }
        }
        let old = ["pytorch_model.bin", "tf_model.h5", "model.onnx"].first { files.has(start + $0) }
        throw LoragenError(
            .io,
            "\(files.path(start + "model.safetensors")): it is missing"
                + (old.map { "; \($0) is not read: save the model as safetensors (save_pretrained does)" } ?? ""))
    }

    private func find(_ name: String) -> (SafetensorsFile, SafetensorsTensor)? {
        guard let place = places[ByteKey(prefix + name)], files.indices.contains(place),
            let tensor = files[place].tensor(prefix + name)
        else { return nil }
        return (files[place], tensor)
    }

    func has(_ name: String) -> Bool { find(name) != nil }

    /// The shape that a tensor has in the file, `nil` if there is none.
    func shape(_ name: String) -> [Int]? { find(name)?.1.shape }

    private func require(_ name: String, _ shape: [Int]) throws(LoragenError) -> (SafetensorsFile, SafetensorsTensor) {
        guard let (file, tensor) = find(name) else {
            throw LoragenError(
                .format, "\(files.first?.path ?? folder): tensor '\(shortened(prefix + name))' is missing")
        }
        guard tensor.shape == shape else {
            throw LoragenError(
                .format,
                "\(file.path): tensor '\(shortened(prefix + name))' has shape \(tensor.shape); config.json asks for \(shape)"
            )
        }
        guard tensor.type.isReadable else {
            throw LoragenError(
                .format,
                "\(file.path): tensor '\(shortened(prefix + name))' is \(tensor.type.rawValue); expected F32, F16 or BF16"
            )
        }
        return (file, tensor)
    }

    /// A tensor of exactly that shape. Throws naming file and tensor.
    func tensor(_ name: String, _ shape: [Int]) throws(LoragenError) -> Tensor<Float> {
        let (file, tensor) = try require(name, shape)
        let bytes = file.bytes(of: tensor)
        if tensor.type == .f32, let base = bytes.baseAddress, UInt(bitPattern: base) % 4 == 0 {
            return Tensor(borrowing: base.assumingMemoryBound(to: Float.self), shape: shape, owner: file)
        }
        return Tensor(try file.floats(tensor.name), shape: shape)
    }

    /// Several matrices [rows, inputs], one below the other.
    func stacked(_ names: [String], rows: Int, inputs: Int) throws(LoragenError) -> Tensor<Float> {
        var parts: [Tensor<Float>] = []
        for name in names { parts.append(try tensor(name, [rows, inputs])) }
        try Memory.require(
            parts.count * rows * inputs, of: Float.self, for: "\(folder): '\(shortened(names.first ?? ""))'")
        return .concatenate(parts, axis: 0)
    }

    /// Several vectors [rows], one after the other.
    func stacked(_ names: [String], rows: Int) throws(LoragenError) -> Tensor<Float> {
        var parts: [Tensor<Float>] = []
        for name in names { parts.append(try tensor(name, [rows])) }
        return .concatenate(parts, axis: 0)
    }

    /// A table [rows, width] whose rows are read where they are.
    func table(_ name: String, width: Int) throws(LoragenError) -> EmbeddingTable {
        let rows = shape(name)?.first ?? 0
        let (file, tensor) = try require(name, [rows, width])
        guard rows > 0 else {
            throw LoragenError(.format, "\(file.path): tensor '\(shortened(prefix + name))' has no rows")
        }
        return EmbeddingTable(file: file, tensor: tensor, rows: rows, width: width)
    }
}

/// A table of rows in a mapped file, of which a text reads a few.
struct EmbeddingTable: Sendable {
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    let rows: Int
    let width: Int

    /// Rows as float32, [ids.count, width]. Throws for an id that the table does not have.
    func gather(_ ids: [Int32]) throws(LoragenError) -> Tensor<Float> {
        for id in ids where id < 0 || Int(id) >= rows {
            throw LoragenError(
                .mismatch, "\(file.path): tensor '\(shortened(tensor.name))' has \(rows) rows and none for the id \(id)"
            )
        }
        let source = file.bytes(of: tensor)
        let size = width * tensor.type.bits / 8
        return Tensor.make([ids.count, width]) { to in
            for (place, id) in ids.enumerated() {
                let start = Int(id) * size
                tensor.type.convert(
                    UnsafeRawBufferPointer(rebasing: source[start..<start + size]),
                    to: UnsafeMutableBufferPointer(start: to + place * width, count: width))
            }
        }
    }
}
