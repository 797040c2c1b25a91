import Adapters
import Files
import Tensor

/// How the parameters of an `.onnx_adapter` file are called and laid out.
public enum ONNXNaming: Sendable {
    /// As Microsoft Olive and the models that it or `loragen apply` prepares have it: the PEFT key without
    /// "base_model.model.", A as `[in, r]`, B as `[r, out]`, the scale inside B.
    case olive
    /// The PEFT key, A `[r, in]` and B `[out, r]`.
    case peft
}

/// Adapters for ONNX Runtime's LoraAdapter (since 1.20) and ONNX Runtime GenAI: FlatBuffers of one table `Adapter` with
/// one table `Parameter` for each tensor, sorted by name.
/// https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/lora/adapter_format/adapter_schema.fbs
public enum ONNXAdapter {
    static let prefix = "base_model.model."
    /// FlatBuffers count in 31 bits.
    private static let sizeLimit = (1 << 31) - 1
    /// The vtable stands at byte 8 and serves both tables, which have four fields each.
    private static let vtable = 8
    private static let alignment = 64

    /// Writes one file. Throws `.unsupported` beyond 2 GiB and for a scale that is not inside lora_B, which the format
    /// cannot carry; `.io`, `.nonFinite`, `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        if let module = image.layout.modules.first(where: { $0.scale != 1 }) {
            throw LoragenError(
                .unsupported,
                ".onnx_adapter has no place for alpha, but module '\(module.name)' has the scale \(module.scale); write "
                    + "without keeping alpha, which puts the scale into lora_B")
        }
        if let module = image.layout.modules.first(where: { !$0.isMatrix || $0.hasMagnitude }) {
            throw LoragenError(
                .unsupported,
                "module '\(module.name)' is \(module.hasMagnitude ? "DoRA" : "of the kind \(module.kind.rawValue)"), which "
                    + "models with LoRA inputs do not have; merge it into the model instead")
        }
        guard let type = image.type.onnx else {
            throw LoragenError(.internalError, "\(image.type.rawValue) is not written to ONNX")
        }
        let isOlive = options.naming == .olive
        var parameters = image.layout.tensors.enumerated().map { index, tensor in
            Parameter(
                name: isOlive ? String(tensor.name.dropFirst(prefix.count)) : tensor.name,
                shape: isOlive ? tensor.shape.reversed() : tensor.shape, index: index,
                byteCount: tensor.count * (image.type.bits / 8))
        }
        parameters.sort { precedes($0.name, $1.name) }
        let (header, places, size) = try header(&parameters, type: type)
        let file = try AtomicFile(path: path, expectedSize: size)
        try file.append(header)
        var position = header.count
        for (parameter, place) in zip(parameters, places) {
            var bytes = [UInt8](repeating: 0, count: place - 4 - position)
            bytes.append(number: UInt32(parameter.byteCount))
            try file.append(bytes)
            let tensor = image.adapter.tensor(at: parameter.index)
            let encoder = FloatEncoder(
                type: image.type, scale: image.factor(of: parameter.index), name: tensor.name)
            let sink = { (raw: UnsafeRawBufferPointer) throws(LoragenError) in try file.append(raw) }
            if isOlive {
                let turned = transposed(tensor.values, rows: tensor.shape[0], columns: tensor.shape[1])
                try turned.withUnsafeBufferPointer { values in
                    Result { () throws(LoragenError) in try encoder.encode(values, to: sink) }
                }.get()
            } else {
                try encoder.encode(tensor.values, to: sink)
            }
            position = place + parameter.byteCount
        }
        try file.commit()
    }

    private struct Parameter {
        let name: String
        let shape: [Int]
        /// Of the tensor in the layout.
        let index: Int
        let byteCount: Int
    }

    /// Everything before the first tensor's bytes, where each tensor's bytes begin, and the size of the file.
    private static func header(
        _ parameters: inout [Parameter], type: Int32
    ) throws(LoragenError) -> (bytes: [UInt8], places: [Int], size: Int) {
        // Tables, then the texts and shapes: places first, for offsets point forward.
        let adapter = vtable + 12
        let vector = adapter + 20
        let tables = vector + 4 + 4 * parameters.count
        var position = tables + 20 * parameters.count
        var names: [Int] = []
        var shapes: [Int] = []
        for parameter in parameters {
            names.append(position)
            position = (position + 4 + parameter.name.utf8.count + 1 + 3) & ~3
            // The length stands 4 bytes before the numbers, which are aligned to 8.
            if position % 8 != 4 { position += 4 }
            shapes.append(position)
            position += 4 + 8 * parameter.shape.count
        }
        let headerSize = position
        var places: [Int] = []
        for parameter in parameters {
            position = (position + 4 + alignment - 1) & ~(alignment - 1)
            places.append(position)
            position += parameter.byteCount
            if position > sizeLimit {
                throw LoragenError(
                    .unsupported,
                    "an .onnx_adapter file holds 2 GiB at most, which tensor '\(parameter.name)' passes; write F16, or "
                        + "safetensors")
            }
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(headerSize)
        bytes.append(number: UInt32(adapter))
        bytes += Array("TORT".utf8)
        // Size of the vtable, size of a table, places of its fields.
        for entry: UInt16 in [12, 20, 4, 8, 12, 16] { bytes.append(number: entry) }
        for value: Int32 in [Int32(adapter - vtable), 1, 1, 1] { bytes.append(number: value) }
        bytes.append(number: UInt32(vector - bytes.count))
        bytes.append(number: UInt32(parameters.count))
        for i in parameters.indices { bytes.append(number: UInt32(tables + 20 * i - bytes.count)) }
        for i in parameters.indices {
            bytes.append(number: Int32(bytes.count - vtable))
            bytes.append(number: UInt32(names[i] - bytes.count))
            bytes.append(number: UInt32(shapes[i] - bytes.count))
            bytes.append(number: type)
            bytes.append(number: UInt32(places[i] - 4 - bytes.count))
        }
        for (i, parameter) in parameters.enumerated() {
            bytes += [UInt8](repeating: 0, count: names[i] - bytes.count)
            bytes.append(number: UInt32(parameter.name.utf8.count))
            bytes += Array(parameter.name.utf8)
            bytes += [UInt8](repeating: 0, count: shapes[i] - bytes.count)
            bytes.append(number: UInt32(parameter.shape.count))
            for dimension in parameter.shape { bytes.append(number: Int64(dimension)) }
        }
        return (bytes, places, position)
    }
}

extension ModuleShape {
    /// A linear layer, however its weight is stored.
    public var isMatrix: Bool { kind == .linear || kind == .transposedLinear }
}

/// A row-major matrix, transposed.
public func transposed(_ values: UnsafeBufferPointer<Float>, rows: Int, columns: Int) -> [Float] {
    precondition(values.count == rows * columns)
    var result = [Float](repeating: 0, count: values.count)
    for row in 0..<rows {
        for column in 0..<columns { result[column * rows + row] = values[row * columns + column] }
    }
    return result
}
