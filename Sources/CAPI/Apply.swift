// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Formats
import Hosts
import Tensor

@c @implementation
public func loragen_convert(
    _ source: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>?, _ format: Int32,
    _ options: UnsafePointer<loragen_convert_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let (source, target) = (try path(source, "source"), try path(target, "target"))
        let options = try CAPI.options(options, over: loragen_convert_options(), "options")
        try Conversion.run(
            from: source, to: target, format: try AdapterFormat(format, for: target),
            options: try WriteOptions(options.save, "save"), isLossy: options.lossy != 0,
            isLoRAEnough: options.lora_only != 0, rank: options.rank == 0 ? nil : Int(options.rank),
            note: noting(options.note, options.payload))
    }
}

@c @implementation
public func loragen_apply(
    _ model: UnsafePointer<CChar>?, _ adapter: UnsafePointer<CChar>?, _ target: UnsafePointer<CChar>?,
    _ options: UnsafePointer<loragen_apply_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let (model, target) = (try path(model, "model"), try path(target, "target"))
        var defaults = loragen_apply_options()
        defaults.scale = 1
        let options = try CAPI.options(options, over: defaults, "options")
        try Application.run(
            model: model, adapter: try optionalPath(adapter, "adapter"), to: target,
            mode: try Application.Mode(options.mode), scale: options.scale,
            base: try optionalPath(options.base, "base"), basis: try optionalPath(options.basis, "basis"),
            isLoRAEnough: options.lora_only != 0, note: noting(options.note, options.payload))
    }
}

/// A C callback for remarks as a function that throws `.cancelled`.
private func noting(
    _ callback: loragen_note_callback?, _ payload: UnsafeMutableRawPointer?
) -> (String) throws(LoragenError) -> Void {
    { (message) throws(LoragenError) in
        guard let callback else { return }
        if message.withCString({ callback($0, payload) }) != 0 {
            throw LoragenError(.cancelled, "cancelled by the callback; nothing was written")
        }
    }
}

extension Application.Mode {
    fileprivate init(_ code: Int32) throws(LoragenError) {
        switch Int(code) {
        case LORAGEN_APPLY_MERGE: self = .merge
        case LORAGEN_APPLY_UNMERGE: self = .unmerge
        case LORAGEN_APPLY_INJECT: self = .inject
        case LORAGEN_APPLY_INPUTS: self = .inputs
        case LORAGEN_APPLY_REMOVE: self = .remove
        default: throw LoragenError(.invalidArgument, "mode is \(code); expected a LORAGEN_APPLY_ constant")
        }
    }
}
