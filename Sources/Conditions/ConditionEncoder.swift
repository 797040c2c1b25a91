import Files
import Tensor

/// What turns texts, or pictures, into vectors.
public protocol ConditionEncoder: Sendable {
    /// Numbers of a vector.
    var width: Int { get }
    /// Where it was opened, for messages.
    var folder: String { get }
    /// What it is; its member "identity" tells encoders apart.
    func description() throws(LoragenError) -> JSON
    /// A vector for each value, which is of its kind.
    func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]]
    /// Numbers of a token's state, and layers beside layer 0, that of the embeddings.
    var stateWidth: Int { get }
    var layers: Int { get }
    /// The states of each value's first tokens, `[tokens.count, stateWidth]`, zeros where there are fewer.
    func states(_ values: [ConditionValue], _ tokens: TokenFeatures) throws(LoragenError) -> [[Float]]
}

extension ConditionEncoder {
    public var stateWidth: Int { 0 }
    public var layers: Int { 0 }

    public func states(_ values: [ConditionValue], _ tokens: TokenFeatures) throws(LoragenError) -> [[Float]] {
        throw LoragenError(.unsupported, "\(folder): this encoder has no tokens; read its vectors (reader=pooled)")
    }
}

/// Texts or pictures as the states of their tokens, which a reader makes features of; else they are one vector.
public struct TokenFeatures: Equatable, Sendable {
    /// The most tokens; those behind are left out.
    public var count: Int
    /// The encoder's layer whose states they are, 0 that of its embeddings.
    public var layer: Int

    public init(count: Int, layer: Int) { (self.count, self.layer) = (count, layer) }

    /// Rows of a value's states as a block of one size.
    func block(_ states: Tensor<Float>) -> [Float] {
        let (tokens, width) = (states.shape[0], states.shape[1])
        let kept = states.slice(axis: 0, 0..<min(tokens, count)).values
        return kept + [Float](repeating: 0, count: max(0, count - tokens) * width)
    }
}

/// The encoders that a host has given, by the names of the kinds that they are for.
public struct ConditionEncoders: Sendable {
    private var all: [String: any ConditionEncoder] = [:]

    public init() {}

    public subscript(kind: String) -> (any ConditionEncoder)? {
        get { all[kind] }
        set { all[kind] = newValue }
    }
}

/// The encoder of a part: what the generator's file says of it, and itself where the host has given it.
public struct PartEncoder: Sendable {
    /// As `ConditionEncoder.description`, without its folder.
    public let description: JSON
    public private(set) var encoder: (any ConditionEncoder)?

    public var identity: String { description["identity"]?.string ?? "" }

    init(_ encoder: any ConditionEncoder) throws(LoragenError) {
        var object = JSONObject()
        for member in try encoder.description().object?.members ?? [] where member.name != "folder" {
            object[member.name] = member.value
        }
        description = .object(object)
        self.encoder = encoder
    }

    /// As a file describes it; nil where there is no identity.
    init?(_ description: JSON) {
        guard let identity = description["identity"]?.string, !identity.isEmpty else { return nil }
        self.description = description
    }

    /// Throws `.mismatch` for another encoder than the one that the generator was trained with.
    mutating func take(_ given: any ConditionEncoder, for part: String) throws(LoragenError) {
        let found = try given.description()["identity"]?.string ?? ""
        guard found == identity else {
            throw LoragenError(
                .mismatch,
                "\(given.folder): the generator was trained with another encoder for \"\(part)\" (\(phrase)); this one's "
                    + "identity is \(found.prefix(16))")
        }
        encoder = given
    }

    /// "bert, mean, 384 numbers, identity 12ab...".
    var phrase: String {
        let names = ["family", "architecture", "pooling"].compactMap { description[$0]?.string }
        let width = description["width"]?.integer.map { ["\($0) numbers"] } ?? []
        return (names + width + ["identity \(identity.prefix(16))"]).joined(separator: ", ")
    }
}
