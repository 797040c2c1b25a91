import Tensor

/// Names that transformers 5 gives the weights of a checkpoint on loading, where they are not those of the file. An
/// adapter that was trained there has the new ones (seen with transformers 5.23).
public enum TransformersNames {
    /// ViT: what stands after `encoder.layer.N`, and what `layers.N` has in its place.
    private static let vit = [
        "attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj",
        "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
    ]

    /// The new name of a weight, `nil` if it keeps the file's.
    public static func renamed(_ weight: String) -> String? {
        let parts = weight.split(separator: ".", omittingEmptySubsequences: false)
        guard let encoder = parts.firstIndex(of: "encoder"), encoder + 4 < parts.count, parts[encoder + 1] == "layer",
            let new = vit[parts[(encoder + 3)...].dropLast().joined(separator: ".")]
        else { return nil }
        let path = parts[..<encoder] + ["layers", parts[encoder + 2], Substring(new)] + parts.suffix(1)
        return path.joined(separator: ".")
    }
}
