import Conditions
import Files
import Tensor

/// Vectors of texts or pictures that an encoder has made before, in a file beside the corpus: one for each encoder, by the
/// SHA-256 of what was encoded. Without the file, or with a damaged one, they are made again.
struct FeatureCache {
    static let format = "loragen.features"

    private let path: String?
    private let identity: String
    private let width: Int
    private var vectors: [String: [Float]] = [:]

    /// "corpus.features-0123456789ab.safetensors" in a folder, "digits.features-0123456789ab.safetensors" for
    /// "digits.corpus.safetensors".
    init(beside corpus: String, _ encoder: PartEncoder) {
        identity = encoder.identity
        width = encoder.encoder?.width ?? 0
        var stem = corpus
        for suffix in [".safetensors", ".corpus"] where stem.hasSuffix(suffix) { stem.removeLast(suffix.count) }
        if stem == corpus { stem = joinPath(corpus, "corpus") }
        let path = "\(stem).features-\(identity.prefix(12)).safetensors"
        self.path = path
        read(path)
    }

    /// In memory alone.
    init() { (path, identity, width) = (nil, "", 0) }

    subscript(key: String) -> [Float]? {
        get { vectors[key] }
        set { vectors[key] = newValue }
    }

    static func key(_ value: ConditionValue) throws(LoragenError) -> String {
        var digest = SHA256()
        switch value {
        case .bytes(let bytes): bytes.withUnsafeBytes { digest.update($0) }
        case .file(let path):
            let file = try MappedFile(path: path)
            digest.update(file.bytes)
            withExtendedLifetime(file) {}
        case .numbers(let numbers): numbers.withUnsafeBytes { digest.update($0) }
        }
        return digest.finish()
    }

    private mutating func read(_ path: String) {
        guard let file = try? SafetensorsFile(path: path), file.metadata["format"] == Self.format,
            file.metadata["encoder"] == identity, let keys = file.tensor("keys"), keys.type == .u8,
            let count = keys.shape.first, keys.shape == [count, 64], file.tensor("vectors")?.shape == [count, width],
            let numbers = try? file.floats("vectors")
        else { return }
        let bytes = file.bytes(of: keys)
        for i in 0..<count {
            let vector = Array(numbers[(i * width)..<((i + 1) * width)])
            guard vector.allSatisfy(\.isFinite) else { continue }
            vectors[String(decoding: bytes[(64 * i)..<(64 * i + 64)], as: UTF8.self)] = vector
        }
    }

    /// A corpus may lie where nothing can be written: then there is no cache.
    func write() {
        guard let path else { return }
        let keys = vectors.keys.sorted()
        var writer = SafetensorsWriter(metadata: ["format": Self.format, "encoder": identity])
        do throws(LoragenError) {
            try writer.add("keys", shape: [keys.count, 64], elements: keys.flatMap { Array($0.utf8) })
            try writer.add("vectors", shape: [keys.count, width], elements: keys.flatMap { vectors[$0] ?? [] })
            try writer.write(to: path)
        } catch { Log.warning("\(path): the vectors of the corpus' conditions are not kept: \(error.message)") }
    }
}
