import Adapters
import Files
import Tensor

/// How an adapter is written.
public struct WriteOptions: Sendable {
    /// What stands in the file for ranks and scales.
    public enum Form: Sendable {
        /// One rank for all modules (smaller ones are padded with zeros), alpha = rank, and the scale inside lora_B: no
        /// host needs to know more of scaling than that.
        case baked
        /// Rank, alpha and scaling of each module as they are.
        case kept
        /// `baked`, and only what every language model's host loads: its linear layers, each kind in every layer, with zeros
        /// where the adapter has none, and the next rank of 8, 16, 32, 64 and so on. Anything else is refused.
        case portable
    }

    /// F32, F16 or BF16.
    public var type: ElementType
    public var form: Form
    /// How many layers the base model has, for `portable`; `nil`: as many as the adapter reaches.
    public var layerCount: Int?
    /// The diffusion model, for `AdapterFormat.kohya`; `nil`: what the modules say.
    public var model: DiffusionModel?
    /// GGUF alone: Q8_0, which rounds to 8 bits; `type` is then not looked at.
    public var quantized = false
    /// GGUF alone: the base model, as `BaseModel.init` takes it.
    public var base: String?
    /// `.onnx_adapter` alone.
    public var naming = ONNXNaming.olive
    /// What must not be written over.
    public var sources = Sources()

    public init(
        type: ElementType = .f32, form: Form = .baked, layerCount: Int? = nil, model: DiffusionModel? = nil
    ) {
        self.type = type
        self.form = form
        self.layerCount = layerCount
        self.model = model
    }

    /// Throws `.invalidArgument` for a type that no host reads.
    func checkType() throws(LoragenError) {
        if [.f32, .f16, .bf16].contains(type) { return }
        throw LoragenError(
            .invalidArgument, "an adapter cannot be written as \(type.rawValue); expected F32, F16 or BF16")
    }
}

/// An adapter as it goes into a file: which layout the file states, and the factor on each tensor's values.
struct AdapterImage {
    /// Its tensors are those of `layout`, padded if need be.
    let adapter: Adapter
    let layout: Layout
    let type: ElementType

    /// Throws `.invalidArgument` for a type that no host reads and `.nonFinite` for values that no host should.
    init(_ source: Adapter, _ options: WriteOptions) throws(LoragenError) {
        try options.checkType()
        type = options.type
        try source.checkFinite(source: "the adapter")
        switch options.form {
        case .kept:
            layout = source.layout
            adapter = source
            scales = [Double](repeating: 1, count: layout.modules.count)
        case .baked:
            layout = try source.layout.withUniformRank()
            adapter = try source.padded(to: layout)
            scales = source.layout.modules.map(\.scale)
        case .portable:
            let whole = try source.portable(layerCount: options.layerCount)
            let needed = whole.layout.modules.lazy.map(\.rank).max() ?? 1
            guard let rank = PortableForm.ranks.first(where: { $0 >= needed }) else {
                throw LoragenError(
                    .unsupported,
                    "a portable adapter has a rank of at most \(PortableForm.ranks.last ?? 0), which vLLM allows; this one "
                        + "has \(needed). Cut it to a smaller rank first")
            }
            layout = try whole.layout.withRank(rank)
            adapter = try whole.padded(to: layout)
            scales = whole.layout.modules.map(\.scale)
        }
    }

    private let scales: [Double]

    /// What a tensor's values are multiplied with: the scale for B, 1 for the others.
    func factor(of index: Int) -> Double {
        let place = layout.tensors[index]
        return place.role == .b ? scales[place.module] : 1
    }

    /// A safetensors writer that holds all tensors. The image must live until it has written.
    func writer(metadata: [String: String]) throws(LoragenError) -> SafetensorsWriter {
        var writer = SafetensorsWriter(metadata: metadata)
        for (i, tensor) in adapter.tensors.enumerated() {
            try writer.add(tensor.name, shape: tensor.shape, floats: tensor.values, as: type, scale: factor(of: i))
        }
        return writer
    }
}

extension Layout {
    /// The same modules with the smallest rank that is enough for all and that the groups of each divide.
    func withUniformRank() throws(LoragenError) -> Layout {
        let needed = modules.lazy.map(\.rank).max() ?? 1
        let groups = Set(modules.map(\.groups))
        let rank = (needed...max(needed, ModuleShape.rankLimit)).first { rank in groups.allSatisfy { rank % $0 == 0 } }
        guard let rank else {
            throw LoragenError(
                .unsupported,
                "no rank up to \(ModuleShape.rankLimit) is divisible by the groups of every convolution; write the adapter "
                    + "with its own ranks")
        }
        return try withRank(rank)
    }
}

extension Adapter {
    /// The same tensors in a layout of larger ranks, the added rows of A and columns of B zero. Alpha is not looked at.
    func padded(to layout: Layout) throws(LoragenError) -> Adapter {
        if layout.tensors == self.layout.tensors { return self }
        return try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                guard self.layout.modules[i].groups == module.groups, self.layout.modules[i].rank <= module.rank else {
                    throw LoragenError(
                        .mismatch,
                        "module '\(module.name)': rank \(self.layout.modules[i].rank) cannot be padded to "
                            + "\(module.rank)")
                }
                for group in 0..<module.groups {
                    let source = factors(of: i, group: group)
                    let a = layout.range(.a, of: i, group: group, in: target)
                    let b = layout.range(.b, of: i, group: group, in: target)
                    _ = a.update(fromContentsOf: source.valuesA)
                    let from = source.module.groupRank
                    for row in 0..<module.groupOutputs {
                        for k in 0..<from { b[row * module.groupRank + k] = source.valuesB[row * from + k] }
                    }
                }
                copyMagnitude(of: i, to: layout, in: target)
            }
        }
    }
}
