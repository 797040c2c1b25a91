import Adapters
import Files
import Formats
import Tensor

/// How a compact adapter's numbers stand in its file.
public enum CompactCoordinates: String, Sendable {
    /// δ
    case absolute
    /// δ / σ
    case relative
}

/// Compact adapters as files: one safetensors file, all F32 but pivots. Of each module `<m>.delta` [r], `<m>.sigma` [r],
/// `<m>.sig` [8], and for LoLDU `<m>.pivots` I32 [r]; the metadata are those of a basis file and `coords`, `select`,
/// `sig_seed`. It holds no basis: that is in the basis file of its base model.
public enum CompactFile {
    static let format = "loragen.compact"
    private static let ownKeys = BasisHeader.keys.union(["coords", "select", "sig_seed"])

    static func isOne(_ file: SafetensorsFile) -> Bool { file.metadata["format"] == format }

    static func write(
        _ adapter: CompactAdapter, to path: String, coordinates: CompactCoordinates
    ) throws(LoragenError) {
        let header = BasisHeader(
            method: adapter.method, layout: adapter.layout, modules: adapter.modules.map(\.source))
        var metadata = try header.metadata(format: format)
        metadata["coords"] = coordinates.rawValue
        metadata["select"] = adapter.method == .svfit ? "top" : "index"
        metadata["sig_seed"] = String(BasisFactors.signatureSeed)
        for (key, value) in adapter.metadata where !ownKeys.contains(key) { metadata[key] = value }
        var writer = SafetensorsWriter(metadata: metadata)
        for module in adapter.modules {
            let name = module.shape.name
            try writer.add(
                BasisName.delta(name), shape: [module.shape.rank],
                elements: coordinates == .absolute ? module.delta : relative(module))
            try writer.add(BasisName.sigma(name), shape: [module.shape.rank], elements: module.sigma)
            try writer.add(BasisName.signature(name), shape: [8], elements: module.signature)
            if adapter.method == .loldu {
                try writer.add(BasisName.pivots(name), shape: [module.shape.rank], elements: module.pivots)
            }
        }
        try writer.write(to: path)
    }

    /// A direction that the weight does not have (σ = 0) can change by nothing that is relative to it.
    private static func relative(_ module: CompactAdapter.Module) throws(LoragenError) -> [Float] {
        var result: [Float] = []
        for (delta, sigma) in zip(module.delta, module.sigma) {
            let quotient = delta == 0 ? 0 : delta / sigma
            if !quotient.isFinite {
                throw LoragenError(
                    .unsupported,
                    "module '\(module.shape.name)': a change of \(delta) where the weight has \(sigma) is nothing relative; "
                        + "write absolute numbers")
            }
            result.append(quotient)
        }
        return result
    }

    static func read(_ file: SafetensorsFile) throws(LoragenError) -> CompactAdapter {
        let header = try BasisHeader(file.metadata, path: file.path, format: format)
        guard let coordinates = file.metadata["coords"].flatMap(CompactCoordinates.init) else {
            throw LoragenError(
                .format, "\(file.path): 'coords' in its metadata is neither absolute nor relative")
        }
        if file.metadata["sig_seed"] != String(BasisFactors.signatureSeed) {
            throw LoragenError(.version, "\(file.path): 'sig_seed' is not \(BasisFactors.signatureSeed)")
        }
        var modules: [CompactAdapter.Module] = []
        var count = 0
        for (shape, source) in zip(header.layout.modules, header.modules) {
            func floats(_ name: String, _ size: Int) throws(LoragenError) -> [Float] {
                _ = try file.require(name, type: .f32, shape: [size])
                return try file.floats(name)
            }
            var delta = try floats(BasisName.delta(shape.name), shape.rank)
            let sigma = try floats(BasisName.sigma(shape.name), shape.rank)
            if coordinates == .relative { delta = zip(delta, sigma).map { $0 * $1 } }
            var pivots: [Int32] = []
            if header.method == .loldu {
                _ = try file.require(BasisName.pivots(shape.name), type: .i32, shape: [shape.rank])
                pivots = try file.elements(BasisName.pivots(shape.name))
            }
            count += header.method == .loldu ? 4 : 3
            modules.append(
                CompactAdapter.Module(
                    shape: shape, delta: delta, sigma: sigma, pivots: pivots,
                    signature: try floats(BasisName.signature(shape.name), 8), source: source))
        }
        if count != file.tensors.count {
            throw LoragenError(.format, "\(file.path): \(file.tensors.count) tensors where its layout has \(count)")
        }
        return try CompactAdapter(
            method: header.method, layout: header.layout, modules: modules,
            metadata: file.metadata.filter { !ownKeys.contains($0.key) }, source: file.path)
    }
}

extension CompactAdapter {
    /// Reads a compact adapter. Throws `.io`; `.format` for anything that `write` would not have written; `.nonFinite`.
    public init(path: String) throws(LoragenError) {
        self = try CompactFile.read(SafetensorsFile(path: path))
    }

    /// Writes it as one file, whole or not at all.
    public func write(
        to path: String, coordinates: CompactCoordinates = .absolute
    ) throws(LoragenError) {
        try CompactFile.write(self, to: path, coordinates: coordinates)
    }
}
