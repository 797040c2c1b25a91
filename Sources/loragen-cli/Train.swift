import ArgumentParser
import CLoragen
import Files

struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a generator on a corpus of adapters.",
        discussion: """
            Trains on the corpus's training tasks, chooses by its validation tasks and measures the result, beside the \
            baselines, on its test tasks. The report is part of the written file.

              loragen train digits/ digits.loragen.safetensors
              loragen train digits/ quick.loragen.safetensors --set steps=500
              loragen train digits/ ridge.loragen.safetensors --method ridge
              loragen train digits/ digits.loragen.safetensors --checkpoint digits.checkpoint
              loragen train words/ words.loragen.safetensors --encoder all-MiniLM-L6-v2/

            Methods and their presets; the first is the default of each:

            \(methodTable())

            The baselines' default learns updates, as the report's own do.

            With --checkpoint, Ctrl-C and running the same command again goes on where it stopped, to the same bytes.
            """)

    @Argument(help: "The corpus: a folder of PEFT adapters, or a packed .safetensors file.")
    var corpus: String

    @Argument(help: "The generator file to write.")
    var out: String

    @Option(help: "A method; the list is above.")
    var method = "cond-pdiff"

    @Option(help: "A preset of the method; the list is above.")
    var preset: String?

    @Option(name: .customLong("set"), help: ArgumentHelp("Override one setting of the preset.", valueName: "key=value"))
    var settings: [Setting] = []

    @Option(parsing: .unconditional, help: "Another seed gives another generator; the same seed gives the same bytes.")
    var seed: UInt64 = 0

    @Option(help: ArgumentHelp("A file that keeps the state of an unfinished training.", valueName: "path"))
    var checkpoint: String?

    @Option(help: ArgumentHelp("Refuse to hold more memory than this: 800M, 4G.", valueName: "size"))
    var memoryLimit: ByteCount?

    @OptionGroup var encoders: EncoderFolders

    @Option(
        help: ArgumentHelp(
            "The field of the manifest to be asked by: conditions (also bits, condition), text, images, none. The first of "
                + "them that there is, if left out.", valueName: "field"))
    var condition: String?

    @OptionGroup var computing: Computing

    func run() throws {
        try computing.apply()
        let corpus = try make(about: .corpus) { loragen_corpus_open($0, self.corpus) }
        defer { loragen_corpus_free(corpus) }
        try train(on: corpus)
        let generator = try make { loragen_generator_open($0, out) }
        defer { loragen_generator_free(generator) }
        print("wrote \(out)")
        print(string(loragen_generator_report_text(generator, 1)))
    }

    private func train(on corpus: OpaquePointer) throws {
        let progress = ProgressLine()
        let status = try withOptions { options in
            options.progress = ProgressLine.callback
            options.payload = progress.payload
            return try encoders.with { texts, images in
                (options.encoder, options.image_encoder) = (texts, images)
                return loragen_train(corpus, out, &options)
            }
        }
        progress.finish()
        if Interruption.happened && status == loragen_status(LORAGEN_CANCELLED) {
            printError(
                checkpoint == nil
                    ? "Stopped; nothing was written. With --checkpoint PATH a stopped training can go on."
                    : "Stopped. The same command goes on from \(checkpoint ?? "").")
            throw ExitCode(Interruption.exitCode)
        }
        try call(status, about: .training)
    }

    private func withOptions(
        _ body: (inout loragen_training_options) throws -> loragen_status
    ) throws -> loragen_status {
        var overrides = JSONObject()
        for setting in settings { overrides[setting.key] = setting.value }
        let json = settings.isEmpty ? nil : try JSON.object(overrides).text()
        return try method.withCString { method in
            try withCString(preset) { preset in
                try withCString(json) { json in
                    try withCString(checkpoint) { checkpoint in
                        try withCString(condition) { condition in
                            var options = loragen_training_options()
                            options.struct_size = MemoryLayout<loragen_training_options>.size
                            options.method = method
                            options.preset = preset
                            options.settings = json
                            options.seed = seed
                            options.memory_limit = memoryLimit?.bytes ?? 0
                            options.checkpoint = checkpoint
                            options.condition = condition
                            return try body(&options)
                        }
                    }
                }
            }
        }
    }
}

/// `key=value`; the value is JSON, or else a word.
struct Setting: ExpressibleByArgument {
    var key: String
    var value: JSON

    init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else { return nil }
        key = String(argument[..<equals])
        let text = String(argument[argument.index(after: equals)...])
        value = (try? JSON.parse(text, source: key)) ?? .string(text)
    }
}

/// A number of bytes with K, M or G (powers of 1024) or without.
struct ByteCount: ExpressibleByArgument {
    var bytes: UInt64

    init?(argument: String) {
        let units: [Character: UInt64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        let unit = argument.last.flatMap { units[Character($0.uppercased())] }
        guard let number = UInt64(unit == nil ? argument[...] : argument.dropLast()) else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
        if overflow { return nil }
        self.bytes = bytes
    }
}

/// The library's methods with their presets, a line each; those with the same presets share one.
private func methodTable() -> String {
    let names = try? JSON.parse(string(loragen_names()), source: "names")
    var lines: [(methods: [String], presets: String)] = []
    for method in names?["methods"]?.array ?? [] {
        let presets = (method["presets"]?.array ?? []).compactMap(\.string).joined(separator: ", ")
        let name = method["name"]?.string ?? ""
        if let last = lines.last, last.presets == presets, method["baseline"]?.bool ?? false {
            lines[lines.count - 1].methods.append(name)
        } else {
            lines.append(([name], presets))
        }
    }
    return lines.map { line in
        let methods = line.methods.joined(separator: ", ")
        let gap =
            methods.count < 16
            ? String(repeating: " ", count: 17 - methods.count) : "\n" + String(repeating: " ", count: 19)
        return "  " + methods + gap + line.presets
    }.joined(separator: "\n")
}
