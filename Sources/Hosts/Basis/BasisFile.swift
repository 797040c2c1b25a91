import Adapters
import Files
import Formats
import Tensor

/// Names of the tensors that belong to a module, in basis files and compact adapters.
enum BasisName {
    static func left(_ module: String) -> String { module + ".left" }
    static func right(_ module: String) -> String { module + ".right" }
    static func sigma(_ module: String) -> String { module + ".sigma" }
    static func pivots(_ module: String) -> String { module + ".pivots" }
    static func delta(_ module: String) -> String { module + ".delta" }
    static func signature(_ module: String) -> String { module + ".sig" }
}

/// What the metadata of a basis file say; shared, in part, with compact adapters.
struct BasisHeader {
    static let version = "1"

    var method: BasisMethod
    var layout: Layout
    var modules: [BasisModule]

    /// `format` and what a reader needs.
    func metadata(format: String) throws(LoragenError) -> [String: String] {
        var prints: JSONObject = [:]
        var tensors: JSONObject = [:]
        var fits: JSONObject = [:]
        for (shape, module) in zip(layout.modules, modules) {
            prints[shape.name] = .string(module.fingerprint)
            if module.tensor != shape.name + ".weight" { tensors[shape.name] = .string(module.tensor) }
            fits[shape.name] = ["residual": .number(module.residual), "gap": module.gap.map { .number($0) } ?? .null]
        }
        var metadata = [
            "format": format, "version": Self.version, "method": method.rawValue, "orientation": "out_in",
            "layout": try layout.json.text(), "fingerprints": try JSON.object(prints).text(),
            "fit": try JSON.object(fits).text(),
        ]
        if tensors.count > 0 { metadata["tensors"] = try JSON.object(tensors).text() }
        if let base = layout.baseModel { metadata["base_model"] = base }
        return metadata
    }

    static let keys: Set<String> = [
        "format", "version", "method", "orientation", "layout", "fingerprints", "fit", "tensors", "base_model",
    ]

    /// Reads what `metadata` gave. Throws `.format`, and `.version` for a later version.
    init(_ metadata: [String: String], path: String, format: String) throws(LoragenError) {
        func text(_ key: String) throws(LoragenError) -> String {
            guard let value = metadata[key] else {
                throw LoragenError(.format, "\(path): its metadata have no '\(key)'")
            }
            return value
        }
        guard metadata["format"] == format else {
            throw LoragenError(
                .format,
                "\(path): its format is \(metadata["format"].map { "'\(shortened($0))'" } ?? "not said"); "
                    + "expected '\(format)'")
        }
        let version = try text("version")
        if version != Self.version {
            throw LoragenError(
                .version, "\(path): version \(shortened(version)) of \(format); this library knows \(Self.version)")
        }
        let name = try text("method")
        guard let method = BasisMethod(rawValue: name) else {
            throw LoragenError(.format, "\(path): the method '\(shortened(name))'; expected svfit or loldu")
        }
        if try text("orientation") != "out_in" {
            throw LoragenError(.format, "\(path): 'orientation' is not out_in, the only one there is")
        }
        func object(_ key: String) throws(LoragenError) -> JSONObject {
            let source = "\(path): metadata '\(key)'"
            guard let object = try JSON.parse(try text(key), source: source).object else {
                throw LoragenError(.format, "\(source): expected an object")
            }
            return object
        }
        let source = "\(path): metadata 'layout'"
        let layout = try Layout(json: JSON.parse(try text("layout"), source: source), source: source)
        let prints = try object("fingerprints")
        let fits = try object("fit")
        let tensors = metadata["tensors"] == nil ? JSONObject() : try object("tensors")
        var modules: [BasisModule] = []
        for shape in layout.modules {
            if shape.scale != 1 || shape.hasMagnitude || shape.groups > 1 || shape.kind == .embedding {
                throw LoragenError(
                    .format,
                    "\(source): module '\(shape.name)' is none that a basis can have; expected alpha = rank and no DoRA"
                )
            }
            guard let print = prints[shape.name]?.string, print.utf8.count == 32,
                print.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
            else {
                throw LoragenError(
                    .format, "\(path): module '\(shape.name)' has no fingerprint of 32 hexadecimal digits")
            }
            guard let residual = fits[shape.name]?["residual"]?.double, residual >= 0, residual.isFinite else {
                throw LoragenError(.format, "\(path): metadata 'fit' has no residual of module '\(shape.name)'")
            }
            modules.append(
                BasisModule(
                    tensor: tensors[shape.name]?.string ?? shape.name + ".weight", fingerprint: print,
                    residual: residual,
                    gap: fits[shape.name]?["gap"]?.double))
        }
        (self.method, self.layout, self.modules) = (method, layout, modules)
    }

    init(method: BasisMethod, layout: Layout, modules: [BasisModule]) {
        (self.method, self.layout, self.modules) = (method, layout, modules)
    }
}

/// Basis files: one safetensors file for all adapters of a base model. Of each module `<m>.left` [out, r], `<m>.right` [r, in],
/// `<m>.sigma` F32 [r], and for LoLDU `<m>.pivots` I32 [r].
public enum BasisFile {
    static let format = "loragen.basis"

    static func isOne(_ file: SafetensorsFile) -> Bool { file.metadata["format"] == format }

    /// Writes the modules of the header in order, which `factors` gives one after the other.
    static func write(
        _ header: BasisHeader, to path: String, type: ElementType,
        factors: @escaping (Int) throws(LoragenError) -> BasisFactors
    ) throws(LoragenError) {
        var writer = SafetensorsWriter(metadata: try header.metadata(format: format))
        let held = Held(factors)
        for (i, shape) in header.layout.modules.enumerated() {
            func add(
                _ name: String, _ shape: [Int], _ type: ElementType, _ values: @escaping (BasisFactors) -> [Float]
            ) throws(LoragenError) {
                try writer.add(name, type: type, shape: shape) { (sink) throws(LoragenError) in
                    let floats = values(try held.factors(i))
                    try floats.withUnsafeBufferPointer { buffer in
                        Result { () throws(LoragenError) in
                            try FloatEncoder(type: type, scale: 1, name: name).encode(buffer, to: sink)
                        }
                    }.get()
                }
            }
            try add(BasisName.left(shape.name), [shape.outputs, shape.rank], type, \.left)
            try add(BasisName.right(shape.name), [shape.rank, shape.columns], type, \.right)
            try add(BasisName.sigma(shape.name), [shape.rank], .f32, \.sigma)
            if header.method == .loldu {
                try writer.add(BasisName.pivots(shape.name), type: .i32, shape: [shape.rank]) {
                    (sink) throws(LoragenError) in
                    let pivots = try held.factors(i).pivots
                    try pivots.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
                }
            }
        }
        try writer.write(to: path)
    }

    /// The module that is being written.
    private final class Held {
        private let source: (Int) throws(LoragenError) -> BasisFactors
        private var current: (index: Int, factors: BasisFactors)?

        init(_ source: @escaping (Int) throws(LoragenError) -> BasisFactors) { self.source = source }

        func factors(_ index: Int) throws(LoragenError) -> BasisFactors {
            if let current, current.index == index { return current.factors }
            current = nil
            let factors = try source(index)
            current = (index, factors)
            return factors
        }
    }
}

extension Basis {
    /// Opens a basis file; the factors are mapped, not read. Throws `.io`, `.format`, `.version`.
    public convenience init(path: String) throws(LoragenError) {
        try self.init(file: SafetensorsFile(path: path))
    }

    convenience init(file: SafetensorsFile) throws(LoragenError) {
        let header = try BasisHeader(file.metadata, path: file.path, format: BasisFile.format)
        var types: Set<ElementType> = []
        var count = 0
        for shape in header.layout.modules {
            for (name, dimensions) in [
                (BasisName.left(shape.name), [shape.outputs, shape.rank]),
                (BasisName.right(shape.name), [shape.rank, shape.columns]),
            ] {
                let tensor = try file.require(name)
                guard [.f32, .f16, .bf16].contains(tensor.type), tensor.shape == dimensions else {
                    throw LoragenError(
                        .format,
                        "\(file.path): tensor '\(shortened(name))' is \(tensor.type.rawValue) \(tensor.shape); expected F32, "
                            + "F16 or BF16 \(dimensions)")
                }
                types.insert(tensor.type)
            }
            _ = try file.require(BasisName.sigma(shape.name), type: .f32, shape: [shape.rank])
            count += 3
            if header.method == .loldu {
                _ = try file.require(BasisName.pivots(shape.name), type: .i32, shape: [shape.rank])
                count += 1
            }
        }
        if count != file.tensors.count {
            throw LoragenError(.format, "\(file.path): \(file.tensors.count) tensors where its layout has \(count)")
        }
        self.init(file: file, header: header, type: types.first ?? .f32)
    }
}
