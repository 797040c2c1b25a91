import Glibc
import Testing

@testable import Adapters
@testable import Generators

/// Writes the seeds of Tests/fuzz that this library makes; runs only when asked for.
@Test("Seeds for the fuzzers", .enabled(if: getenv("LORAGEN_FUZZ_SEEDS") != nil))
func fuzzSeeds() throws {
    let root = try #require(getenv("LORAGEN_FUZZ_SEEDS").map { String(cString: $0) })
    let modules = try [("q_proj", 32, 8), ("v_proj", 32, 4)].map {
        try ModuleShape(name: "model.layers.0.self_attn.\($0)", inputs: $1, outputs: $2, rank: 1, alpha: 2)
    }
    let layout = try Layout(modules: modules, baseModel: "tiny")
    let adapter = try Adapter(
        layout: layout, values: (0..<layout.valueCount).map { Float($0 % 7) - 3 }, metadata: ["note": "seed"])
    let formats: [(String, AdapterFormat, [ElementType])] = [
        ("adapter", .safetensors, [.f32, .bf16]), ("gguf", .gguf, [.f32, .f16]),
        ("onnx_adapter", .onnxAdapter, [.f32, .f16]), ("npz", .npz, [.f32, .f16]), ("onnx", .onnx, [.f32, .f16]),
    ]
    for (format, kind, types) in formats {
        mkdir("\(root)/\(format)", 0o777)
        for type in types {
            var options = WriteOptions(type: type)
            options.base = "architecture=llama,heads=2,kv-heads=1"
            try adapter.write(to: "\(root)/\(format)/\(type.rawValue)", format: kind, options: options)
        }
    }
    mkdir("\(root)/generator", 0o777)
    for method in ["mean", "ridge"] {
        let corpus = try Synthetic.shared.get().corpus
        try trainGenerator(corpus: corpus, path: "\(root)/generator/\(method)", options: tinyOptions(method: method))
    }
}
