import ArgumentParser
import CLoragen
import Files

struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hold two adapters against each other, in all and module by module.",
        discussion: """
            As updates of the base model, so that other factors, ranks or alphas of the same product count as the same: \
            cosine and distance, norms, effective ranks (1 when one direction has everything, the rank when all are \
            equal), and how far the subspaces that they read and write overlap. --json has the principal angles in \
            radians and all singular values.

              loragen compare my-adapter other-adapter
              loragen compare my-adapter other.safetensors --json | jq .similarity
            """)

    @Argument(help: "An adapter: a PEFT folder or a file.")
    var a: String

    @Argument(help: "Another one, of the same base model.")
    var b: String

    @Flag(help: "Print JSON; docs/doctor.md has the schema.")
    var json = false

    func run() throws {
        let first = try make { loragen_adapters_open($0, a) }
        defer { loragen_adapters_free(first) }
        let second = try make { loragen_adapters_open($0, b) }
        defer { loragen_adapters_free(second) }
        let analysis = try make { loragen_compare($0, first, 0, second, 0) }
        defer { loragen_analysis_free(analysis) }
        show(analysis, json)
    }
}

struct Nearest: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find the adapters of a folder that are most similar to one.",
        discussion: """
              loragen nearest my-adapter digits/
              loragen nearest my-adapter digits/ -n 3 --json
            """)

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var adapter: String

    @Argument(help: "A corpus, or any folder with adapters below it.")
    var folder: String

    @Option(name: .customShort("n"), parsing: .unconditional, help: "How many to list; 0 for all.")
    var count = 10

    @Flag(help: "Print JSON; docs/doctor.md has the schema.")
    var json = false

    func validate() throws {
        if count < 0 { throw ValidationError("-n \(count): expected 0 or more") }
    }

    func run() throws {
        let adapter = try make { loragen_adapters_open($0, self.adapter) }
        defer { loragen_adapters_free(adapter) }
        let analysis = try make { loragen_nearest($0, adapter, 0, folder, count) }
        defer { loragen_analysis_free(analysis) }
        show(analysis, json)
    }
}

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at a folder of adapters before training on it.",
        discussion: """
            Groups by base model and modules; copies and checkpoints of one run; outliers; dead layers; values that are \
            not finite; spectra; and whether the adapters have enough in common to learn from. Each finding says what to \
            do. The exit status is 1 when there are errors.

              loragen doctor digits/
              loragen doctor digits/ --picture digits.svg
              loragen doctor digits/ --json | jq '.findings[].code'
            """)

    @Argument(help: "A corpus, or any folder with adapters below it.")
    var path: String

    @Flag(help: "Print JSON; docs/doctor.md has the schema.")
    var json = false

    @Option(help: ArgumentHelp("Draw similarities, spectra and norms into an SVG file.", valueName: "file"))
    var picture: String?

    @Option(
        help: ArgumentHelp(
            "Hold at most this of weights, 1G by default; similarities are estimated beyond.", valueName: "size"))
    var memoryLimit: ByteCount?

    @OptionGroup var computing: Computing

    func validate() throws {
        if let picture, !picture.hasSuffix(".svg") {
            throw ValidationError("--picture \(picture): an SVG is drawn; expected a name that ends in .svg")
        }
    }

    func run() throws {
        try computing.apply()
        let progress = ProgressLine()
        var options = loragen_doctor_options()
        options.struct_size = MemoryLayout<loragen_doctor_options>.size
        options.memory_limit = memoryLimit?.bytes ?? 0
        options.progress = ProgressLine.callback
        options.payload = progress.payload
        let status = Result { try make(about: .analysis) { loragen_doctor($0, path, &options) } }
        withExtendedLifetime(progress) { progress.finish() }
        let analysis = try status.get()
        defer { loragen_analysis_free(analysis) }
        if let picture {
            let file = try AtomicFile(path: picture)
            try file.append(string(loragen_analysis_svg(analysis)))
            try file.commit()
        }
        show(analysis, json)
        if loragen_analysis_errors(analysis) > 0 { throw ExitCode.failure }
    }
}

func show(_ analysis: OpaquePointer, _ json: Bool) {
    print(
        string(json ? loragen_analysis_json(analysis) : loragen_analysis_text(analysis)), terminator: json ? "\n" : "")
}
