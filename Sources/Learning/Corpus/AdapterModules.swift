import Adapters
import Hosts
import Tensor

/// Adapters of one layout, a module at a time.
public protocol AdapterModules {
    var count: Int { get }
    var layout: Layout { get throws(LoragenError) }
    /// One module of one adapter, as an adapter of its own.
    func module(_ module: Int, of row: Int) throws(LoragenError) -> Adapter
    /// For messages.
    func name(of row: Int) -> String
    /// The stored values of one adapter, if they are those of the layout.
    func reader(of row: Int) throws(LoragenError) -> (any AdapterReader)?
}

extension Array: AdapterModules where Element == Adapter {
    public var layout: Layout {
        get throws(LoragenError) {
            guard let first else {
                throw LoragenError(.mismatch, "the corpus has no adapter in its training split")
            }
            return first.layout
        }
    }

    public func module(_ module: Int, of row: Int) throws(LoragenError) -> Adapter { try self[row].module(module) }
    public func name(of row: Int) -> String { "adapter \(row + 1)" }
    public func reader(of row: Int) -> (any AdapterReader)? { nil }
}

/// Adapters of a corpus in their files. What was opened stays open for a while; modules stay in memory where `keeps` says
/// so. For one thread.
public final class CorpusModules: AdapterModules {
    private let corpus: Corpus
    private let indices: [Int]
    private let keeps: Bool
    private var open: [Int: any AdapterReader] = [:]
    /// Rows that are open, the newest last.
    private var order: [Int] = []
    private var kept: [Int: Adapter] = [:]
    /// Each open file takes address space, one of the process' maps, and some memory for each tensor: 256 MiB in all.
    var openLimit: Int
    /// Values of open adapters that are in memory, of formats that are read at once; those of one are always.
    private var held = 0
    var heldLimit: Int

    public var count: Int { indices.count }
    public var layout: Layout { corpus.layout }

    public init(_ corpus: Corpus, _ indices: [Int], keeps: Bool) {
        (self.corpus, self.indices, self.keeps) = (corpus, indices, keeps)
        openLimit = min(8192, max(256, (1 << 20) / max(1, corpus.layout.tensors.count)))
        heldLimit = Int(clamping: min(1 << 30, Memory.available / 4)) / MemoryLayout<Float>.size
    }

    /// Adapters that are open now.
    var openCount: Int { open.count }

    public func name(of row: Int) -> String { "\(corpus.path): \(corpus.entries[indices[row]].path)" }

    public func module(_ module: Int, of row: Int) throws(LoragenError) -> Adapter {
        let key = row * layout.modules.count + module
        if let adapter = kept[key] { return adapter }
        var adapter = try opened(row).module(module)
        if corpus.isRecut { adapter = try adapter.recut(rank: layout.modules[module].rank).adapter }
        if keeps { kept[key] = adapter }
        return adapter
    }

    public func reader(of row: Int) throws(LoragenError) -> (any AdapterReader)? {
        corpus.isRecut ? nil : try opened(row)
    }

    /// Which directions a corpus of compact adapters belongs to; nil for other corpora.
    func template() throws(LoragenError) -> CompactAdapter? { try corpus.template() }

    private func opened(_ row: Int) throws(LoragenError) -> any AdapterReader {
        if let reader = open[row] { return reader }
        let reader = try corpus.reader(at: indices[row]).sharing(corpus.layout)
        // Those who fit go through all rows for one module after the other. The newest gives way, so that the first ones are
        // open still when their turn comes again.
        while let newest = order.last, open.count >= openLimit || held > heldLimit - reader.heldValues {
            order.removeLast()
            held -= open.removeValue(forKey: newest)?.heldValues ?? 0
        }
        held += reader.heldValues
        order.append(row)
        open[row] = reader
        return reader
    }
}
