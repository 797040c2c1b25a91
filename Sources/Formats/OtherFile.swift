import Files
import Tensor

/// Files with an adapter's suffix that are something else: what a folder of adapters has beside them.
public enum OtherFile {
    /// What a file is that could not be read as an adapter: "a generator", "a GGUF model"; `nil` when it is an adapter that
    /// is damaged or not supported, or when nobody can tell. Throws `.memory`.
    public static func kind(of path: String) throws(LoragenError) -> String? {
        guard let file = try attempt({ () throws(LoragenError) in try MappedFile(path: path) }) else { return nil }
        if GGUFFile.isOne(file.bytes) {
            guard let gguf = try attempt({ () throws(LoragenError) in try GGUFFile(file: file) }) else { return nil }
            let type = gguf.values["general.type"]?.string ?? "model"
            return type == "adapter" ? nil : "a GGUF \(shortened(type))"
        }
        if path.hasSuffix(".onnx") { return "an ONNX model" }
        if ZipFile.isOne(file.bytes) { return nil }
        guard let tensors = try attempt({ () throws(LoragenError) in try SafetensorsFile(file: file) }),
            !tensors.tensors.isEmpty
        else { return nil }
        if tensors.metadata["format"] == "loragen.compact" { return "a compact adapter, which needs its basis" }
        if let format = tensors.metadata["format"], format.hasPrefix("loragen.") {
            return "a \(shortened(String(format.dropFirst("loragen.".count)))) of this library"
        }
        // Every adapter of every tool has one of these in the names of its tensors.
        let marks = ["lora", "hada_", "lokr_", "ia3_", "oft_", "dora", "vera_", "boft_", "prompt_embeddings", ".alpha"]
        let isAdapter =
            tensors.metadata[AdapterFile.layoutKey] != nil
            || tensors.tensors.contains { tensor in
                let name = tensor.name.lowercased()
                return marks.contains { name.contains($0) }
            }
        return isAdapter ? nil : "tensors of a model"
    }
}
