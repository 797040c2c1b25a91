// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Files
import Formats
import Tensor

extension WriteOptions {
    init(_ pointer: UnsafePointer<loragen_save_options>?, _ name: StaticString) throws(LoragenError) {
        try self.init(try CAPI.options(pointer, over: loragen_save_options(), name))
    }

    init(_ options: loragen_save_options) throws(LoragenError) {
        self.init(
            type: try ElementType(options.dtype),
            form: options.portable != 0 ? .portable : options.keep_alpha != 0 ? .kept : .baked)
        if options.portable != 0 && options.keep_alpha != 0 {
            throw LoragenError(.invalidArgument, "portable has alpha = rank, so it cannot go with keep_alpha")
        }
        if options.layers < 0 {
            throw LoragenError(.invalidArgument, "layers is \(options.layers); expected 0 or more")
        }
        layerCount = options.layers == 0 ? nil : Int(options.layers)
        if let name = try optionalText(options.model, "model") {
            guard let known = DiffusionModel(rawValue: name) else {
                throw LoragenError(
                    .invalidArgument,
                    "model is \"\(name)\"; expected one of "
                        + DiffusionModel.allCases.map(\.rawValue).joined(separator: ", "))
            }
            model = known
        }
        quantized = Int(options.dtype) == LORAGEN_Q8_0
        base = try optionalPath(options.base, "base")
        naming = try ONNXNaming(options.naming)
    }
}

extension AdapterFormat {
    /// `path` is that of the file, whose suffix may say it.
    init(_ code: Int32, for path: String) throws(LoragenError) {
        if Int(code) == LORAGEN_FORMAT_BY_SUFFIX {
            self = try AdapterFormat(path: path)
        } else if let format = formats.all.first(where: { $0.code == code }) {
            self = format
        } else {
            throw LoragenError(.invalidArgument, "format is \(code); expected a LORAGEN_FORMAT_ constant")
        }
    }
}

extension ONNXNaming {
    init(_ code: Int32) throws(LoragenError) {
        switch Int(code) {
        case LORAGEN_NAMING_OLIVE: self = .olive
        case LORAGEN_NAMING_PEFT: self = .peft
        default: throw LoragenError(.invalidArgument, "naming is \(code); expected a LORAGEN_NAMING_ constant")
        }
    }
}

extension ElementType {
    init(_ code: Int32) throws(LoragenError) {
        switch Int(code) {
        case LORAGEN_FLOAT32, LORAGEN_Q8_0: self = .f32
        case LORAGEN_FLOAT16: self = .f16
        case LORAGEN_BFLOAT16: self = .bf16
        default:
            throw LoragenError(
                .invalidArgument,
                "dtype is \(code); expected LORAGEN_FLOAT32, LORAGEN_FLOAT16, LORAGEN_BFLOAT16 or LORAGEN_Q8_0")
        }
    }
}
