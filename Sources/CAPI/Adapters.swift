// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import Adapters
import CAPISupport
import CLoragen
import Files
import Formats
import Tensor

/// What a `loragen_adapters` is.
final class AdaptersBox {
    fileprivate let samples: [Adapter]
    fileprivate let modules: [loragen_module]
    /// Of all samples, one after the other.
    fileprivate let tensors: [loragen_tensor]
    fileprivate let origins: [UnsafePointer<CChar>?]
    fileprivate let tensorCount: Int
    fileprivate let sources: Sources
    private let arena = Arena()

    /// `samples` are of one layout and come from the files `sources`.
    init(_ samples: [Adapter], from sources: Sources) {
        self.samples = samples
        self.sources = sources
        let arena = arena
        let layout = samples.first?.layout
        modules = layout?.modules.map { loragen_module($0, in: arena) } ?? []
        tensorCount = layout?.tensors.count ?? 0
        let views = layout?.tensors.map { tensor in
            loragen_tensor(
                name: arena.text(tensor.name), shape: arena.values(tensor.shape.map { Int64($0) }),
                rank: Int32(clamping: tensor.shape.count), dtype: Int32(LORAGEN_FLOAT32), data: nil,
                count: tensor.count)
        }
        tensors = samples.flatMap { sample in
            zip(views ?? [], sample.tensors).map { view, tensor in
                var view = view
                view.data = tensor.values.baseAddress
                return view
            }
        }
        origins = samples.map { arena.text($0.metadata["loragen.origin"]) }
    }

    func sample(_ index: Int, _ name: StaticString) throws(LoragenError) -> Adapter {
        try check(index, below: samples.count, name)
        return samples[index]
    }

    fileprivate func tensor(_ sample: Int, _ index: Int) throws(LoragenError) -> loragen_tensor {
        try check(sample, below: samples.count, "sample")
        try check(index, below: tensorCount, "index")
        return tensors[sample * tensorCount + index]
    }
}

@c @implementation
public func loragen_adapters_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let path = try CAPI.path(path)
        return AdaptersBox([try Adapter.read(path: path)], from: Sources(path))
    }
}

@c @implementation
public func loragen_adapters_open_for(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?, _ base: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let (path, base) = (try CAPI.path(path), try optionalPath(base, "base"))
        return AdaptersBox([try Adapter.read(path: path, base: base)], from: Sources(path, base))
    }
}

@c @implementation
public func loragen_adapters_count(_ adapters: OpaquePointer?) -> Int {
    existing(adapters, as: AdaptersBox.self)?.samples.count ?? 0
}

@c @implementation
public func loragen_adapters_tensor_count(_ adapters: OpaquePointer?) -> Int {
    existing(adapters, as: AdaptersBox.self)?.tensorCount ?? 0
}

@c @implementation
public func loragen_adapters_module_count(_ adapters: OpaquePointer?) -> Int {
    existing(adapters, as: AdaptersBox.self)?.modules.count ?? 0
}

@c @implementation
public func loragen_adapters_tensor(
    _ adapters: OpaquePointer?, _ sample: Int, _ index: Int, _ out: UnsafeMutablePointer<loragen_tensor>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try object(adapters, "adapters", as: AdaptersBox.self)
        guard let out else { throw nullArgument("out") }
        out.pointee = try box.tensor(sample, index)
    }
}

@c @implementation
public func loragen_adapters_module(
    _ adapters: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<loragen_module>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try object(adapters, "adapters", as: AdaptersBox.self)
        guard let out else { throw nullArgument("out") }
        try check(index, below: box.modules.count, "index")
        out.pointee = box.modules[index]
    }
}

@c @implementation
public func loragen_adapters_origin(_ adapters: OpaquePointer?, _ sample: Int) -> UnsafePointer<CChar>? {
    guard let box = existing(adapters, as: AdaptersBox.self), box.origins.indices.contains(sample) else { return nil }
    return box.origins[sample]
}

@c @implementation
public func loragen_adapters_dlpack(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ adapters: OpaquePointer?, _ sample: Int, _ index: Int
) -> loragen_status {
    guard let out else {
        return status { () throws(LoragenError) in throw nullArgument("out") }
    }
    out.pointee = nil
    return work { () throws(LoragenError) in
        let box = try object(adapters, "adapters", as: AdaptersBox.self)
        let tensor = try box.tensor(sample, index)
        let managed = UnsafeMutablePointer<capi_dlpack>.allocate(capacity: 1)
        managed.initialize(
            to: capi_dlpack(
                data: UnsafeMutableRawPointer(mutating: tensor.data), device_type: Int32(CAPI_DLPACK_CPU), device_id: 0,
                ndim: tensor.rank, type_code: UInt8(CAPI_DLPACK_FLOAT), type_bits: 32, type_lanes: 1,
                shape: UnsafeMutablePointer(mutating: tensor.shape), strides: nil, byte_offset: 0,
                manager_context: Unmanaged.passRetained(box).toOpaque(),
                deleter: { managed in
                    guard let managed else { return }
                    if let box = managed.pointee.manager_context {
                        Unmanaged<AdaptersBox>.fromOpaque(box).release()
                    }
                    managed.deallocate()
                }))
        out.pointee = OpaquePointer(managed)
    }
}

@c @implementation
public func loragen_adapters_save(
    _ adapters: OpaquePointer?, _ sample: Int, _ path: UnsafePointer<CChar>?, _ format: Int32,
    _ options: UnsafePointer<loragen_save_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let box = try object(adapters, "adapters", as: AdaptersBox.self)
        try check(sample, below: box.samples.count, "sample")
        let path = try CAPI.path(path)
        var options = try WriteOptions(options, "options")
        options.sources = box.sources
        try box.samples[sample].write(to: path, format: try AdapterFormat(format, for: path), options: options)
    }
}

@c @implementation
public func loragen_adapters_free(_ adapters: OpaquePointer?) {
    release(adapters, as: AdaptersBox.self)
}
