import ArgumentParser
import CLoragen

enum FileFormat: String, ExpressibleByArgument, CaseIterable {
    case peft, safetensors, onnx, gguf, npz
    case onnxAdapter = "onnx-adapter"

    var code: Int32 {
        switch self {
        case .peft: Int32(LORAGEN_FORMAT_PEFT)
        case .safetensors: Int32(LORAGEN_FORMAT_SAFETENSORS)
        case .onnx: Int32(LORAGEN_FORMAT_ONNX)
        case .gguf: Int32(LORAGEN_FORMAT_GGUF)
        case .onnxAdapter: Int32(LORAGEN_FORMAT_ONNX_ADAPTER)
        case .npz: Int32(LORAGEN_FORMAT_NPZ)
        }
    }

    /// Of the files' names; a PEFT folder has none.
    var suffix: String {
        switch self {
        case .peft: ""
        case .onnxAdapter: ".onnx_adapter"
        default: ".\(rawValue)"
        }
    }

    /// What the suffix of a path says; a path without a known one is a PEFT folder.
    init(path: String) {
        self = Self.allCases.first { !$0.suffix.isEmpty && path.hasSuffix($0.suffix) } ?? .peft
    }
}

enum ElementType: String, ExpressibleByArgument, CaseIterable {
    case float32, float16, bfloat16
    case q8 = "q8_0"

    var code: Int32 {
        switch self {
        case .float32: Int32(LORAGEN_FLOAT32)
        case .float16: Int32(LORAGEN_FLOAT16)
        case .bfloat16: Int32(LORAGEN_BFLOAT16)
        case .q8: Int32(LORAGEN_Q8_0)
        }
    }
}

/// Runs `body` with the options for a file.
func withSaveOptions<Result>(
    _ dtype: ElementType, _ keepAlpha: Bool, _ base: String?, naming: Int32 = Int32(LORAGEN_NAMING_OLIVE),
    _ body: (inout loragen_save_options) throws -> Result
) rethrows -> Result {
    try withCString(base) { base in
        var options = loragen_save_options()
        options.struct_size = MemoryLayout<loragen_save_options>.size
        options.dtype = dtype.code
        options.keep_alpha = keepAlpha ? 1 : 0
        options.base = base
        options.naming = naming
        return try body(&options)
    }
}

/// Prints the library's remarks, one a line.
let printingNote: loragen_note_callback = { message, _ in
    printError("note: \(string(message))")
    return 0
}
