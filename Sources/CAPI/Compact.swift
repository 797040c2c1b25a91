// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import Adapters
import CLoragen
import Files
import Formats
import Hosts
import Tensor

/// What a `loragen_basis` is.
final class BasisBox {
    let basis: Basis
    fileprivate let modules: [loragen_module]
    fileprivate let json: UnsafePointer<CChar>
    private let arena = Arena()

    init(_ basis: Basis) throws(LoragenError) {
        let arena = arena
        self.basis = basis
        modules = basis.layout.modules.map { loragen_module($0, in: arena) }
        json = arena.text(try basis.json.text())
    }
}

/// What a `loragen_compact` is.
final class CompactBox {
    let compact: CompactAdapter
    fileprivate let deltas: UnsafePointer<Float>
    fileprivate let json: UnsafePointer<CChar>
    private let arena = Arena()

    init(_ compact: CompactAdapter) throws(LoragenError) {
        self.compact = compact
        deltas = arena.values(compact.deltas)
        json = arena.text(try compact.json.text())
    }
}

private func basis(_ handle: OpaquePointer?) throws(LoragenError) -> BasisBox {
    try object(handle, "basis", as: BasisBox.self)
}

private func compact(_ handle: OpaquePointer?) throws(LoragenError) -> CompactAdapter {
    try object(handle, "compact", as: CompactBox.self).compact
}

// MARK: - Basis

extension BasisOptions {
    fileprivate init(_ given: loragen_basis_options) throws(LoragenError) {
        self.init()
        if let name = try optionalText(given.method, "method") {
            guard let known = BasisMethod(rawValue: name) else {
                throw LoragenError(.invalidArgument, "method is \"\(name)\"; expected svfit or loldu")
            }
            method = known
        }
        if given.rank < 0 { throw LoragenError(.invalidArgument, "rank is \(given.rank); expected 0 or more") }
        rank = given.rank == 0 ? nil : Int(given.rank)
        if let list = try optionalText(given.targets, "targets") {
            targets = list.split(separator: ",").map { String($0) }
        }
        prefix = try optionalText(given.prefix, "prefix") ?? ""
        if given.tolerance != 0 { tolerance = given.tolerance }
        guard Int(given.dtype) != LORAGEN_Q8_0 else {
            throw LoragenError(.invalidArgument, "a basis cannot be written as Q8_0")
        }
        type = try ElementType(given.dtype)
        memoryLimit = Int(clamping: given.memory_limit)
        checkpoint = try optionalPath(given.checkpoint, "checkpoint")
        pivots = try optionalPath(given.pivots, "pivots")
        guard let callback = given.progress else { return }
        let payload = given.payload
        progress = { progress in
            progress.module.withCString { module in
                var report = loragen_progress(
                    struct_size: MemoryLayout<loragen_progress>.size, stage: module, step: Int64(progress.done),
                    steps: Int64(progress.count), loss: .nan, validation_skill: .nan, best_skill: .nan,
                    steps_per_second: .nan, seconds_left: progress.secondsLeft)
                return callback(&report, payload) != 0
            }
        }
    }
}

@c @implementation
public func loragen_basis_compute(
    _ base: UnsafePointer<CChar>?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<loragen_basis_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let (base, path) = (try CAPI.path(base, "base"), try CAPI.path(path))
        var defaults = loragen_basis_options()
        defaults.rank = 16
        let given = try CAPI.options(options, over: defaults, "options")
        try BasisComputation.run(base: base, to: path, options: try BasisOptions(given))
    }
}

@c @implementation
public func loragen_basis_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in try BasisBox(try Basis(path: try CAPI.path(path))) }
}

@c @implementation
public func loragen_basis_check(_ basis: OpaquePointer?, _ base: UnsafePointer<CChar>?) -> loragen_status {
    work { () throws(LoragenError) in try CAPI.basis(basis).basis.check(base: try path(base, "base")) }
}

@c @implementation
public func loragen_basis_module_count(_ basis: OpaquePointer?) -> Int {
    existing(basis, as: BasisBox.self)?.modules.count ?? 0
}

@c @implementation
public func loragen_basis_module(
    _ basis: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<loragen_module>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try CAPI.basis(basis)
        guard let out else { throw nullArgument("out") }
        try check(index, below: box.modules.count, "index")
        out.pointee = box.modules[index]
    }
}

@c @implementation
public func loragen_basis_columns(_ basis: OpaquePointer?, _ index: Int) -> Int {
    guard let box = existing(basis, as: BasisBox.self), box.modules.indices.contains(index) else { return 0 }
    return box.basis.layout.modules[index].columns
}

@c @implementation
public func loragen_basis_factors(
    _ basis: OpaquePointer?, _ index: Int, _ left: UnsafeMutablePointer<Float>?, _ sigma: UnsafeMutablePointer<Float>?,
    _ right: UnsafeMutablePointer<Float>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let box = try CAPI.basis(basis)
        try check(index, below: box.modules.count, "index")
        let factors = try box.basis.factors(of: index)
        for (target, values) in [(left, factors.left), (sigma, factors.sigma), (right, factors.right)] {
            target?.update(from: values, count: values.count)
        }
    }
}

@c @implementation
public func loragen_basis_json(_ basis: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(basis, as: BasisBox.self)?.json
}

@c @implementation
public func loragen_basis_free(_ basis: OpaquePointer?) {
    release(basis, as: BasisBox.self)
}

// MARK: - Compact adapters

@c @implementation
public func loragen_compact_create(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ basis: OpaquePointer?, _ deltas: UnsafePointer<Float>?,
    _ count: Int, _ rank: Int32
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let basis = try CAPI.basis(basis).basis
        guard let deltas else { throw nullArgument("deltas") }
        if rank < 0 { throw LoragenError(.invalidArgument, "rank is \(rank); expected 0 or more") }
        let rank = rank == 0 ? nil : Int(rank)
        let expected = basis.layout.modules.reduce(0) { $0 + min(rank ?? $1.rank, $1.rank) }
        // Compared before the memory is read.
        if count != expected {
            throw LoragenError(
                .mismatch, "\(UInt(bitPattern: count)) numbers; the basis has \(expected) directions in all")
        }
        let values = Array(UnsafeBufferPointer(start: deltas, count: count))
        return try CompactBox(try CompactAdapter(basis: basis, deltas: values, rank: rank))
    }
}

@c @implementation
public func loragen_compact_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in try CompactBox(try CompactAdapter(path: try CAPI.path(path))) }
}

@c @implementation
public func loragen_compact_save(
    _ compact: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ coordinates: Int32
) -> loragen_status {
    work { () throws(LoragenError) in
        let compact = try CAPI.compact(compact)
        let path = try CAPI.path(path)
        switch Int(coordinates) {
        case LORAGEN_COORDINATES_ABSOLUTE: try compact.write(to: path)
        case LORAGEN_COORDINATES_RELATIVE: try compact.write(to: path, coordinates: .relative)
        default:
            throw LoragenError(
                .invalidArgument, "coordinates is \(coordinates); expected a LORAGEN_COORDINATES_ constant")
        }
    }
}

@c @implementation
public func loragen_compact_save_psoft(_ compact: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> loragen_status {
    work { () throws(LoragenError) in try PSOFTFolder.write(try CAPI.compact(compact), to: try CAPI.path(path)) }
}

@c @implementation
public func loragen_compact_open_psoft(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?, _ basis: OpaquePointer?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let (path, basis) = (try CAPI.path(path), try CAPI.basis(basis).basis)
        return try CompactBox(try PSOFTFolder.read(path: path, basis: basis))
    }
}

@c @implementation
public func loragen_compact_deltas(_ compact: OpaquePointer?) -> UnsafePointer<Float>? {
    existing(compact, as: CompactBox.self)?.deltas
}

@c @implementation
public func loragen_compact_count(_ compact: OpaquePointer?) -> Int {
    existing(compact, as: CompactBox.self)?.compact.count ?? 0
}

@c @implementation
public func loragen_compact_json(_ compact: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(compact, as: CompactBox.self)?.json
}

/// The expansion that a caller's options ask for, and the rank to cut to.
private func expansion(
    _ handle: OpaquePointer?, _ basis: OpaquePointer?, _ options: loragen_expand_options
) throws(LoragenError) -> (expansion: CompactExpansion, rank: Int?) {
    var adapter = try compact(handle)
    if options.rank < 0 { throw LoragenError(.invalidArgument, "rank is \(options.rank); expected 0 or more") }
    if options.limit != 0 { adapter = try adapter.limited(to: options.limit) }
    return (
        try CompactExpansion(adapter, basis: try CAPI.basis(basis).basis), options.rank == 0 ? nil : Int(options.rank)
    )
}

@c @implementation
public func loragen_compact_expand(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ compact: OpaquePointer?, _ basis: OpaquePointer?,
    _ options: UnsafePointer<loragen_expand_options>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let options = try CAPI.options(options, over: loragen_expand_options(), "options")
        let (expansion, rank) = try expansion(compact, basis, options)
        let adapter = if let rank { try expansion.adapter(rank: rank).adapter } else { try expansion.adapter() }
        return AdaptersBox([adapter], from: Sources(try CAPI.basis(basis).basis.path))
    }
}

@c @implementation
public func loragen_compact_expand_file(
    _ compact: OpaquePointer?, _ basis: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ format: Int32,
    _ options: UnsafePointer<loragen_expand_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let options = try CAPI.options(options, over: loragen_expand_options(), "options")
        let path = try CAPI.path(path)
        let (expansion, rank) = try expansion(compact, basis, options)
        let format = try AdapterFormat(format, for: path)
        var writing = try WriteOptions(options.save, "save")
        guard let rank else { return try expansion.write(to: path, format: format, options: writing) }
        writing.sources.add(try CAPI.basis(basis).basis.path)
        try expansion.adapter(rank: rank).adapter.write(to: path, format: format, options: writing)
    }
}

@c @implementation
public func loragen_compact_project(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ adapters: OpaquePointer?, _ sample: Int, _ basis: OpaquePointer?,
    _ least: Double, _ captured: UnsafeMutablePointer<Double>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let adapter = try object(adapters, "adapters", as: AdaptersBox.self).sample(sample, "sample")
        if !least.isFinite || least > 1 {
            throw LoragenError(.invalidArgument, "least is \(least); expected at most 1")
        }
        let projection = try CompactProjection(
            adapter, basis: try CAPI.basis(basis).basis, least: least < 0 ? CompactProjection.least : least)
        captured?.pointee = projection.total
        return try CompactBox(projection.adapter)
    }
}

@c @implementation
public func loragen_compact_truncate(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ compact: OpaquePointer?, _ count: Int,
    _ lost: UnsafeMutablePointer<Double>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let cut = try CAPI.compact(compact).truncated(to: count < 0 ? Int.max : count)
        lost?.pointee = cut.lost
        return try CompactBox(cut.adapter)
    }
}

@c @implementation
public func loragen_compact_free(_ compact: OpaquePointer?) {
    release(compact, as: CompactBox.self)
}
