import Files
import Tensor

extension PictureProcessor {
    /// What the classes of `transformers` do where the file does not say.
    private struct Defaults {
        var resampling: Resampling
        var size: Size
        var squaresNumbers: Bool
        var crop: [Int]?
        var mean: [Double]
        var deviation: [Double]
    }

    private static let clip = Defaults(
        resampling: .bicubic, size: .shortestEdge(224), squaresNumbers: false, crop: [224, 224],
        mean: [0.48145466, 0.4578275, 0.40821073], deviation: [0.26862954, 0.26130258, 0.27577711])

    private static let known: [String: Defaults] = [
        "ViTImageProcessor": Defaults(
            resampling: .bilinear, size: .exact(height: 224, width: 224), squaresNumbers: true, crop: nil,
            mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5]),
        "CLIPImageProcessor": clip,
        "BitImageProcessor": clip,
        "SiglipImageProcessor": Defaults(
            resampling: .bicubic, size: .exact(height: 224, width: 224), squaresNumbers: false, crop: nil,
            mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5]),
    ]

    /// Reads the folder's `preprocessor_config.json`, or `processor_config.json`. Throws `.io` when there is neither,
    /// `.unsupported` for what is not done here, by name.
    public init(folder: String) throws(LoragenError) {
        let path = joinPath(folder, "preprocessor_config.json")
        if try PathKind.of(path) == .file {
            self = try PictureProcessor(JSON.read(path: path), source: path)
            return
        }
        let other = joinPath(folder, "processor_config.json")
        guard try PathKind.of(other) == .file else {
            throw LoragenError(
                .io,
                "\(path): it is missing; it says how pictures are resized and normalised. Download it together with the "
                    + "model's other files")
        }
        let json = try JSON.read(path: other)
        guard let part = json["image_processor"] else {
            throw LoragenError(.format, "\(other): it has no 'image_processor'")
        }
        self = try PictureProcessor(part, source: "\(other): image_processor")
    }

    init(_ json: JSON, source: String) throws(LoragenError) {
        guard let object = json.object else {
            throw LoragenError(.format, "\(source): \(json.kind); expected an object")
        }
        let reader = ProcessorReader(object: object, source: source)
        let name = try reader.className()
        guard let defaults = Self.known[name] else {
            throw LoragenError(
                .unsupported,
                "\(source): image_processor_type is '\(shortened(name))'; known are "
                    + Self.known.keys.sorted().joined(separator: ", "))
        }
        self.name = name
        try reader.refuseOthers()
        resampling = defaults.resampling
        if let filter = try reader.integer("resample", in: 0...5) {
            guard let known = Resampling(rawValue: filter) else {
                throw LoragenError(.format, "\(source): resample is \(filter); expected 0 to 5")
            }
            resampling = known
        }
        size = nil
        if try reader.flag("do_resize") ?? true {
            size = try reader.size("size", squares: defaults.squaresNumbers) ?? defaults.size
        }
        crop = nil
        if try reader.flag("do_center_crop") ?? (defaults.crop != nil) {
            switch try reader.size("crop_size", squares: true) {
            case .exact(let height, let width): crop = [height, width]
            case .shortestEdge(let edge): crop = [edge, edge]
            case nil: crop = defaults.crop ?? [224, 224]
            }
        }
        rescale = nil
        if try reader.flag("do_rescale") ?? true { rescale = try reader.number("rescale_factor") ?? 1.0 / 255 }
        (mean, deviation) = (nil, nil)
        if try reader.flag("do_normalize") ?? true {
            mean = try reader.channels("image_mean") ?? defaults.mean
            deviation = try reader.channels("image_std") ?? defaults.deviation
            if let zero = deviation?.first(where: { Float($0) == 0 }) {
                throw LoragenError(.format, "\(source): image_std has \(zero), which nothing can be divided by")
            }
        }
    }
}

/// Takes members of a processor's file, and says what is wrong with them.
private struct ProcessorReader {
    let object: JSONObject
    let source: String

    /// The class, without the endings of its variants; older files have a feature extractor's.
    func className() throws(LoragenError) -> String {
        let given = object["image_processor_type"]?.string ?? object["feature_extractor_type"]?.string
        guard var name = given else {
            throw LoragenError(.format, "\(source): image_processor_type is missing; is it a processor of pictures?")
        }
        for ending in ["Fast", "Pil"] where name.hasSuffix(ending) { name.removeLast(ending.count) }
        if name.hasSuffix("FeatureExtractor") {
            name.removeLast("FeatureExtractor".count)
            name += "ImageProcessor"
        }
        return name
    }

    /// Steps that the classes share but that change pictures in ways that are not done here.
    func refuseOthers() throws(LoragenError) {
        for name in [
            "do_pad", "do_thumbnail", "do_align_long_axis", "do_reduce_labels", "do_grayscale", "do_flip_channel_order",
        ]
        where object[name]?.bool == true {
            throw LoragenError(
                .unsupported,
                "\(source): \(name) is true; set it to false and prepare the pictures before, or encode elsewhere")
        }
        if let pad = object["pad_size"], !pad.isNull {
            throw LoragenError(
                .unsupported, "\(source): pad_size is set; take it out and pad the pictures before, or encode elsewhere"
            )
        }
    }

    func flag(_ name: String) throws(LoragenError) -> Bool? {
        guard let value = object[name], !value.isNull else { return nil }
        guard let flag = value.bool else {
            throw LoragenError(.format, "\(source): \(name) is \(value.kind); expected true or false")
        }
        return flag
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws(LoragenError) -> Int? {
        guard let value = object[name], !value.isNull else { return nil }
        return try integer(value, name, in: range)
    }

    private func integer(_ value: JSON, _ name: String, in range: ClosedRange<Int>) throws(LoragenError) -> Int {
        guard let number = value.integer, range.contains(number) else {
            throw LoragenError(
                .format, "\(source): \(name) is \(value.kind); expected \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func number(_ name: String) throws(LoragenError) -> Double? {
        guard let value = object[name], !value.isNull else { return nil }
        guard let number = value.double, number.isFinite, abs(number) <= 1e6 else {
            throw LoragenError(.format, "\(source): \(name) is \(value.kind); expected a number")
        }
        return number
    }

    /// A number for each channel, or one for all.
    func channels(_ name: String) throws(LoragenError) -> [Double]? {
        guard let value = object[name], !value.isNull else { return nil }
        let numbers = value.double.map { [$0, $0, $0] } ?? value.array?.compactMap { $0.double }
        guard let numbers, numbers.count == 3, numbers.allSatisfy({ abs($0) <= 1e6 }) else {
            throw LoragenError(.format, "\(source): \(name) is \(value.kind); expected three numbers")
        }
        return numbers
    }

    /// A size as an object of `height` and `width` or `shortest_edge`, or as a number in older files.
    func size(_ name: String, squares: Bool) throws(LoragenError) -> PictureProcessor.Size? {
        guard let value = object[name], !value.isNull else { return nil }
        let range = 1...PictureProcessor.sideLimit
        guard let members = value.object else {
            let edge = try integer(value, name, in: range)
            return squares ? .exact(height: edge, width: edge) : .shortestEdge(edge)
        }
        let given = members.members.filter { !$0.value.isNull }
        func side(_ member: String) throws(LoragenError) -> Int {
            try integer(members[member] ?? .null, "\(name).\(member)", in: range)
        }
        switch Set(given.map { $0.name }) {
        case ["height", "width"]: return .exact(height: try side("height"), width: try side("width"))
        case ["shortest_edge"]: return .shortestEdge(try side("shortest_edge"))
        default:
            throw LoragenError(
                .unsupported,
                "\(source): \(name) has \(listed(given.map { "'\(shortened($0.name))'" })); expected height and width, or "
                    + "shortest_edge, and nothing else")
        }
    }
}
