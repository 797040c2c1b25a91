import Adapters
import Files
import Tensor

extension Adapter {
    /// Reads an adapter in any of the formats: a folder is PEFT's or mlx-lm's; of a file the first bytes decide, or its suffix
    /// where they do not. `base` names the base model where a format needs it (see `BaseModel.init`). What is left out, as
    /// `part` says, and what a host would not hear is told to `note`. With `rank` its updates are cut to that rank.
    public static func read(
        path: String, base: String? = nil, part: LoRAPart? = nil, rank: Int? = nil,
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> Adapter {
        let part = part ?? LoRAPart(base: base)
        if try ProductFolder.isOne(path) {
            return try ProductFolder.read(path: path, base: base, rank: rank, note: note)
        }
        if let rank {
            let cut = try read(path: path, base: base, part: part, note: note).cut(to: rank)
            try note("cut to rank \(rank), which keeps \(ProductFolder.percent(cut.kept)) of the energy ‖ΔW‖²")
            return cut.adapter
        }
        guard let kind = try PathKind.of(path) else {
            throw LoragenError(.io, "\(path): there is no such file or folder")
        }
        return try withoutActuallyEscaping(note) { note in
            Result { () throws(LoragenError) in
                try read(path: path, isFolder: kind == .folder, base: base, part: part, note: note)
            }
        }.get()
    }

    private static func read(
        path: String, isFolder: Bool, base: String?, part: LoRAPart,
        note: @escaping (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> Adapter {
        // Protobuf has no first bytes that tell: such a file goes by its name, and is not mapped.
        let isMapped = !isFolder && !path.hasSuffix(AdapterFormat.onnx.suffix)
        var source = AdapterSource(
            path: path, isFolder: isFolder, file: isMapped ? try MappedFile(path: path) : nil, base: base, part: part,
            note: note)
        for format in formats.all {
            if let adapter = try format.read?(source) { return adapter }
        }
        guard let file = source.file else {
            throw LoragenError(.internalError, "\(path): no format takes it")
        }
        let tensors = try SafetensorsFile(file: file)
        if tensors.metadata[AdapterFile.layoutKey] == nil {
            source.tensors = tensors
            for format in formats.all {
                if let adapter = try format.read?(source) { return adapter }
            }
        }
        return try AdapterFile.read(tensors)
    }

    /// The best approximation with at most that rank in each module, and the share of `‖ΔW‖²` that it keeps.
    private func cut(to rank: Int) throws(LoragenError) -> (adapter: Adapter, kept: Double) {
        if rank < 1 || rank > ModuleShape.rankLimit {
            throw LoragenError(.invalidArgument, "rank is \(rank); expected 1 to \(ModuleShape.rankLimit)")
        }
        let norms = squaredNorms()
        let cut = try recut(ranks: layout.modules.map { min($0.rank, rank) })
        let all = norms.reduce(0, +)
        let lost = zip(cut.energyLost, norms).reduce(0) { $0 + $1.0 * $1.1 }
        return (cut.adapter, all == 0 ? 1 : (all - lost) / all)
    }

    /// Writes the adapter; what is at `path` is replaced as a whole or left as it is.
    public func write(
        to path: String, format: AdapterFormat, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        if options.quantized && format != .gguf {
            throw LoragenError(.invalidArgument, "Q8_0 is a type of GGUF alone; choose float32, float16 or bfloat16")
        }
        var sources = options.sources
        sources.add(options.base)
        try sources.check(writing: format.files(at: path))
        try format.write(self, path, options)
    }
}
