import Tensor

/// A vocabulary's tokens by their bytes. The children of a node stand side by side, their bytes in ascending order.
struct Trie {
    private struct Node {
        var firstChild: Int32 = 0
        var children: Int32 = 0
        /// -1 where no token ends.
        var id: Int32 = -1
    }

    private var nodes: [Node] = [Node()]
    /// The byte that leads to each node.
    private var labels: [UInt8] = [0]

    static let root: Int32 = 0

    init() {}

    /// Of equal tokens the last counts. Throws where memory runs short.
    init(_ tokens: [(token: UTF8Text, id: Int32)], source: String) throws(LoragenError) {
        let bytes = tokens.reduce(0) { $0 + $1.token.count }
        guard bytes < 1 << 29 else {
            throw LoragenError(.unsupported, "\(source): a vocabulary of \(bytes) bytes; expected less than \(1 << 29)")
        }
        try Memory.require(Double(bytes) * 14 + Double(tokens.count) * 64, for: "\(source): its vocabulary")
        // Stable for equal tokens.
        let order = tokens.indices.sorted { a, b in
            let (x, y) = (tokens[a].token, tokens[b].token)
            return x == y ? a < b : x.lexicographicallyPrecedes(y)
        }
        var level: [(node: Int, range: Range<Int>)] = [(0, 0..<order.count)]
        var depth = 0
        while !level.isEmpty {
            var next: [(node: Int, range: Range<Int>)] = []
            for (node, range) in level {
                var place = range.lowerBound
                while place < range.upperBound, tokens[order[place]].token.count == depth {
                    nodes[node].id = tokens[order[place]].id
                    place += 1
                }
                nodes[node].firstChild = Int32(clamping: nodes.count)
                while place < range.upperBound {
                    let label = tokens[order[place]].token[depth]
                    var end = place + 1
                    while end < range.upperBound, tokens[order[end]].token[depth] == label { end += 1 }
                    next.append((nodes.count, place..<end))
                    nodes.append(Node())
                    labels.append(label)
                    nodes[node].children += 1
                    place = end
                }
            }
            level = next
            depth += 1
        }
    }

    /// The node that a byte leads to, `nil` if no token goes on so.
    @inline(__always)
    func child(_ node: Int32, _ byte: UInt8) -> Int32? {
        let entry = nodes[Int(node)]
        var (low, high) = (entry.firstChild, entry.firstChild + entry.children)
        let end = high
        while low < high {
            let middle = (low + high) / 2
            if labels[Int(middle)] < byte { low = middle + 1 } else { high = middle }
        }
        return low < end && labels[Int(low)] == byte ? low : nil
    }

    /// The token that ends at a node, -1 if none does.
    @inline(__always)
    func id(_ node: Int32) -> Int32 { nodes[Int(node)].id }

    func node(_ bytes: some Sequence<UInt8>, from start: Int32 = Trie.root) -> Int32? {
        var node = start
        for byte in bytes {
            guard let next = child(node, byte) else { return nil }
            node = next
        }
        return node
    }

    /// The token of exactly these bytes.
    func id(_ bytes: some Sequence<UInt8>) -> Int32? {
        guard let node = node(bytes) else { return nil }
        let id = id(node)
        return id >= 0 ? id : nil
    }

    /// The scalars of each token, in no order.
    func scalarCounts() -> [Int] {
        // Children stand behind their parents.
        var (depths, counts) = ([Int](repeating: 0, count: nodes.count), [Int]())
        for (node, entry) in nodes.enumerated() {
            if entry.id >= 0 { counts.append(depths[node]) }
            for child in 0..<Int(entry.children) {
                let place = Int(entry.firstChild) + child
                depths[place] = depths[node] + (labels[place] & 0xc0 == 0x80 ? 0 : 1)
            }
        }
        return counts
    }
}
