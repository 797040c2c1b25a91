import ArgumentParser
import CLoragen

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check an adapter before it leaves: against its base model and against what hosts do with it.",
        discussion: """
            Reads no weights of the base model, only its headers and configs. Exits with 1 when a host would refuse the \
            adapter or compute something else (errors; with --strict warnings too), with 0 otherwise.

              loragen verify my-adapter --base llama/
              loragen verify my-adapter --base llama/config.json
              loragen verify my.gguf --base llama.gguf
              loragen verify my.safetensors --base stable-diffusion-pipeline/ --json
              loragen verify my-adapter --corpus digits/
            """)

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var adapter: String

    @Option(
        help: ArgumentHelp(
            "The base model: its folder, config.json, .safetensors, index of shards, GGUF or ONNX file.",
            valueName: "path"))
    var base: String?

    @Option(help: ArgumentHelp("A corpus whose adapters say which norms are usual.", valueName: "path"))
    var corpus: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Fail on warnings too.")
    var strict = false

    func run() throws {
        let verification = try withCString(base) { base in
            try withCString(corpus) { corpus in
                try make { loragen_verify($0, adapter, base, corpus) }
            }
        }
        defer { loragen_verification_free(verification) }
        print(string(json ? loragen_verification_json(verification) : loragen_verification_text(verification)))
        let isBad =
            loragen_verification_errors(verification) > 0
            || strict && loragen_verification_warnings(verification) > 0
        if isBad { throw ExitCode(1) }
    }
}
