import Adapters
import Files
import Learning
import NN
import Tensor

/// The adapters of a collection by their similarity to one.
public struct Neighbours: Sendable {
    public struct Neighbour: Sendable {
        public let name: String
        /// `nil` when one of the two is zero.
        public let similarity: Double?
        public let distance: Double
        public let norm: Double
    }

    /// The most similar first.
    public let neighbours: [Neighbour]
    /// What could not be compared, and why.
    public let skipped: [(name: String, reason: String)]
    /// Of the adapter itself.
    public let norm: Double

    public var json: JSON {
        [
            "norm": .number(norm),
            "neighbours": .array(
                neighbours.map {
                    [
                        "path": .string($0.name), "similarity": $0.similarity.map { .number($0) } ?? .null,
                        "distance": .number($0.distance), "norm": .number($0.norm),
                    ]
                }),
            "skipped": .array(skipped.map { ["path": .string($0.name), "reason": .string($0.reason)] }),
        ]
    }

    public var text: String {
        let rows = neighbours.map {
            [$0.similarity.map { decimal($0, 4) } ?? "–", compact($0.distance), compact($0.norm), $0.name]
        }
        var lines = columns([["cosine", "distance", "norm", "adapter"]] + rows)
        lines += skipped.prefix(10).map { "skipped \($0.name): \($0.reason)" }
        if skipped.count > 10 { lines.append("and \(skipped.count - 10) more skipped") }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension AdapterCollection {
    /// Holds one adapter of the collection at a time. Throws `.mismatch` when none of them fits.
    public func nearest(to adapter: Adapter, count: Int) throws(LoragenError) -> Neighbours {
        var found: [Neighbours.Neighbour] = []
        var skipped = problems.map { (name: path, reason: $0.message) }
        var norm: Double?
        for item in items {
            do throws(LoragenError) {
                let other = try read(item)
                let similarity = try Similarity(adapter, other)
                norm = similarity.norms.0
                found.append(
                    Neighbours.Neighbour(
                        name: item.name, similarity: similarity.cosine, distance: similarity.distance,
                        norm: similarity.norms.1))
            } catch {
                if error.code == .memory { throw error }
                skipped.append((item.name, error.message))
            }
        }
        guard let norm else {
            throw LoragenError(
                .mismatch,
                "\(path): none of its \(items.count) adapters can be compared; the first: \(skipped.first?.reason ?? "")"
            )
        }
        // Equals stay in the order of their names.
        let sorted = found.enumerated().sorted { a, b in
            let (x, y) = (a.element.similarity ?? -2, b.element.similarity ?? -2)
            return x == y ? a.offset < b.offset : x > y
        }
        return Neighbours(neighbours: sorted.prefix(count).map(\.element), skipped: skipped, norm: norm)
    }
}

/// Rows as lines, every column as wide as its widest cell; all but the last to the right.
func columns(_ rows: [[String]]) -> [String] {
    guard let first = rows.first else { return [] }
    let widths = first.indices.map { column in rows.reduce(0) { max($0, $1[column].count) } }
    return rows.map { row in
        row.enumerated().map { column, cell in
            let fill = String(repeating: " ", count: widths[column] - cell.count)
            return column == first.count - 1 ? cell : fill + cell
        }.joined(separator: "  ")
    }
}

extension Comparison {
    /// For people: the whole, then a line for each module.
    public var text: String {
        var lines = [
            "cosine    \(similarity.map { decimal($0, 6) } ?? "– (one of them is zero)")",
            "distance  \(compact(distance))", "norms     \(compact(norms.0)) and \(compact(norms.1))",
        ]
        if let first = baseModels.0, let second = baseModels.1, first != second {
            lines.append("The adapters name different base models: \(first) and \(second).")
        }
        func pair(_ value: (Spectrum) -> Double, _ module: Module) -> String {
            "\(compact(value(module.spectra.0)))/\(compact(value(module.spectra.1)))"
        }
        let rows = modules.map { module in
            [
                module.similarity.map { decimal($0, 4) } ?? "–", compact(module.distance), pair(\.norm, module),
                pair(\.effectiveRank, module), decimal(module.rightOverlap, 3), decimal(module.leftOverlap, 3),
                module.name,
            ]
        }
        let header = ["cosine", "distance", "norms", "effective ranks", "reads", "writes", "module"]
        lines += [""] + columns([header] + rows)
        lines += ["", "reads, writes: mean squared cosine between the subspaces, 1 when one lies in the other"]
        return lines.joined(separator: "\n") + "\n"
    }
}
