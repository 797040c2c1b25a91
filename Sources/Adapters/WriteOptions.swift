import Tensor

/// The kinds of file that an adapter is written as.
public enum AdapterFormat: Sendable {
    /// A folder that PEFT and the servers that read its folders load.
    case peft
    /// One `.safetensors` file with PEFT's keys, and the layout in its metadata.
    case safetensors
    /// One `.onnx` file with the tensors as initializers, through `libloragen_onnx`.
    case onnx
    /// One `.gguf` file for llama.cpp.
    case gguf
    /// One `.onnx_adapter` file for ONNX Runtime's LoraAdapter.
    case onnxAdapter
    /// One `.npz` file for NumPy.
    case npz
}

/// How an adapter is written.
public struct WriteOptions: Sendable {
    /// F32, F16 or BF16.
    public var type: ElementType
    /// One rank for all modules (smaller ones are padded with zeros), alpha = rank, and the scale inside lora_B: the form
    /// that all hosts compute alike. `false` keeps rank, alpha and scaling of each module.
    public var portable: Bool
    /// GGUF alone: Q8_0, which rounds to 8 bits; `type` is then not looked at.
    public var quantized = false
    /// GGUF alone: the base model, as `BaseModel.init` takes it.
    public var base: String?

    public init(type: ElementType = .f32, portable: Bool = true) {
        self.type = type
        self.portable = portable
    }
}

/// An adapter as it goes into a file: which layout the file states, and the factor on each tensor's values.
struct AdapterImage {
    /// Its tensors are those of `layout`, padded if need be.
    let adapter: Adapter
    let layout: Layout
    let type: ElementType

    /// Throws `.invalidArgument` for a type that no host reads and `.nonFinite` for values that no host should.
    init(_ adapter: Adapter, _ options: WriteOptions) throws(LoragenError) {
        guard [.f32, .f16, .bf16].contains(options.type) else {
            throw LoragenError(
                .invalidArgument, "an adapter cannot be written as \(options.type.rawValue); expected F32, F16 or BF16")
        }
        type = options.type
        try adapter.checkFinite(source: "the adapter")
        if options.portable {
            let rank = adapter.layout.modules.lazy.map(\.rank).max() ?? 1
            layout = try adapter.layout.withRank(rank)
            self.adapter = try adapter.padded(to: layout)
            scales = adapter.layout.modules.map(\.scale)
        } else {
            layout = adapter.layout
            self.adapter = adapter
            scales = [Double](repeating: 1, count: layout.modules.count)
        }
    }

    private let scales: [Double]

    /// What a tensor's values are multiplied with: the scale for lora_B, 1 for lora_A.
    func factor(of index: Int) -> Double { index % 2 == 1 ? scales[index / 2] : 1 }

    /// A safetensors writer that holds all tensors. The image must live until it has written.
    func writer(metadata: [String: String]) throws(LoragenError) -> SafetensorsWriter {
        var writer = SafetensorsWriter(metadata: metadata)
        for (i, tensor) in adapter.tensors.enumerated() {
            try writer.add(tensor.name, shape: tensor.shape, floats: tensor.values, as: type, scale: factor(of: i))
        }
        return writer
    }
}

extension Adapter {
    /// The same tensors in a layout of larger ranks, the added rows of A and columns of B zero. Alpha is not looked at.
    func padded(to layout: Layout) throws(LoragenError) -> Adapter {
        if layout.tensors == self.layout.tensors { return self }
        return try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (i, place) in layout.tensors.enumerated() {
                let source = tensor(at: i)
                guard zip(source.shape, place.shape).allSatisfy({ $0 <= $1 }) else {
                    throw LoragenError(
                        .mismatch, "tensor '\(place.name)': \(source.shape) cannot be padded to \(place.shape)")
                }
                let columns = source.shape[1]
                for row in 0..<source.shape[0] {
                    let to = place.offset + row * place.shape[1]
                    let from = source.values[(row * columns)..<(row * columns + columns)]
                    _ = UnsafeMutableBufferPointer(rebasing: target[to..<(to + columns)])
                        .update(fromContentsOf: UnsafeBufferPointer(rebasing: from))
                }
            }
        }
    }
}
