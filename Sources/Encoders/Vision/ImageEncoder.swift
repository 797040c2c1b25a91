import Files
import Synchronization
import Tensor

/// An encoder of pictures from a Hugging Face folder: ViT, DINOv2, CLIP's or SigLIP's vision tower. May be used from many
/// threads at once; the same picture gives the same numbers, whatever their count and whatever it is encoded with.
public final class ImageEncoder: Sendable {
    /// What becomes of one picture.
    public struct Output: Sendable {
        /// [tokens, features]: a class token, if the architecture has one, and the patches row by row.
        public let states: Tensor<Float>
        public let pooled: Tensor<Float>
    }

    public let folder: String
    public let processor: PictureProcessor
    let tower: VisionTower
    private let weights: VisionWeights
    private let digest = Mutex<String?>(nil)

    /// A digest of weights, architecture, pooling and preprocessing: who has the same gets the same numbers. The first call
    /// reads all weights.
    public var identity: String {
        digest.withLock { digest in
            if let digest { return digest }
            var hash = SHA256()
            hash.update(
                "loragen picture encoder 1\n\(tower.configuration.summary)\n\(tower.pooling)\n\(processor.summary)\n")
            hash.update(weights.digest)
            let text = hash.finish()
            digest = text
            return text
        }
    }

    /// "vit", "dinov2", "clip" or "siglip".
    public var architecture: String { tower.configuration.family.rawValue }
    /// "pooler", "cls", "projection", "attention" or "mean".
    public var pooling: String { tower.pooling }
    public var features: Int { tower.configuration.features }
    public var pooledFeatures: Int { tower.pooledFeatures }
    public var layers: Int { tower.configuration.layers }

    /// Whether a folder's `config.json` is that of a model with a vision tower that this reads.
    public static func reads(folder: String) -> Bool {
        let path = joinPath(folder, "config.json")
        guard let json = try? JSON.read(path: path) else { return false }
        return (try? VisionConfiguration(json, source: path)) != nil
    }

    /// Opens `config.json`, `model.safetensors` (f32, f16 or bf16) and `preprocessor_config.json` of a folder. Weights in f32
    /// stay in the mapped file. Throws with the file and the tensor or the member at fault.
    public init(folder: String) throws(LoragenError) {
        let path = joinPath(folder, "config.json")
        let configuration = try VisionConfiguration(JSON.read(path: path), source: path)
        let processor = try PictureProcessor(folder: folder)
        let weights = try VisionWeights(folder: folder)
        tower = try VisionTower(configuration, weights)
        (self.folder, self.processor, self.weights) = (folder, processor, weights)
    }

    /// What it is, for people and for a generator's file.
    public func description() -> JSON {
        let c = tower.configuration
        return .object([
            "architecture": .string(architecture), "pooling": .string(pooling), "width": JSON(pooledFeatures),
            "state_width": JSON(features), "layers": JSON(layers), "heads": JSON(c.heads),
            "image_size": JSON(c.imageSize),
            "patch_size": JSON(c.patch), "processor": .string(processor.name), "identity": .string(identity),
        ])
    }

    /// How many states a picture has.
    public func tokens(of picture: Picture) throws(LoragenError) -> Int {
        let (height, width) = try shape(of: picture)
        let c = tower.configuration
        return (height / c.patch) * (width / c.patch) + (c.hasClassToken ? 1 : 0)
    }

    private func shape(of picture: Picture) throws(LoragenError) -> (height: Int, width: Int) {
        let (height, width) = try processor.shape(of: picture)
        try tower.check(height: height, width: width, source: folder)
        return (height, width)
    }

    /// States after `layer` (0 is what goes into the first block; nil the last with the architecture's own norm) and the
    /// pooled vector of each picture.
    public func encode(_ pictures: [Picture], layer: Int? = nil) throws(LoragenError) -> [Output] {
        if let layer, !(0...layers).contains(layer) {
            throw LoragenError(.invalidArgument, "layer \(layer) of an encoder with \(layers); expected 0 to \(layers)")
        }
        var results: [Output] = []
        for picture in pictures {
            let (height, width) = try shape(of: picture)
            try Memory.require(tower.memory(height: height, width: width), for: "the encoding of a picture")
            let (states, pooled) = tower(try processor(picture), layer: layer)
            guard states.isFinite, pooled.isFinite else {
                throw LoragenError(.nonFinite, "\(folder): a picture's states are not finite; are the weights damaged?")
            }
            results.append(Output(states: states.reshaped(Array(states.shape.dropFirst())), pooled: pooled))
        }
        return results
    }
}
