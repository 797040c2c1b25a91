import Tensor

/// Adapters as ONNX models: one initializer for each tensor.
public enum ONNX {
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        throw LoragenError(.unsupported, "ONNX is not there yet")
    }

    public static func read(path: String) throws(LoragenError) -> Adapter {
        throw LoragenError(.unsupported, "ONNX is not there yet")
    }
}
