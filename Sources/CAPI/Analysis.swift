// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import Adapters
import CLoragen
import Files
import Learning
import Reports
import Tensor

/// What a `loragen_analysis` is.
private final class AnalysisBox {
    let json: UnsafePointer<CChar>
    let text: UnsafePointer<CChar>
    let svg: UnsafePointer<CChar>?
    let errors: Int
    private let arena = Arena()

    init(json: JSON, text: String, svg: String? = nil, errors: Int = 0) throws(LoragenError) {
        self.json = arena.text(try json.text())
        self.text = arena.text(text)
        self.svg = arena.text(svg)
        self.errors = errors
    }
}

@c @implementation
public func loragen_compare(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ a: OpaquePointer?, _ sampleA: Int, _ b: OpaquePointer?,
    _ sampleB: Int
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let first = try object(a, "a", as: AdaptersBox.self).sample(sampleA, "sample_a")
        let second = try object(b, "b", as: AdaptersBox.self).sample(sampleB, "sample_b")
        let comparison = try Comparison(first, second)
        return try AnalysisBox(json: comparison.json, text: comparison.text)
    }
}

@c @implementation
public func loragen_nearest(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ adapters: OpaquePointer?, _ sample: Int,
    _ folder: UnsafePointer<CChar>?, _ count: Int
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let adapter = try object(adapters, "adapters", as: AdaptersBox.self).sample(sample, "sample")
        let collection = try AdapterCollection(path: try path(folder, "folder"))
        let neighbours = try collection.nearest(to: adapter, count: count > 0 ? count : Int.max)
        return try AnalysisBox(json: neighbours.json, text: neighbours.text)
    }
}

@c @implementation
public func loragen_doctor(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?,
    _ options: UnsafePointer<loragen_doctor_options>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let path = try CAPI.path(path)
        let options = try CAPI.options(options, over: loragen_doctor_options(), "options")
        let diagnosis = try Diagnosis(
            path: path, memoryLimit: Int(clamping: options.memory_limit),
            progress: closure(options.progress, options.payload))
        return try AnalysisBox(
            json: diagnosis.json, text: diagnosis.text, svg: diagnosis.svg, errors: diagnosis.errorCount)
    }
}

@c @implementation
public func loragen_corpus_import(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ folder: UnsafePointer<CChar>?,
    _ options: UnsafePointer<loragen_import_options>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let folder = try path(folder, "folder")
        let options = try CAPI.options(options, over: loragen_import_options(), "options")
        let draft = try CorpusImport(path: folder, options: CorpusImport.Options(options))
        return try AnalysisBox(json: draft.json, text: draft.text)
    }
}

extension CorpusImport.Options {
    fileprivate init(_ options: loragen_import_options) throws(LoragenError) {
        self.init()
        seed = options.seed
        if options.rank < 0 { throw LoragenError(.invalidArgument, "rank is \(options.rank); expected 0 or more") }
        try check(options.group, below: 1 << 40, "group")
        try check(options.same_base_count, below: 1 << 20, "same_base_count")
        group = options.group
        rank = Int(clamping: options.rank)
        keepsCheckpoints = options.keep_checkpoints != 0
        isTrial = options.dry_run != 0
        if options.same_base_count == 0 { return }
        guard let list = options.same_base else { throw nullArgument("same_base") }
        for index in 0..<options.same_base_count {
            let pair = try text(list[index], "same_base")
            let names = pair.split(separator: "=", maxSplits: 1).map(String.init)
            guard names.count == 2 else {
                throw LoragenError(
                    .invalidArgument, "same_base \"\(shortened(pair))\": expected two names of one base model, A=B")
            }
            sameBase.append((names[0], names[1]))
        }
    }
}

@c @implementation
public func loragen_analysis_json(_ analysis: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(analysis, as: AnalysisBox.self)?.json
}

@c @implementation
public func loragen_analysis_text(_ analysis: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(analysis, as: AnalysisBox.self)?.text
}

@c @implementation
public func loragen_analysis_svg(_ analysis: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(analysis, as: AnalysisBox.self)?.svg
}

@c @implementation
public func loragen_analysis_errors(_ analysis: OpaquePointer?) -> Int {
    existing(analysis, as: AnalysisBox.self)?.errors ?? 0
}

@c @implementation
public func loragen_analysis_free(_ analysis: OpaquePointer?) {
    release(analysis, as: AnalysisBox.self)
}
