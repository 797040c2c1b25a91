import Files
import Tensor

/// One vector a token, whatever stands beside it: Model2Vec, and sentence-transformers' StaticEmbedding.
struct StaticTower: TextTower {
    let width: Int
    private let table: EmbeddingTable
    /// Of a token, where the file has them.
    private let weights: [Float]?
    /// The row of a token, where tokens share rows.
    private let rows: [Int32]?

    var layers: Int { 0 }
    var positions: Int? { nil }
    var vocabulary: Int { rows?.count ?? table.rows }
    var bytesPerToken: Int { 12 * width }

    init(_ weights: EncoderWeights, name: String) throws(LoragenError) {
        guard let shape = weights.shape(name), shape.count == 2, EncoderConfig.widths.contains(shape[1]) else {
            throw LoragenError(
                .format,
                "\(weights.folder): tensor '\(name)' has shape \(weights.shape(name) ?? []); expected [tokens, numbers]"
            )
        }
        width = shape[1]
        table = try weights.table(name, width: width)
        var rows: [Int32]?
        if let count = weights.shape("mapping")?.first, let file = weights.files.first {
            let values: [Int64] =
                file.tensor("mapping")?.type == .i32
                ? try file.elements("mapping", of: Int32.self).map { Int64($0) } : try file.elements("mapping")
            guard values.count == count, values.allSatisfy({ $0 >= 0 && $0 < Int64(shape[0]) }) else {
                throw LoragenError(.format, "\(file.path): tensor 'mapping' leads to rows that 'embeddings' has not")
            }
            rows = values.map { Int32(clamping: $0) }
        }
        self.rows = rows
        if let count = weights.shape("weights")?.first {
            guard count >= (rows?.count ?? shape[0]) else {
                throw LoragenError(
                    .format, "\(weights.folder): tensor 'weights' has \(count) numbers for \(shape[0]) tokens")
            }
            self.weights = try weights.tensor("weights", [count]).values
        } else {
            self.weights = nil
        }
    }

    func states(_ ids: [Int32], lengths: [Int], layer: Int) throws(LoragenError)
        -> (chosen: Tensor<Float>, last: Tensor<Float>)
    {
        for id in ids where id < 0 || Int(id) >= vocabulary {
            throw LoragenError(.mismatch, "\(table.file.path): there is no row for the id \(id)")
        }
        let states = try table.gather(rows.map { rows in ids.map { rows[Int($0)] } } ?? ids)
        guard let weights else { return (states, states) }
        let weighted = states * Tensor(ids.map { weights[Int($0)] }, shape: [ids.count, 1])
        return (weighted, weighted)
    }
}
