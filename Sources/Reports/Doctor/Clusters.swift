import Adapters
import Glibc

/// Which adapters lie together, by a distance. By their directions alone that is the chord `√(2 − 2 cos)` between unit
/// vectors: 0 for the same direction, √2 for orthogonal ones, 2 for opposite ones.
struct Clusters {
    /// An edge of the shortest tree that joins all: single linkage, in rising order of length.
    struct Edge {
        let a: Int
        let b: Int
        let length: Double
    }

    let edges: [Edge]
    let count: Int

    /// Closer than this is the same update in float32: the factors' own rounding.
    static let same = 1e-3
    /// Closer than this (a cosine of 0.99875) teaches a generator nothing new.
    static let near = 0.05
    /// Further than this (a cosine below 0.955) is another update, whatever is usual.
    static let apart = 0.3
    /// A jump by this factor in the sorted edges parts "the same run" from the rest.
    private static let jump = 1.8

    /// Prim's algorithm. All norms are positive.
    init(_ gram: Gram, by distance: (Gram, Int, Int) -> Double = chord) {
        count = gram.count
        var edges: [Edge] = []
        var best = [Double](repeating: .infinity, count: count)
        var from = [Int](repeating: 0, count: count)
        var isIn = [Bool](repeating: false, count: count)
        var next = 0
        for _ in 0..<count {
            isIn[next] = true
            var closest = -1
            for i in 0..<count where !isIn[i] {
                let length = distance(gram, next, i)
                if length < best[i] { (best[i], from[i]) = (length, next) }
                if closest < 0 || best[i] < best[closest] { closest = i }
            }
            if closest < 0 { break }
            edges.append(Edge(a: from[closest], b: closest, length: best[closest]))
            next = closest
        }
        self.edges = edges.enumerated().sorted { ($0.1.length, $0.0) < ($1.1.length, $1.0) }.map(\.1)
    }

    static func chord(_ gram: Gram, _ i: Int, _ j: Int) -> Double {
        max(0, 2 - 2 * (gram.similarity(i, j) ?? 0)).squareRoot()
    }

    /// `‖ΔW_i − ΔW_j‖` over the larger norm: the chord of updates of one norm; strength counts.
    static func difference(_ gram: Gram, _ i: Int, _ j: Int) -> Double {
        (gram.squaredDistance(i, j) / max(gram[i, i], gram[j, j])).squareRoot()
    }

    /// Sets of more than one whose members are joined by edges up to a length.
    func sets(upTo length: Double) -> [[Int]] {
        merged { $0.length <= length }.filter { $0.count > 1 }.map { $0.sorted() }.sorted { $0[0] < $1[0] }
    }

    /// All in an order in which neighbours lie together, for a picture.
    var order: [Int] { merged { _ in true }.first ?? [] }

    /// The length below which edges are far shorter than the rest, so that they join checkpoints of one run; `nil` when
    /// there is no such jump, or when it would only cut off a few outliers. `count` are the adapters in question, edges up
    /// to `minimum` are left out.
    func gap(above minimum: Double) -> Double? {
        let lengths = edges.map(\.length).filter { $0 > minimum }
        var found: (ratio: Double, length: Double)?
        for i in lengths.indices.dropLast() where lengths[i + 1] >= max(Self.apart, Self.jump * lengths[i]) {
            let sets = merged { $0.length <= lengths[i] }
            let largest = sets.reduce(0) { max($0, $1.count) }
            // Several sets, none of which is most of the adapters.
            guard sets.count >= 2, largest * 3 <= count * 2 || sets.count >= 4 && largest * 5 <= count * 4 else {
                continue
            }
            let ratio = lengths[i + 1] / lengths[i]
            if ratio > found?.ratio ?? 0 { found = (ratio, lengths[i]) }
        }
        return found?.length
    }

    private func merged(_ isJoining: (Edge) -> Bool) -> [[Int]] {
        var sets = (0..<count).map { [$0] }
        var place = Array(0..<count)
        for edge in edges where isJoining(edge) {
            var (a, b) = (place[edge.a], place[edge.b])
            if a == b { continue }
            // The smaller set goes into the larger one, so that all merges take n log n.
            if sets[a].count < sets[b].count { swap(&a, &b) }
            for i in sets[b] { place[i] = a }
            sets[a] += sets[b]
            sets[b] = []
        }
        return sets.filter { !$0.isEmpty }
    }
}
