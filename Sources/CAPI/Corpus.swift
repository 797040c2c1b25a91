// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Learning
import Tensor

/// What a `loragen_corpus` is.
private final class CorpusBox {
    let corpus: Corpus
    let entries: [loragen_corpus_entry]
    private let arena = Arena()

    init(_ corpus: Corpus) {
        self.corpus = corpus
        let arena = arena
        entries = corpus.entries.map { entry in
            loragen_corpus_entry(
                path: arena.text(entry.path), task: arena.text(entry.task), run: arena.text(entry.run),
                text: arena.text(entry.text), bits: arena.text(entry.bits),
                condition: entry.numbers.map { arena.values($0) }, condition_length: entry.numbers?.count ?? 0,
                split: Int32(entry.split.rawValue))
        }
    }
}

/// The corpus of a handle.
func corpus(_ handle: OpaquePointer?) throws(LoragenError) -> Corpus {
    try object(handle, "corpus", as: CorpusBox.self).corpus
}

@c @implementation
public func loragen_corpus_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ path: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let corpus = try Corpus(path: try CAPI.path(path))
        for remark in corpus.remarks { remark.log() }
        return CorpusBox(corpus)
    }
}

@c @implementation
public func loragen_corpus_check(
    _ path: UnsafePointer<CChar>?,
    _ problem: (@convention(c) (UnsafePointer<CChar>?, UnsafeMutableRawPointer?) -> Int32)?,
    _ payload: UnsafeMutableRawPointer?
) -> loragen_status {
    work { () throws(LoragenError) in
        let first = Corpus.check(path: try CAPI.path(path), remark: { $0.log() }) { error in
            guard let problem else { return false }
            return error.message.withCString { problem($0, payload) } != 0
        }
        if let first { throw first }
    }
}

@c @implementation
public func loragen_corpus_count(_ corpus: OpaquePointer?) -> Int {
    existing(corpus, as: CorpusBox.self)?.entries.count ?? 0
}

@c @implementation
public func loragen_corpus_entry_at(
    _ corpus: OpaquePointer?, _ index: Int, _ out: UnsafeMutablePointer<loragen_corpus_entry>?
) -> loragen_status {
    status { () throws(LoragenError) in
        let box = try object(corpus, "corpus", as: CorpusBox.self)
        guard let out else { throw nullArgument("out") }
        try check(index, below: box.entries.count, "index")
        out.pointee = box.entries[index]
    }
}

@c @implementation
public func loragen_corpus_init(_ folder: UnsafePointer<CChar>?, _ seed: UInt64) -> loragen_status {
    work { () throws(LoragenError) in
        try Corpus.draft(path: try path(folder, "folder"), seed: seed)
    }
}

@c @implementation
public func loragen_corpus_unpack(_ corpus: OpaquePointer?, _ folder: UnsafePointer<CChar>?) -> loragen_status {
    work { () throws(LoragenError) in
        try CAPI.corpus(corpus).unpack(to: try path(folder, "folder"))
    }
}

@c @implementation
public func loragen_corpus_free(_ corpus: OpaquePointer?) {
    release(corpus, as: CorpusBox.self)
}
