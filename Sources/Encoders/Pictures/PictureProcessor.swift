import Files
import Tensor

/// What turns a picture into a tower's input, as the processors of `transformers` do with Pillow: resize, crop from the
/// middle, scale, normalise. Read from `preprocessor_config.json`, or from `processor_config.json`'s `image_processor`.
public struct PictureProcessor: Sendable, Equatable {
    enum Size: Sendable, Equatable {
        case exact(height: Int, width: Int)
        /// The shorter side; the other keeps the proportion, rounded down.
        case shortestEdge(Int)
    }

    /// The class that it follows: ViTImageProcessor, CLIPImageProcessor, BitImageProcessor or SiglipImageProcessor.
    public let name: String
    var size: Size?
    var resampling: Resampling
    /// Height and width.
    var crop: [Int]?
    var rescale: Double?
    var mean: [Double]?
    var deviation: [Double]?

    /// Everything that changes results, for the identity.
    var summary: String {
        let resize: String
        switch size {
        case nil: resize = "as it is"
        case .exact(let height, let width): resize = "\(height) x \(width) \(resampling.rawValue)"
        case .shortestEdge(let edge): resize = "\(edge) \(resampling.rawValue)"
        }
        return "\(resize), \(crop ?? []), \(rescale ?? 1), \(mean ?? []), \(deviation ?? [])"
    }

    /// Sides and pixels of what it makes, at most.
    static let sideLimit = 8192
    static let pixelLimit = 1 << 24

    /// Height and width of what becomes of a picture. Throws `.unsupported` when that is too large.
    func shape(of picture: Picture) throws(LoragenError) -> (height: Int, width: Int) {
        let full = fullSize(of: picture)
        guard max(full.height, full.width) <= Int(Int32.max) else {
            throw LoragenError(
                .unsupported,
                "a picture of \(picture.width) x \(picture.height) would be resized to \(full.width) x \(full.height); "
                    + "make it less narrow")
        }
        let shape = crop.map { ($0[0], $0[1]) } ?? full
        guard shape.0 <= Self.pixelLimit / max(1, shape.1) else {
            throw LoragenError(
                .unsupported,
                "a picture of \(picture.width) x \(picture.height) becomes one of \(shape.1) x \(shape.0), and no part is cut "
                    + "out of it; at most \(Self.pixelLimit) pixels are taken")
        }
        return shape
    }

    /// After the resizing, before the crop.
    private func fullSize(of picture: Picture) -> (height: Int, width: Int) {
        switch size {
        case nil: return (picture.height, picture.width)
        case .exact(let height, let width): return (height, width)
        case .shortestEdge(let edge):
            let (short, long) = (min(picture.width, picture.height), max(picture.width, picture.height))
            let longer = Int(saturating: Double(edge) * Double(long) / Double(short))
            return picture.width <= picture.height ? (longer, edge) : (edge, longer)
        }
    }

    /// The picture resized and cropped, 8 bits still. What the crop reaches beyond it is black.
    public func framed(_ picture: Picture) throws(LoragenError) -> Picture {
        let (height, width) = try shape(of: picture)
        let full = fullSize(of: picture)
        // Rounded down, also where the crop is the larger.
        let (top, left) = ((full.height - height) >> 1, (full.width - width) >> 1)
        let rows = max(0, top)..<min(full.height, top + height)
        let columns = max(0, left)..<min(full.width, left + width)
        let part = try picture.resized(
            width: full.width, height: full.height, columns: columns, rows: rows, by: resampling)
        if part.width == width, part.height == height { return part }
        var pixels = [UInt8](repeating: 0, count: 3 * width * height)
        for y in 0..<part.height {
            let start = 3 * ((y + rows.lowerBound - top) * width + columns.lowerBound - left)
            pixels.replaceSubrange(
                start..<start + 3 * part.width, with: part.pixels[3 * y * part.width..<3 * (y + 1) * part.width])
        }
        return Picture(width: width, height: height, pixels: pixels)
    }

    /// What each of 256 grey levels becomes in each channel: in single precision, step by step as NumPy does it.
    private var levels: [[Float]] {
        (0..<3).map { channel in
            (0..<256).map { level in
                let scaled = rescale.map { Float(Double(level) * $0) } ?? Float(level)
                guard let mean, let deviation else { return scaled }
                return (scaled - Float(mean[channel])) / Float(deviation[channel])
            }
        }
    }

    /// A tower's input [3, height, width].
    public func callAsFunction(_ picture: Picture) throws(LoragenError) -> Tensor<Float> {
        let framed = try framed(picture)
        let (height, width) = (framed.height, framed.width)
        try Memory.require(3 * height * width, of: Float.self, for: "a picture of \(width) x \(height) numbers")
        let levels = levels
        var values = [Float](repeating: 0, count: 3 * height * width)
        for channel in 0..<3 {
            let table = levels[channel]
            for i in 0..<height * width {
                values[channel * height * width + i] = table[Int(framed.pixels[3 * i + channel])]
            }
        }
        return Tensor(values, shape: [3, height, width])
    }
}
