import Adapters
import COnnxABI
import Files
import Tensor

/// Gathers tensors and properties in memory of its own, and hands them to `lgo_build` as C structs.
struct ONNXRequest {
    private struct Entry {
        let name: Range<Int>
        let dims: Range<Int>
        let type: Int32
        let data: Range<Int>
    }

    /// All strings, one after the other.
    private var strings: [UInt8] = []
    private var dims: [Int64] = []
    private var data: [UInt8] = []
    private var tensors: [Entry] = []
    private var properties: [(key: Range<Int>, value: Range<Int>)] = []

    /// protobuf counts in 31 bits; what is not tensor data stays far below the rest.
    static let dataLimit = (1 << 31) - (1 << 24)

    mutating func addProperty(_ key: String, _ value: String) { properties.append((add(key), add(value))) }

    mutating func addTensor(
        _ tensor: Adapter.Tensor, type: ElementType, encoder: FloatEncoder
    ) throws(LoragenError) {
        guard let code = type.onnx else {
            throw LoragenError(.internalError, "\(type.rawValue) is not written to ONNX")
        }
        let start = data.count
        if start + tensor.values.count * (type.bits / 8) > Self.dataLimit {
            throw LoragenError(.internalError, "an adapter beyond 2 GiB does not fit into one ONNX file")
        }
        try encoder.encode(tensor.values) { (raw) throws(LoragenError) in data.append(contentsOf: raw) }
        let firstDim = dims.count
        dims += tensor.shape.map(Int64.init)
        tensors.append(
            Entry(name: add(tensor.name), dims: firstDim..<dims.count, type: code, data: start..<data.count))
    }

    private mutating func add(_ text: String) -> Range<Int> {
        let start = strings.count
        strings += Array(text.utf8)
        return start..<strings.count
    }

    /// The serialised model, to be freed with the library's `free`. Throws `.internalError` with libonnx's reason.
    func build(
        with library: ONNXLibrary, path: String
    ) throws(LoragenError) -> UnsafeMutableRawBufferPointer {
        var message = [CChar](repeating: 0, count: ONNXLibrary.messageSize)
        var model: UnsafeMutableRawPointer?
        var size = 0
        let producer = Array("loragen".utf8)
        let status = strings.withUnsafeBytes { strings in
            dims.withUnsafeBufferPointer { dims in
                data.withUnsafeBytes { data in
                    producer.withUnsafeBytes { producer in
                        func view(_ range: Range<Int>) -> lgo_string {
                            lgo_string(
                                bytes: strings.baseAddress.map {
                                    ($0 + range.lowerBound).assumingMemoryBound(to: CChar.self)
                                },
                                count: range.count)
                        }
                        let cTensors = tensors.map { entry in
                            lgo_tensor(
                                name: view(entry.name), dims: dims.baseAddress.map { $0 + entry.dims.lowerBound },
                                rank: entry.dims.count, type: entry.type,
                                data: data.baseAddress.map { $0 + entry.data.lowerBound }, size: entry.data.count)
                        }
                        let cProperties = properties.map { lgo_property(key: view($0.key), value: view($0.value)) }
                        let name = lgo_string(
                            bytes: producer.baseAddress?.assumingMemoryBound(to: CChar.self), count: producer.count)
                        return library.build(
                            cTensors, cTensors.count, cProperties, cProperties.count, name, &model, &size, &message,
                            message.count)
                    }
                }
            }
        }
        if status == LGO_NO_MEMORY { throw ONNXLibrary.noMemory(path) }
        guard status == 0, let model else {
            throw LoragenError(.internalError, "\(path): libonnx refused the model: \(ONNX.text(message))")
        }
        return UnsafeMutableRawBufferPointer(start: model, count: size)
    }
}
