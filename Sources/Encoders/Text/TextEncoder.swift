import Files
import Synchronization
import Tensor

/// An encoder of texts from a folder of Hugging Face's: its tokenizer, its network, and how a text's tokens become one
/// vector. May be used from many threads at once; a text gives the same bytes on any number of threads.
public final class TextEncoder: Sendable {
    /// A text's tokens, their states after a layer, and the text's vector.
    public struct Features: Sendable {
        public let ids: [Int32]
        /// [ids.count, width]
        public let states: Tensor<Float>
        /// As the folder says: pooled, projected, scaled to length 1. From the last layer, whichever layer was asked for.
        public let pooled: [Float]
    }

    public let folder: String
    /// The family: "bert", "xlm-roberta", "clip", "t5", "static" …
    public let family: String
    public let tokenizer: Tokenizer
    public let pooling: Pooling
    /// Whether the folder says which pooling; if not it was chosen here.
    public let poolingIsStated: Bool
    public let isNormalized: Bool
    /// The most tokens of a text, those of the tokenizer's own included; longer texts are cut.
    public let limit: Int?
    let tower: any TextTower
    let dense: [DenseLayer]
    let lowercases: Bool
    let prompt: String
    let weights: EncoderWeights
    let dropsUnknown: Int32?
    /// The most characters of a text, where there is such a limit.
    let longestText: Int?
    private let digest = Mutex<String?>(nil)

    /// Numbers of a text's vector.
    public var width: Int { dense.last.map { $0.linear.weight.shape[0] } ?? tower.width }
    /// Numbers of a token's state.
    public var stateWidth: Int { tower.width }
    /// Layers beside that of the embeddings.
    public var layers: Int { tower.layers }

    init(_ parts: EncoderFolder) throws(LoragenError) {
        (folder, family, tokenizer, tower) = (parts.files.folder, parts.family, parts.tokenizer, parts.tower)
        (pooling, poolingIsStated, isNormalized) = (parts.pooling, parts.poolingIsStated, parts.isNormalized)
        (limit, dense, lowercases, prompt) = (parts.limit, parts.dense, parts.lowercases, parts.prompt)
        (weights, dropsUnknown, longestText) = (parts.weights, parts.dropsUnknown, parts.longestText)
        if tokenizer.idCount > tower.vocabulary {
            throw LoragenError(
                .mismatch,
                "\(folder): the tokenizer gives ids up to \(tokenizer.idCount - 1), the weights have \(tower.vocabulary) "
                    + "tokens; tokenizer and weights are of different models")
        }
    }

    /// The ids that the network gets for a text.
    public func tokens(_ text: String) throws(LoragenError) -> [Int32] {
        var text = prompt + text
        if lowercases { text = String(decoding: try Normalizer.lowercase(UTF8Text(text.utf8)), as: UTF8.self) }
        if family == "static" {
            // Model2Vec cuts characters first, then tokens, and drops unknown ones last.
            if let longestText { text = String(String.UnicodeScalarView(text.unicodeScalars.prefix(longestText))) }
            return try tokenizer.encode(text, limit: limit, special: false).filter { $0 != dropsUnknown }
        }
        return try tokenizer.encode(text, limit: limit)
    }

    /// The vectors of texts: [texts.count, width].
    public func vectors(_ texts: [String]) throws(LoragenError) -> Tensor<Float> {
        try Memory.require(texts.count * width, of: Float.self, for: "\(counted(texts.count, "vector"))")
        var values: [Float] = []
        values.reserveCapacity(texts.count * width)
        for part in try encode(texts, layer: nil) { values += part.pooled }
        return Tensor(values, shape: [texts.count, width])
    }

    /// Features of texts; states after `layer`: 0 is what the embeddings give, `layers` or `nil` the last.
    public func encode(_ texts: [String], layer: Int? = nil) throws(LoragenError) -> [Features] {
        let layer = layer ?? layers
        guard (0...layers).contains(layer) else {
            throw LoragenError(.invalidArgument, "layer \(layer) of an encoder that has the layers 0 to \(layers)")
        }
        var all: [[Int32]] = []
        for text in texts { all.append(try tokens(text)) }
        var result: [Features] = []
        result.reserveCapacity(texts.count)
        var start = 0
        // At most this many tokens at once: memory stays bounded, and the chunks do not depend on the machine.
        let most = 4096
        while start < all.count {
            var (end, count) = (start, 0)
            while end < all.count, end == start || count + all[end].count <= most {
                count += all[end].count
                end += 1
            }
            try encode(all[start..<end], tokens: count, layer: layer, into: &result)
            start = end
        }
        return result
    }

    private func encode(
        _ texts: ArraySlice<[Int32]>, tokens: Int, layer: Int, into result: inout [Features]
    ) throws(LoragenError) {
        try Memory.require(
            Double(tokens) * Double(tower.bytesPerToken + 8 * tower.width), for: "encoding \(tokens) tokens",
            advice: "; give fewer or shorter texts")
        let (ids, lengths) = (texts.flatMap { $0 }, texts.map { $0.count })
        let (states, last) = try tower.states(ids, lengths: lengths, layer: layer)
        guard last.isFinite, states.isFinite else {
            throw LoragenError(
                .nonFinite, "\(folder): the encoder gave a number that is not finite; its weights are damaged")
        }
        var place = 0
        for text in texts {
            let range = place..<place + text.count
            let end = (tower as? CLIPTextTower)?.end(of: text[...]) ?? 0
            let pooled = last.withUnsafeBufferPointer { all in
                pooling(
                    UnsafeBufferPointer(rebasing: all[range.lowerBound * tower.width..<range.upperBound * tower.width]),
                    width: tower.width, end: end)
            }
            result.append(
                Features(ids: text, states: states.slice(axis: 0, range), pooled: finish(pooled)))
            place = range.upperBound
        }
    }

    /// Dense layers and the scale.
    private func finish(_ pooled: [Float]) -> [Float] {
        var vector = pooled
        if !dense.isEmpty {
            var row = Tensor(vector, shape: [1, vector.count])
            for layer in dense { row = layer(row) }
            vector = row.values
        }
        guard isNormalized else { return vector }
        let length = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        let divisor = max(length, 1e-12)
        return vector.map { Float(Double($0) / divisor) }
    }

    // MARK: - Who it is

    /// SHA-256 over weights, tokenizer, architecture and pooling: two folders with it give the same vectors.
    public func identity() throws(LoragenError) -> String {
        let text = try architecture.text()
        return digest.withLock { known in
            if let known { return known }
            var hasher = SHA256()
            hasher.update(text)
            for file in weights.files {
                for tensor in file.tensors.sorted(by: { precedes($0.name, $1.name) }) {
                    hasher.update("\(tensor.name) \(tensor.type.rawValue) \(tensor.shape)\n")
                    hasher.update(SHA256.ofParts(file.bytes(of: tensor)))
                }
            }
            hasher.update(tokenizer.digest)
            let digest = hasher.finish()
            known = digest
            return digest
        }
    }

    private var architecture: JSON {
        var object: JSONObject = [
            "family": .string(family), "layers": JSON(layers), "state_width": JSON(stateWidth), "width": JSON(width),
            "pooling": .string(pooling.rawValue), "normalized": .bool(isNormalized),
            "max_tokens": limit.map { JSON($0) } ?? .null, "lowercase": .bool(lowercases), "prompt": .string(prompt),
        ]
        if !dense.isEmpty { object["dense"] = .array(dense.map { JSON($0.linear.weight.shape) }) }
        return .object(object)
    }

    /// For people and programs.
    public func description() throws(LoragenError) -> JSON {
        var object = architecture.object ?? JSONObject()
        object["pooling_stated"] = .bool(poolingIsStated)
        object["tokenizer"] = .string(tokenizer.kind)
        object["vocabulary"] = JSON(tower.vocabulary)
        object["identity"] = .string(try identity())
        object["folder"] = .string(folder)
        return .object(object)
    }
}
