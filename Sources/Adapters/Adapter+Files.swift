import Tensor

extension Adapter {
    /// Reads an adapter in any of the formats: a folder is PEFT's or mlx-lm's; of a file the first bytes decide, or its suffix
    /// where they do not. `base` names the base model where a format needs it (see `BaseModel.init`). What is left out, as
    /// `part` says, and what a host would not hear is told to `note`.
    public static func read(
        path: String, base: String? = nil, part: LoRAPart? = nil,
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> Adapter {
        let part = part ?? LoRAPart(base: base)
        switch try PathKind.of(path) {
        case nil: throw LoragenError(.io, "\(path): there is no such file or folder")
        case .folder where try MLXFolder.isOne(path): return try MLXFolder.read(path: path)
        case .folder: return try PEFTFolder.read(path: path, part: part, note: note)
        default: break
        }
        if path.hasSuffix(".onnx") { return try ONNX.read(path: path) }
        let file = try MappedFile(path: path)
        if GGUFFile.isOne(file.bytes) { return try GGUFAdapter.read(GGUFFile(file: file), base: base) }
        if ONNXAdapter.isOne(file.bytes) { return try ONNXAdapter.read(file) }
        if ZipFile.isOne(file.bytes) { return try NumPyArchive.read(file) }
        let tensors = try SafetensorsFile(file: file)
        if tensors.metadata[AdapterFile.layoutKey] == nil {
            if KohyaFile.recognises(tensors) { return try KohyaFile.read(tensors, part: part, note: note) }
            if DiffusersFile.recognises(tensors) { return try DiffusersFile.read(tensors, part: part, note: note) }
        }
        return try AdapterFile.read(tensors)
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
        switch format {
        case .peft: try PEFTFolder.write(self, to: path, options: options)
        case .safetensors: try AdapterFile.write(self, to: path, options: options)
        case .diffusers: try DiffusersFile.write(self, to: path, options: options)
        case .kohya: try KohyaFile.write(self, to: path, options: options)
        case .onnx: try ONNX.write(self, to: path, options: options)
        case .gguf: try GGUFAdapter.write(self, to: path, options: options)
        case .onnxAdapter: try ONNXAdapter.write(self, to: path, options: options)
        case .npz: try NumPyArchive.write(self, to: path, options: options)
        }
    }
}
