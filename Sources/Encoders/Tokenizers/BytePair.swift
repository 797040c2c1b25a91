import Files
import Tensor

/// Byte-pair encoding (Sennrich et al. 2016): of all pairs of neighbours the one that was learned first is joined, until
/// none is left.
struct BytePair: Sendable {
    struct Options: Sendable {
        var unknown: Int32?
        var continuingPrefix: UTF8Text = []
        var endOfWordSuffix: UTF8Text = []
        var fusesUnknown = false
        var ignoresMerges = false
        /// The tokens of single bytes, if characters without a token become those.
        var bytes: [Int32?]?
    }

    /// What a pair becomes, and how early it was learned.
    struct Merge: Sendable {
        let rank: Int32
        let id: Int32
    }

    let vocabulary: Trie
    let merges: [UInt64: Merge]
    let options: Options

    static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    func callAsFunction(_ text: UTF8Text, into ids: inout [Int32]) {
        if text.isEmpty { return }
        if options.ignoresMerges, let id = vocabulary.id(text) { return ids.append(id) }
        let symbols = symbols(of: text)
        if symbols.count < 2 {
            ids += symbols
            return
        }
        ids += merged(symbols)
    }

    /// One token a scalar, before anything is joined.
    private func symbols(of text: UTF8Text) -> [Int32] {
        var symbols: [Int32] = []
        symbols.reserveCapacity(text.count)
        // `tokenizers` keeps an unknown character back until the next known one; bytes do not count as known.
        var pending: Int32?
        var place = 0
        while place < text.count {
            let end = min(text.count, place + scalar(text, at: place).length)
            var part = place == 0 ? [] : options.continuingPrefix
            part += text[place..<end]
            if end == text.count { part += options.endOfWordSuffix }
            place = end
            if let id = vocabulary.id(part) {
                if let unknown = pending { symbols.append(unknown) }
                pending = nil
                symbols.append(id)
            } else if let bytes = options.bytes, !part.contains(where: { bytes[Int($0)] == nil }) {
                for byte in part { if let id = bytes[Int(byte)] { symbols.append(id) } }
            } else if let unknown = options.unknown {
                if let last = pending, !options.fusesUnknown { symbols.append(last) }
                pending = unknown
            }
        }
        if let unknown = pending { symbols.append(unknown) }
        return symbols
    }

    /// A list of neighbours and a heap of the pairs that can be joined: n log n steps, whatever the text.
    private func merged(_ symbols: [Int32]) -> [Int32] {
        let count = symbols.count
        var ids = symbols
        var next = Array(1...count)
        var previous = Array(-1..<(count - 1))
        var isGone = [Bool](repeating: false, count: count)
        var heap = MergeHeap()
        func offer(_ place: Int) {
            let right = next[place]
            guard right < count, let merge = merges[Self.pair(ids[place], ids[right])] else { return }
            heap.push(MergeHeap.Entry(rank: merge.rank, place: place, id: merge.id))
        }
        for place in 0..<(count - 1) { offer(place) }
        while let top = heap.pop() {
            let place = top.place
            guard !isGone[place] else { continue }
            let right = next[place]
            // The pair may have become another since it was found.
            guard right < count, merges[Self.pair(ids[place], ids[right])]?.id == top.id else { continue }
            ids[place] = top.id
            isGone[right] = true
            next[place] = next[right]
            if next[place] < count { previous[next[place]] = place }
            if previous[place] >= 0 { offer(previous[place]) }
            offer(place)
        }
        return ids.indices.filter { !isGone[$0] }.map { ids[$0] }
    }
}

/// The merge that was learned first, and of equal ones the one furthest left.
private struct MergeHeap {
    struct Entry {
        let rank: Int32
        let place: Int
        let id: Int32

        func precedes(_ other: Entry) -> Bool { (rank, place) < (other.rank, other.place) }
    }

    private var entries: [Entry] = []

    mutating func push(_ entry: Entry) {
        entries.append(entry)
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child].precedes(entries[parent]) else { break }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Entry? {
        guard let top = entries.first, let last = entries.popLast() else { return nil }
        if entries.isEmpty { return top }
        entries[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1].precedes(entries[child]) { child += 1 }
            guard entries[child].precedes(entries[parent]) else { break }
            entries.swapAt(child, parent)
            parent = child
        }
        return top
    }
}
