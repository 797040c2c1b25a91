import Adapters
import Files
import Tensor

/// The same models with the numbers in a file "<name>.data" beside them, which protobuf's 2 GiB do not bound. Tensors are
/// encoded one at a time, at multiples of a page, so that a host can map them.
enum ONNXExternalData {
    private static let alignment = 4096

    static func write(
        _ image: AdapterImage, metadata: [String: String], to path: String
    ) throws(LoragenError) {
        guard let type = image.type.onnx else {
            throw LoragenError(.internalError, "\(image.type.rawValue) is not written to ONNX")
        }
        let data = try AtomicFile(path: path + ".data")
        let location = splitPath(path).name + ".data"
        var graph = ProtoWriter()
        var position = 0
        for (i, tensor) in image.adapter.tensors.enumerated() {
            let start = (position + alignment - 1) & ~(alignment - 1)
            try data.append([UInt8](repeating: 0, count: start - position))
            let encoder = FloatEncoder(type: image.type, scale: image.factor(of: i), name: tensor.name)
            try encoder.encode(tensor.values) { (raw) throws(LoragenError) in try data.append(raw) }
            let size = tensor.values.count * (image.type.bits / 8)
            position = start + size
            add(tensor, type, location: location, start: start, size: size, to: &graph)
        }
        graph.add(2, text: "adapter")
        var opset = ProtoWriter()
        opset.add(2, varint: 17)
        var model = ProtoWriter()
        model.add(1, varint: 8)
        model.add(2, text: "loragen")
        model.add(7, message: graph)
        model.add(8, message: opset)
        for (key, value) in metadata.sorted(by: { precedes($0.key, $1.key) }) {
            model.add(14, message: entry(key, value))
        }
        let file = try AtomicFile(path: path, expectedSize: model.bytes.count)
        try file.append(model.bytes)
        // A model without its numbers would be worse than numbers without a model.
        try AtomicFile.commit([data, file])
    }

    /// An initializer, the Identity node that hands it on, and the graph's output.
    private static func add(
        _ tensor: Adapter.Tensor, _ type: Int32, location: String, start: Int, size: Int, to graph: inout ProtoWriter
    ) {
        var initializer = ProtoWriter()
        var shape = ProtoWriter()
        for dimension in tensor.shape {
            initializer.add(1, varint: UInt64(dimension))
            var part = ProtoWriter()
            part.add(1, varint: UInt64(dimension))
            shape.add(1, message: part)
        }
        initializer.add(2, varint: UInt64(type))
        initializer.add(8, text: tensor.name)
        for (key, value) in [("location", location), ("offset", String(start)), ("length", String(size))] {
            initializer.add(13, message: entry(key, value))
        }
        initializer.add(14, varint: 1)
        graph.add(5, message: initializer)
        let output = tensor.name + ":out"
        var node = ProtoWriter()
        node.add(1, text: tensor.name)
        node.add(2, text: output)
        node.add(3, text: output)
        node.add(4, text: "Identity")
        graph.add(1, message: node)
        var tensorType = ProtoWriter()
        tensorType.add(1, varint: UInt64(type))
        tensorType.add(2, message: shape)
        var valueType = ProtoWriter()
        valueType.add(1, message: tensorType)
        var info = ProtoWriter()
        info.add(1, text: output)
        info.add(2, message: valueType)
        graph.add(12, message: info)
    }

    private static func entry(_ key: String, _ value: String) -> ProtoWriter {
        var entry = ProtoWriter()
        entry.add(1, text: key)
        entry.add(2, text: value)
        return entry
    }

    /// Reads what `write` made.
    static func read(_ graph: ONNXGraph) throws(LoragenError) -> Adapter {
        let path = graph.reader.source
        var metadata: [String: String] = [:]
        for (_, key, value) in graph.properties { metadata[key] = value }
        guard let text = metadata.removeValue(forKey: AdapterFile.layoutKey) else {
            throw LoragenError(
                .format,
                "\(path): its metadata_props have no '\(AdapterFile.layoutKey)'; expected a file that this library wrote"
            )
        }
        let source = "\(path): metadata '\(AdapterFile.layoutKey)'"
        let layout = try Layout(json: JSON.parse(text, source: source), source: source)
        let extra = graph.initializers.keys.map(\.text).filter { layout.tensor($0) == nil }.min(by: precedes)
        if let extra {
            throw LoragenError(.format, "\(path): initializer '\(shortened(extra))' is not in the file's layout")
        }
        var files: [String: MappedFile] = [:]
        for location in graph.locations {
            files[location] = try MappedFile(path: joinPath(splitPath(path).folder, location))
        }
        var tensors: [(type: ElementType, bytes: UnsafeRawBufferPointer)] = []
        for place in layout.tensors {
            guard let found = graph.initializers[ByteKey(place.name)], found.shape == place.shape,
                let type = ElementType(onnx: found.type),
                case .outside(let location, let offset, let length) = found.data,
                let file = files[location], let size = type.byteCount(shape: place.shape)?.bytes,
                length ?? size == size,
                offset <= file.size, size <= file.size - offset
            else {
                throw LoragenError(
                    .format,
                    "\(path): initializer '\(place.name)' is missing, is not \(place.shape) as the file's layout says, or its "
                        + "external data is cut off")
            }
            tensors.append((type, UnsafeRawBufferPointer(rebasing: file.bytes[offset..<(offset + size)])))
        }
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (place, (type, bytes)) in zip(layout.tensors, tensors) {
                type.convert(bytes, to: UnsafeMutableBufferPointer(rebasing: target[place.range]))
            }
        }
        withExtendedLifetime(files) {}
        try adapter.checkFinite(source: path)
        return adapter
    }
}
