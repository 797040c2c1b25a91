import ArgumentParser
import CLoragen
import Files

struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a generator makes and wants to be told; or a basis, or a compact adapter.",
        discussion: """
              loragen info digits.loragen.safetensors
              loragen info digits.loragen.safetensors --check
              loragen info llama.basis.safetensors
              loragen info my.compact.safetensors
            """)

    @Argument(help: "The generator file, basis or compact adapter.")
    var generator: String

    @Flag(help: "Read all of the file and compare it with its hash, which opening does not.")
    var check = false

    func run() throws {
        switch (try? SafetensorsFile(path: self.generator))?.metadata["format"] {
        case "loragen.basis":
            let basis = try make { loragen_basis_open($0, self.generator) }
            defer { loragen_basis_free(basis) }
            return print(try compactInfo(string(loragen_basis_json(basis))))
        case "loragen.compact":
            let compact = try make { loragen_compact_open($0, self.generator) }
            defer { loragen_compact_free(compact) }
            return print(try compactInfo(string(loragen_compact_json(compact))))
        default: break
        }
        let generator = try make(about: .generator) { loragen_generator_open($0, self.generator) }
        defer { loragen_generator_free(generator) }
        let info = try describe(generator)
        print("method      \(string(info.method)), preset \(info.preset == nil ? "–" : string(info.preset))")
        print("base model  \(info.base_model == nil ? "not named" : string(info.base_model))")
        print("condition   \(try conditionText(info, generator))")
        print("adapter     \(info.module_count) modules, \(info.tensor_count) tensors, \(info.value_count) numbers")
        if info.sampler != nil {
            print("sampler     \(string(info.sampler)), \(info.steps) steps, guidance \(info.guidance)")
        }
        if check { try call(loragen_generator_check(generator), about: .generator) }
        print("hash        \(string(info.hash))\(check ? ", the file's own" : "")")
        print()
        var rows: [[String]] = []
        for index in 0..<info.module_count {
            var module = loragen_module()
            try call(loragen_generator_module(generator, index, &module))
            rows.append([
                string(module.name), String(module.inputs), String(module.outputs), String(module.rank),
                plain(module.alpha),
            ])
        }
        print(table(["module", "inputs", "outputs", "rank", "alpha"], rows))
    }

    /// "text: 384 numbers of an encoder (bert, mean, identity 12ab...) (--text)".
    private func text(_ part: (name: String, kind: String, length: Int, encoder: String?)) -> String {
        let option = ["text": "--text", "images": "--image"][part.name] ?? "--part \(part.name)=..."
        guard let about = part.encoder.flatMap({ try? JSON.parse($0, source: "encoder") }) else {
            return "\(part.name): \(part.kind) of \(part.length) (\(option))"
        }
        let names = ["family", "architecture", "pooling"].compactMap { about[$0]?.string }
        let identity = about["identity"]?.string?.prefix(16) ?? ""
        return "\(part.name): \(part.kind) for an encoder of \(part.length) numbers, "
            + "\((names + ["identity \(identity)"]).joined(separator: ", ")) (\(option))"
    }

    private func conditionText(_ info: loragen_generator_info, _ generator: OpaquePointer) throws -> String {
        switch Int(info.condition_kind) {
        case LORAGEN_CONDITION_VECTOR: "a vector of \(info.condition_length) numbers (--condition)"
        case LORAGEN_CONDITION_BITS: "\(info.condition_length) bits (--bits)"
        case LORAGEN_CONDITION_NONE: "none"
        default:
            try conditionParts(of: generator).map(text).joined(separator: ", ")
        }
    }
}

func describe(_ generator: OpaquePointer) throws -> loragen_generator_info {
    var info = loragen_generator_info()
    info.struct_size = MemoryLayout<loragen_generator_info>.size
    try call(loragen_generator_describe(generator, &info))
    return info
}
