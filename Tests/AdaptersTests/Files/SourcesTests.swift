import Glibc
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

@Suite("A source is never the target") struct SourcesTests {
    let scratch: Scratch
    let adapter: Adapter

    init() throws {
        scratch = try Scratch()
        adapter = try randomAdapter()
        try adapter.write(to: scratch("peft"), format: .peft)
        try adapter.write(to: scratch("a.npz"), format: .npz)
        try adapter.write(to: scratch("a.safetensors"), format: .safetensors)
    }

    /// The same file by other names.
    private func names(of file: String) -> [String] {
        symlink(scratch(file), scratch("soft-" + splitPath(file).name))
        link(scratch(file), scratch("hard-" + splitPath(file).name))
        return [
            file, "./" + file, "peft/../" + file, "soft-" + splitPath(file).name, "hard-" + splitPath(file).name,
        ]
        .map { scratch($0) }
    }

    private func isRefused(_ target: String, _ body: () throws -> Void) -> Bool {
        let error = failure { try body() }
        return error.code == .invalidArgument && contains(error.message, target)
            && contains(error.message, "what is read")
    }

    @Test("Conversion refuses its source by whatever name, and leaves it") func convert() throws {
        let before = try contents(scratch("a.npz"))
        for target in names(of: "a.npz") {
            #expect(
                isRefused(target) {
                    try Conversion.run(from: scratch("a.npz"), to: target, format: .npz, options: WriteOptions())
                }, "\(target)")
        }
        #expect(try contents(scratch("a.npz")) == before)
        for name in ["adapter_model.safetensors", "adapter_config.json"] {
            for target in names(of: "peft/" + name) {
                #expect(
                    isRefused(target) {
                        try Conversion.run(
                            from: scratch("peft"), to: target, format: .safetensors, options: WriteOptions())
                    }, "\(target)")
            }
        }
        for target in ["peft", "peft/", "peft/."] {
            #expect(
                isRefused(scratch("peft")) {
                    try Conversion.run(
                        from: scratch("peft"), to: scratch(target), format: .peft, options: WriteOptions())
                })
        }
        // A folder that the source only lies in is no source.
        try Conversion.run(from: scratch("a.npz"), to: scratch.path, format: .peft, options: WriteOptions())
        #expect(try contents(scratch("a.npz")) == before)
        try Conversion.run(from: scratch("peft"), to: scratch("peft/new.npz"), format: .npz, options: WriteOptions())
    }

    @Test("The base model that a format needs is no target either") func base() throws {
        let config = #"{"model_type":"llama","num_attention_heads":4,"num_key_value_heads":1}"#
        try write(config, to: scratch("config.json"))
        for base in [scratch("config.json"), scratch("peft/../config.json")] {
            var options = WriteOptions()
            options.base = base
            #expect(
                isRefused(scratch("config.json")) {
                    try adapter.write(to: scratch("config.json"), format: .gguf, options: options)
                })
        }
        #expect(try contents(scratch("config.json")) == Array(config.utf8))
    }

    @Test("Merging refuses model and adapter, files and folders, links too") func merge() throws {
        mkdir(scratch("base"), 0o755)
        var writer = SafetensorsWriter(metadata: [:])
        for module in adapter.layout.modules {
            try writer.add(
                module.name + ".weight", shape: [module.outputs, module.inputs],
                elements: [Float](repeating: 1, count: module.outputs * module.inputs))
        }
        try writer.write(to: scratch("base/model.safetensors"))
        let before = try contents(scratch("base/model.safetensors"))
        symlink(scratch("base"), scratch("base-link"))
        for mode in [Application.Mode.merge, .unmerge] {
            for target in ["base", "base/", "base-link", "peft/../base"] {
                #expect(
                    isRefused(scratch(target)) {
                        try Application.run(
                            model: scratch("base"), adapter: scratch("peft"), to: scratch(target), mode: mode)
                    }, "\(target)")
            }
            for target in names(of: "base/model.safetensors") + [scratch("a.safetensors")] {
                #expect(
                    isRefused(target) {
                        try Application.run(
                            model: scratch("base/model.safetensors"), adapter: scratch("a.safetensors"), to: target,
                            mode: mode)
                    }, "\(target)")
            }
        }
        #expect(try contents(scratch("base/model.safetensors")) == before)
        // Written twice to a folder of its own inside the model: no source of the second run.
        for _ in 0..<2 {
            try Application.run(
                model: scratch("base"), adapter: scratch("peft"), to: scratch("base/merged"), mode: .merge)
        }
        #expect(try contents(scratch("base/model.safetensors")) == before)
        for (model, target) in [("base", "x.safetensors"), ("base/model.safetensors", "x.onnx")] {
            let error = failure {
                try Application.run(model: scratch(model), adapter: scratch("peft"), to: scratch(target), mode: .merge)
            }
            #expect(error.code == .invalidArgument && contains(error.message, target))
        }
    }
}
