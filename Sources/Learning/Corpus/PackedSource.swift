import Adapters
import Files
import Formats
import Tensor

/// A whole corpus in one safetensors file, a byte a number: for every PEFT key `K` the
/// tensors `K` (I8, `[N, ...]`), `K.scale` and `K.mean` (F32); a value is `mean + scale · code`. The metadata holds the
/// manifest and the `adapter_config.json` that all adapters share.
struct PackedSource: CorpusSource {
    static let format = "loragen.corpus"
    static let version = "1"

    let path: String
    let lines: [ManifestLine]
    private let file: SafetensorsFile
    private let layout: Layout

    init(_ path: String) throws(LoragenError) {
        self.path = path
        let file = try SafetensorsFile(path: path)
        self.file = file
        func metadata(_ key: String) throws(LoragenError) -> String {
            guard let value = file.metadata[key] else {
                throw LoragenError(
                    .format,
                    "\(path): no \"\(key)\" in its metadata; a corpus is a folder of adapters or a packed corpus file")
            }
            return value
        }
        let format = try metadata("format")
        guard format == Self.format else {
            throw LoragenError(.format, "\(path): its format is \"\(format)\"; expected \"\(Self.format)\"")
        }
        let version = try metadata("version")
        guard version == Self.version else {
            throw LoragenError(
                .version, "\(path): a packed corpus of version \(version); this library knows \(Self.version)")
        }
        lines = ManifestLine.parse(try metadata("manifest"), name: "\(path), manifest")
        let codes = file.tensors.filter { !$0.name.hasSuffix(".scale") && !$0.name.hasSuffix(".mean") }
        for tensor in codes {
            guard tensor.shape.count > 1, tensor.shape[0] == lines.count, tensor.type == .i8 else {
                throw LoragenError(
                    .format,
                    "\(path): tensor '\(tensor.name)' is \(tensor.type.rawValue) \(tensor.shape); expected I8 with "
                        + "\(lines.count) adapters in the first dimension")
            }
            for part in [".scale", ".mean"] {
                let other = try file.require(tensor.name + part)
                guard other.shape == Array(tensor.shape.dropFirst()), other.type == .f32 else {
                    throw LoragenError(
                        .format,
                        "\(path): tensor '\(other.name)' is \(other.type.rawValue) \(other.shape); expected F32 "
                            + "\(Array(tensor.shape.dropFirst()))")
                }
            }
        }
        layout = try PEFTFolder.layout(
            config: JSON.parse(try metadata("adapter_config"), source: "\(path), adapter_config"),
            tensors: codes.map { ($0.name, Array($0.shape.dropFirst())) }, source: path)
        guard layout.tensors.count == codes.count else {
            throw LoragenError(.format, "\(path): \(codes.count) tensors for a layout of \(layout.tensors.count)")
        }
    }

    func name(_ entry: CorpusEntry) -> String { "\(path), \"\(entry.path)\"" }

    func reader(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> any AdapterReader {
        guard lines.indices.contains(index) else {
            throw LoragenError(.internalError, "\(path): there is no adapter \(index)")
        }
        return PackedAdapter(file: file, layout: layout, index: index)
    }

    func adapter(_ index: Int, _ entry: CorpusEntry) throws(LoragenError) -> Adapter {
        let reader = try reader(index, entry)
        let adapter = try Adapter(layout: layout) { (values) throws(LoragenError) in
            guard let base = values.baseAddress else { return }
            for (i, place) in layout.tensors.enumerated() {
                try reader.read(i, 0..<place.count, into: base + place.offset)
            }
        }
        try adapter.checkFinite(source: name(entry))
        return adapter
    }
}

/// One adapter of a packed corpus.
private struct PackedAdapter: AdapterReader {
    let file: SafetensorsFile
    let layout: Layout
    let index: Int

    func read(
        _ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        let place = layout.tensors[tensor]
        let tensor = try file.require(place.name)
        let codes = file.bytes(of: tensor)
        let scales = file.bytes(of: try file.require(place.name + ".scale"))
        let means = file.bytes(of: try file.require(place.name + ".mean"))
        let start = index * place.count
        guard range.upperBound <= place.count, start + place.count <= codes.count,
            min(scales.count, means.count) >= 4 * place.count
        else { throw LoragenError(.format, "\(file.path): tensor '\(place.name)' has not the numbers of its adapters") }
        for (i, j) in range.enumerated() {
            let code = Float(codes.load(fromByteOffset: start + j, as: Int8.self))
            let scale = scales.loadUnaligned(fromByteOffset: 4 * j, as: Float.self)
            let mean = means.loadUnaligned(fromByteOffset: 4 * j, as: Float.self)
            target[i] = mean + scale * code
        }
        file.release(tensor, start + range.lowerBound..<start + range.upperBound)
        withExtendedLifetime(file) {}
    }
}
