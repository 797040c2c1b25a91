import Adapters
import Files
import Tensor

/// A PEFT adapter folder: `adapter_config.json` and `adapter_model.safetensors`, as PEFT 0.21.2 saves and loads it.
public enum PEFTFolder {
    public static let weightsName = "adapter_model.safetensors"

    /// The layout alone: reads the config and the header of the weights, not the weights.
    /// Throws as `read`, save for the values.
    public static func readHeader(path: String) throws(LoragenError) -> Layout {
        try open(path).contents.layout
    }

    /// Reads and checks a folder. Throws `.io`; `.format` for files that are not what they should be; `.mismatch` when
    /// config and tensors disagree, so that PEFT would fail or silently compute something else; `.unsupported` for what
    /// is more than LoRA and DoRA; `.nonFinite` for NaN and infinity.
    public static func read(
        path: String, part: LoRAPart = LoRAPart(), note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> Adapter {
        let (config, contents) = try open(path, part, note: note)
        return try contents.adapter(metadata: contents.metadata(config))
    }

    static func open(
        _ path: String, _ part: LoRAPart = LoRAPart(),
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> (config: PEFTConfig, contents: PEFTTensors) {
        switch try PathKind.of(path) {
        case .folder: break
        case nil: throw LoragenError(.io, "\(path): there is no such folder")
        default: throw LoragenError(.io, "\(path): it is not a folder; expected a PEFT adapter folder")
        }
        let config = try PEFTConfig(path: joinPath(path, PEFTConfig.fileName), part: part)
        let weights = joinPath(path, weightsName)
        if try PathKind.of(weights) == nil {
            let old = joinPath(path, "adapter_model.bin")
            if try PathKind.of(old) != nil {
                throw LoragenError(
                    .unsupported,
                    "\(old): a pickle; load the adapter with PEFT and save it again, which writes \(weightsName)")
            }
            throw LoragenError(.io, "\(weights): there is no such file")
        }
        let contents = try PEFTTensors(file: SafetensorsFile(path: weights), config: config, part: part, note: note)
        if !config.beside.isEmpty {
            try note("left out: \(config.beside.joined(separator: ", "))")
        }
        return (config, contents)
    }
}

/// The LoRA tensors of a safetensors file, matched with a config.
struct PEFTTensors: Sendable {
    let layout: Layout
    let file: SafetensorsFile
    /// In the order of `layout.tensors`; `nil` for those of experts, which are parts of other tensors.
    let tensors: [SafetensorsTensor?]
    private let experts: [PEFTExperts<SafetensorsTensor>]

    init(
        file: SafetensorsFile, config: PEFTConfig, part: LoRAPart = LoRAPart(),
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) {
        let tensors = try part.tensors(of: file, note: note) { (name) throws(LoragenError) in
            try PEFTKey(name, source: file.path) != nil
        } refusal: {
            PEFTKey.unknown($0, file.path)
        }
        for tensor in tensors where !tensor.type.isReadable {
            throw LoragenError(
                .unsupported,
                "\(file.path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); expected F32, F16, BF16, "
                    + "F64, F8_E4M3 or F8_E5M2")
        }
        var parts = try PEFTParts.sorted(
            tensors.map { .init(name: $0.name, shape: $0.shape, value: $0) }, source: file.path)
        experts = try PEFTExperts.taken(from: &parts, config: config, source: file.path)
        let layout = try PEFTFolder.layout(of: parts, experts: experts, config: config, source: file.path)
        self.layout = layout
        self.file = file
        self.tensors = layout.tensors.map { place in
            let part = parts[ByteKey(layout.modules[place.module].name)]
            switch place.role {
            case .a: return part?.a?.value
            case .b: return part?.b?.value
            case .magnitude: return part?.magnitude?.value
            }
        }
    }

    /// The config's, and what this library noted when it wrote the weights.
    func metadata(_ config: PEFTConfig) -> [String: String] {
        config.metadata.merging(file.metadata.filter { $0.key.hasPrefix("loragen.") }) { config, _ in config }
    }

    /// Reads the values. Throws `.memory` and `.nonFinite`.
    func adapter(metadata: [String: String]) throws(LoragenError) -> Adapter {
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (tensor, place) in zip(tensors, layout.tensors) {
                guard let tensor else { continue }
                try file.read(tensor, into: UnsafeMutableBufferPointer(rebasing: target[place.range]))
            }
            if experts.isEmpty { return }
            var places: [ByteKey: Int] = [:]
            for (i, module) in layout.modules.enumerated() { places[ByteKey(module.name)] = i }
            for fused in experts {
                try fused.store(in: target, of: layout, places: places) { (tensor) throws(LoragenError) in
                    try file.floats(tensor.name)
                }
            }
        }
        try adapter.checkFinite(source: file.path)
        return adapter
    }
}
