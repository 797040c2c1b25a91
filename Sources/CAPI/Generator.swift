// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import Adapters
import CLoragen
import Conditions
import Formats
import Generators
import Hosts
import Learning
import Tensor

/// What a `loragen_generator` is.
private final class GeneratorBox {
    let generator: Generator
    let info: loragen_generator_info
    let modules: [loragen_module]
    let conditions: [loragen_condition_info]
    let report: UnsafePointer<CChar>
    private let arena = Arena()
    private let (text, brief) = (LazyText(), LazyText())

    func reportText(isBrief: Bool) -> UnsafePointer<CChar>? {
        (isBrief ? brief : text) { generator.reportText(isBrief: isBrief) }
    }

    init(_ generator: Generator) {
        self.generator = generator
        let arena = arena
        let layout = generator.layout
        modules = layout.modules.map { loragen_module($0, in: arena) }
        conditions = generator.schema.parts.map { part in
            loragen_condition_info(
                struct_size: MemoryLayout<loragen_condition_info>.size, name: arena.text(part.name),
                kind: arena.text(part.kind.name), length: part.length,
                encoder: arena.text(part.encoder.flatMap { try? $0.description.text() }))
        }
        report = arena.text(generator.report)
        info = loragen_generator_info(
            struct_size: MemoryLayout<loragen_generator_info>.size,
            method: arena.text(generator.method),
            preset: arena.text(generator.preset),
            base_model: arena.text(layout.baseModel),
            condition_kind: generator.schema.code,
            condition_length: generator.schema.width,
            module_count: layout.modules.count,
            tensor_count: layout.tensors.count,
            value_count: layout.valueCount,
            sampler: arena.text(generator.sampler),
            steps: Int32(clamping: generator.steps),
            guidance: generator.guidance,
            hash: arena.text(generator.hash),
            condition_count: generator.schema.parts.count)
    }
}

@c @implementation
public func loragen_generator_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        GeneratorBox(try Generator(path: try CAPI.path(path)))
    }
}

@c @implementation
public func loragen_generator_open_with(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?,
    _ options: UnsafePointer<loragen_generator_options>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let given = try CAPI.options(options, over: loragen_generator_options(), "options")
        let encoders = try ConditionEncoders(given.encoder, given.image_encoder)
        return GeneratorBox(try Generator(path: try CAPI.path(path), encoders: encoders))
    }
}

@c @implementation
public func loragen_generator_describe(
    _ generator: OpaquePointer?, _ out: UnsafeMutablePointer<loragen_generator_info>?
) -> loragen_status {
    status { () throws(LoragenError) in
        try fill(out, with: try object(generator, "generator", as: GeneratorBox.self).info, "out")
    }
}

@c @implementation
public func loragen_generator_module(
    _ generator: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<loragen_module>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try object(generator, "generator", as: GeneratorBox.self)
        guard let out else { throw nullArgument("out") }
        try check(index, below: box.modules.count, "index")
        out.pointee = box.modules[index]
    }
}

@c @implementation
public func loragen_generator_condition(
    _ generator: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<loragen_condition_info>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try object(generator, "generator", as: GeneratorBox.self)
        try check(index, below: box.conditions.count, "index")
        try fill(out, with: box.conditions[index], "out")
    }
}

@c @implementation
public func loragen_generator_check(_ generator: OpaquePointer?) -> loragen_status {
    work { () throws(LoragenError) in
        try object(generator, "generator", as: GeneratorBox.self).generator.checkHash()
    }
}

@c @implementation
public func loragen_generator_report(_ generator: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(generator, as: GeneratorBox.self)?.report
}

@c @implementation
public func loragen_generator_report_text(_ generator: OpaquePointer?, _ brief: Int32) -> UnsafePointer<CChar>? {
    existing(generator, as: GeneratorBox.self)?.reportText(isBrief: brief != 0)
}

@c @implementation
public func loragen_generator_free(_ generator: OpaquePointer?) {
    release(generator, as: GeneratorBox.self)
}

@c @implementation
public func generate_lora(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ generator: OpaquePointer?,
    _ request: UnsafePointer<loragen_request>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let generator = try object(generator, "generator", as: GeneratorBox.self).generator
        if request == nil { throw nullArgument("request") }
        var defaults = loragen_request()
        defaults.guidance = -1
        let given = try options(request, over: defaults, "request")
        let asked = try GenerationRequest(given, for: generator)
        let progress = closure(given.progress, given.payload)
        guard let basis = try basis(given, for: generator) else {
            return AdaptersBox(try generator.generate(asked, progress: progress), from: generator.sources)
        }
        var drawn: [Adapter] = []
        for compact in try generator.generateCompact(asked, progress: progress) {
            drawn.append(try CompactExpansion(compact, basis: basis).adapter())
        }
        var sources = generator.sources
        sources.add(basis.path)
        return AdaptersBox(drawn, from: sources)
    }
}

/// The basis of a request to a generator of compact adapters; nil for other generators. Throws `.invalidArgument` without one.
private func basis(_ given: loragen_request, for generator: Generator) throws(LoragenError) -> Basis? {
    let basis = existing(given.basis, as: BasisBox.self)?.basis
    if generator.compactTemplate == nil {
        if basis == nil { return nil }
        throw LoragenError(
            .invalidArgument, "the request has a basis, and the generator makes ordinary adapters; leave it out")
    }
    guard let basis else {
        throw LoragenError(
            .invalidArgument,
            "the generator makes compact adapters, which need the basis of their base model to become others; give the "
                + "request one, or call loragen_generate_compact()")
    }
    return basis
}

@c @implementation
public func loragen_generator_is_compact(_ generator: OpaquePointer?) -> Int32 {
    existing(generator, as: GeneratorBox.self)?.generator.compactTemplate == nil ? 0 : 1
}

@c @implementation
public func loragen_generate_compact(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ generator: OpaquePointer?,
    _ request: UnsafePointer<loragen_request>?, _ sample: Int32
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let generator = try object(generator, "generator", as: GeneratorBox.self).generator
        if request == nil { throw nullArgument("request") }
        guard sample >= 0 else { throw LoragenError(.invalidArgument, "sample is \(sample); expected 0 or more") }
        var defaults = loragen_request()
        defaults.guidance = -1
        let given = try options(request, over: defaults, "request")
        return try CompactBox(
            try generator.generateCompact(
                try GenerationRequest(given, for: generator), sample: Int(sample),
                progress: closure(given.progress, given.payload)))
    }
}

@c @implementation
public func loragen_generate_file(
    _ generator: OpaquePointer?, _ request: UnsafePointer<loragen_request>?, _ path: UnsafePointer<CChar>?,
    _ given: UnsafePointer<loragen_file_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let generator = try object(generator, "generator", as: GeneratorBox.self).generator
        if request == nil { throw nullArgument("request") }
        var defaults = loragen_request()
        defaults.guidance = -1
        let request = try options(request, over: defaults, "request")
        var fileDefaults = loragen_file_options()
        fileDefaults.format = Int32(LORAGEN_FORMAT_BY_SUFFIX)
        let file = try options(given, over: fileDefaults, "options")
        var save = loragen_save_options()
        (save.dtype, save.keep_alpha) = (file.dtype, file.keep_alpha)
        if file.save != nil { save = try options(file.save, over: save, "save") }
        let path = try CAPI.path(path)
        let (asked, format) = (
            try GenerationRequest(request, for: generator), try AdapterFormat(file.format, for: path)
        )
        let progress = closure(request.progress, request.payload)
        if let basis = try basis(request, for: generator) {
            let compact = try generator.generateCompact(asked, sample: Int(file.sample), progress: progress)
            var options = try WriteOptions(save)
            options.sources = generator.sources
            return try CompactExpansion(compact, basis: basis).write(to: path, format: format, options: options)
        }
        try generator.write(
            asked, sample: Int(file.sample), to: path, format: format, options: try WriteOptions(save),
            memoryLimit: file.memory_limit, progress: progress)
    }
}

extension GenerationRequest {
    /// A caller's request; what could not be passed on safely is refused, what it means is the generator's to check.
    fileprivate init(_ given: loragen_request, for generator: Generator) throws(LoragenError) {
        self.init()
        condition = try Condition(given, for: generator.schema)
        seed = given.seed
        guard given.samples >= 0 && given.steps >= 0 else {
            throw LoragenError(
                .invalidArgument, "samples is \(given.samples) and steps is \(given.steps); expected at least 0")
        }
        samples = max(Int(given.samples), 1)
        if given.steps > 0 { steps = Int(given.steps) }
        guard given.guidance.isFinite else {
            throw LoragenError(.nonFinite, "guidance is \(given.guidance); expected a finite number")
        }
        if given.guidance >= 0 { guidance = given.guidance }
        sampler = try optionalText(given.sampler, "sampler")
    }
}

extension Condition {
    /// The most values that a request may give.
    private static let valueLimit = 4096

    /// What a request gives in one of three ways; nil if in none. Vectors are compared with the longest before they are read.
    fileprivate init?(_ given: loragen_request, for schema: Schema) throws(LoragenError) {
        let longest = schema.width
        let bits = try optionalText(given.bits, "bits")
        let ways = [given.condition != nil, bits != nil, given.conditions != nil]
        if ways.filter({ $0 }).count > 1 {
            throw LoragenError(
                .invalidArgument, "more than one of condition, bits and conditions is given; expected one of them")
        }
        self.init()
        if let bits { parts = Condition.bits(bits).parts }
        if given.condition != nil || given.condition_length != 0 {
            let data = UnsafeRawPointer(given.condition)
            parts = [Part(kind: VectorKind.name, try .vector(data, given.condition_length, longest, "condition"))]
        }
        let count = UInt(bitPattern: given.condition_count)
        guard given.conditions != nil || count == 0 else {
            throw LoragenError(.invalidArgument, "conditions is NULL and condition_count is \(count)")
        }
        guard count <= (schema.isPooled ? Self.valueLimit : schema.parts.count) else {
            throw LoragenError(
                .invalidArgument, "condition_count is \(count); this generator takes \(schema.phrase)")
        }
        for i in 0..<Int(count) {
            guard let value = given.conditions?[i] else { continue }
            parts.append(try Part(value, longest: longest, "conditions[\(i)]"))
        }
        if parts.isEmpty { return nil }
    }
}

extension Condition.Part {
    fileprivate init(_ given: loragen_condition, longest: Int, _ place: String) throws(LoragenError) {
        let kind = try optionalText(given.kind, "kind")
        guard let kind else {
            throw LoragenError(
                .invalidArgument,
                "\(place) has no kind; expected one of " + conditionKinds.names.joined(separator: ", "))
        }
        let name = try optionalText(given.name, "name")
        if kind == VectorKind.name {
            self.init(name, kind: kind, try .vector(given.data, given.size, longest, place))
            return
        }
        guard given.size >= 0, given.size <= 1 << 30, given.data != nil || given.size == 0 else {
            throw LoragenError(
                .invalidArgument,
                "\(place) has \(given.data == nil ? "no data" : "data") and \(UInt(bitPattern: given.size)) bytes")
        }
        try Memory.require(Double(given.size), for: "the bytes of \(place)")
        self.init(name, kind: kind, .bytes(Array(UnsafeRawBufferPointer(start: given.data, count: given.size))))
    }
}

extension ConditionValue {
    fileprivate static func vector(
        _ data: UnsafeRawPointer?, _ count: Int, _ longest: Int, _ place: String
    ) throws(LoragenError) -> ConditionValue {
        let length = UInt(bitPattern: count)
        guard let data else {
            throw LoragenError(.invalidArgument, "\(place) is NULL and its length is \(length)")
        }
        guard length <= UInt(longest) else {
            throw LoragenError(
                .mismatch, "\(place) has \(length) numbers; the generator's condition has \(longest)")
        }
        try Memory.require(4 * Double(count), for: "the numbers of \(place)")
        var numbers = [Float](repeating: 0, count: count)
        numbers.withUnsafeMutableBytes { $0.copyMemory(from: UnsafeRawBufferPointer(start: data, count: $0.count)) }
        return .numbers(numbers)
    }
}
