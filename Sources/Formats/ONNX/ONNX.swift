import Adapters
import COnnxABI
import Files
import Tensor

/// Adapters as ONNX models (IR 8, opset 17, which every ONNX Runtime since 1.12 opens): one initializer for each tensor
/// under its PEFT key, handed on by an Identity node to the output "<key>:out"; layout and origin in `metadata_props`.
/// Needs `libloragen_onnx`; without it everything throws `.unsupported`.
public enum ONNX {
    /// Writes one file, and beyond 2 GiB a second one "<path>.data" with the numbers. Throws `.unsupported` without the
    /// library, `.io`, `.nonFinite` (also for values beyond the range of F16), and `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        try write(adapter, to: path, options: options, dataLimit: ONNXRequest.dataLimit)
    }

    static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions, dataLimit: Int
    ) throws(LoragenError) {
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        var metadata = adapter.metadata
        metadata[AdapterFile.layoutKey] = try image.layout.json.text()
        if image.layout.valueCount * (image.type.bits / 8) > dataLimit {
            return try ONNXExternalData.write(image, metadata: metadata, to: path)
        }
        // The numbers, the model of them that libonnx makes, and its bytes; a growing array is copied.
        try Memory.require(
            4 * Double(image.layout.valueCount) * Double(image.type.bits / 8),
            for: "an ONNX model of \(image.layout.valueCount) numbers")
        let library = try ONNXLibrary.shared()
        var request = ONNXRequest()
        for (key, value) in metadata.sorted(by: { precedes($0.key, $1.key) }) { request.addProperty(key, value) }
        for (i, tensor) in image.adapter.tensors.enumerated() {
            let encoder = FloatEncoder(type: image.type, scale: image.factor(of: i), name: tensor.name)
            try request.addTensor(tensor, type: image.type, encoder: encoder)
        }
        let model = try request.build(with: library, path: path)
        defer { library.free(model.baseAddress) }
        let file = try AtomicFile(path: path, expectedSize: model.count)
        try file.append(UnsafeRawBufferPointer(model))
        try file.commit()
    }

    /// Reads a file that `write` made. Throws `.unsupported` without the library; `.io`; `.format` when it is not such a
    /// file; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        let graph = try attempt { () throws(LoragenError) in try ONNXGraph(path: path) }
        if let graph, !graph.locations.isEmpty { return try ONNXExternalData.read(graph) }
        let library = try ONNXLibrary.shared()
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        var handle: OpaquePointer?
        var message = [CChar](repeating: 0, count: ONNXLibrary.messageSize)
        let status = library.open(file.bytes.baseAddress, file.bytes.count, &handle, &message, message.count)
        if status != 0 {
            throw status == LGO_NO_MEMORY
                ? ONNXLibrary.noMemory(path)
                : LoragenError(.format, "\(path): not a model that ONNX accepts: \(text(message))")
        }
        defer { library.close(handle) }
        var metadata: [String: String] = [:]
        for i in 0..<library.propertyCount(handle) {
            var property = lgo_property()
            guard library.propertyAt(handle, i, &property) == 0, let key = string(property.key),
                let value = string(property.value)
            else { throw LoragenError(.format, "\(path): metadata property \(i) is not valid UTF-8") }
            if metadata.updateValue(value, forKey: key) != nil {
                throw LoragenError(.format, "\(path): metadata property '\(shortened(key))' is there twice")
            }
        }
        guard let layoutText = metadata.removeValue(forKey: AdapterFile.layoutKey) else {
            throw LoragenError(
                .format,
                "\(path): its metadata_props have no '\(AdapterFile.layoutKey)'; expected a file that this library wrote"
            )
        }
        let source = "\(path): metadata '\(AdapterFile.layoutKey)'"
        let layout = try Layout(json: JSON.parse(layoutText, source: source), source: source)
        let tensors = try initializers(of: handle, library, layout, path)
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (place, (type, bytes)) in zip(layout.tensors, tensors) {
                type.convert(bytes, to: UnsafeMutableBufferPointer(rebasing: target[place.range]))
            }
        }
        try adapter.checkFinite(source: path)
        return adapter
    }

    /// The initializers in the order of the layout, checked against it.
    private static func initializers(
        of handle: OpaquePointer?, _ library: ONNXLibrary, _ layout: Layout, _ path: String
    ) throws(LoragenError) -> [(ElementType, UnsafeRawBufferPointer)] {
        var found: [ByteKey: (ElementType, UnsafeRawBufferPointer)] = [:]
        for i in 0..<library.tensorCount(handle) {
            var tensor = lgo_tensor()
            guard library.tensorAt(handle, i, &tensor) == 0, let name = string(tensor.name) else {
                throw LoragenError(.format, "\(path): the name of initializer \(i) is not valid UTF-8")
            }
            guard let place = layout.tensor(name) else {
                throw LoragenError(.format, "\(path): initializer '\(shortened(name))' is not in the file's layout")
            }
            let dims = UnsafeBufferPointer(start: tensor.dims, count: tensor.rank)
            guard let type = ElementType(onnx: tensor.type), dims.elementsEqual(place.shape.map(Int64.init)),
                tensor.size == place.count * (type.bits / 8)
            else {
                throw LoragenError(
                    .format,
                    "\(path): initializer '\(shortened(name))' has ONNX type \(tensor.type), shape \(Array(dims.prefix(8))) "
                        + "and \(tensor.size) bytes; the file's layout says \(place.shape)")
            }
            let bytes = UnsafeRawBufferPointer(start: tensor.data, count: tensor.size)
            if found.updateValue((type, bytes), forKey: ByteKey(name)) != nil {
                throw LoragenError(.format, "\(path): initializer '\(shortened(name))' is there twice")
            }
        }
        var ordered: [(ElementType, UnsafeRawBufferPointer)] = []
        ordered.reserveCapacity(layout.tensors.count)
        for place in layout.tensors {
            guard let tensor = found[ByteKey(place.name)] else {
                throw LoragenError(.format, "\(path): initializer '\(place.name)' is missing")
            }
            ordered.append(tensor)
        }
        return ordered
    }

    private static func string(_ value: lgo_string) -> String? {
        guard let bytes = value.bytes else { return "" }
        return UnsafeRawBufferPointer(start: bytes, count: value.count).withMemoryRebound(to: UInt8.self) {
            String(validating: $0, as: UTF8.self)
        }
    }

    static func text(_ message: [CChar]) -> String {
        shortened(String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
}

extension ElementType {
    /// onnx.TensorProto.DataType of the float types.
    public var onnx: Int32? {
        switch self {
        case .f32: return 1
        case .f16: return 10
        case .f64: return 11
        case .bf16: return 16
        default: return nil
        }
    }

    public init?(onnx: Int32) {
        guard let type = ([.f32, .f16, .f64, .bf16] as [ElementType]).first(where: { $0.onnx == onnx }) else {
            return nil
        }
        self = type
    }
}
