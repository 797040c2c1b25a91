import Adapters
import Files
import Tensor

/// How adapters become numbers that a method learns, and back, a module at a time. A space fits itself to training
/// adapters, and saves and loads itself in a generator file; nobody else knows which one it is.
public protocol Space: Sendable {
    /// The value of the setting "space".
    static var name: String { get }

    /// Fitted to training adapters.
    init(
        fitting adapters: any AdapterModules, _ settings: Settings, random: Random
    ) throws(LoragenError)
    /// From the file of a generator of adapters of `layout`. Throws what fitting would not have made.
    init(reading file: TensorReader, _ settings: Settings, layout: Layout) throws(LoragenError)
    /// What a generator file keeps for `init(reading:)`.
    var state: [(name: String, tensor: Tensor<Float>)] { get }

    /// What it keeps beside the tensors, in a generator file's metadata under "space".
    var notes: JSONObject? { get throws(LoragenError) }

    /// Of the adapters that `decode` gives.
    var layout: Layout { get }
    /// The tensors that lie back to back in a vector, and whether each is a `lora_A`.
    var tensors: [(shape: [Int], isA: Bool)] { get }
    /// Where a module's numbers are in a vector.
    func range(of module: Int) -> Range<Int>
    /// The numbers of a module that is an adapter of its own.
    func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float]
    /// The module as an adapter of its own.
    func decode(_ values: Tensor<Float>, module: Int) throws(LoragenError) -> Adapter

    /// Whether the numbers are the values as they are stored, so that they can be read without their module.
    var isStored: Bool { get }
    /// Bytes that decoding the largest module takes beside six copies of its values.
    var decodingMemory: Int { get }
    /// Throws `.unsupported` for statistics that do not suit the space.
    func check(_ normaliser: Normaliser.Kind) throws(LoragenError)
}

extension Space {
    public var notes: JSONObject? { nil }
    public var isStored: Bool { false }
    public var decodingMemory: Int { 0 }
    public func check(_ normaliser: Normaliser.Kind) {}

    /// Numbers in one vector.
    public var count: Int { layout.modules.isEmpty ? 0 : range(of: layout.modules.count - 1).upperBound }
}

/// The spaces that the setting "space" can name.
public let spaces = Registry<any Space.Type>("space", [ProductSpace.self, FactorSpace.self, SpectrumSpace.self]) {
    $0.name
}
