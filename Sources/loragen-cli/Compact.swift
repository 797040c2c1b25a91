import ArgumentParser
import CLoragen
import Files
import Formats

struct BasisCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "basis",
        abstract: "Compute the frozen directions of a base model's weights, for compact adapters.",
        discussion: """
            Once for each base model. Compact adapters of it are then one number per direction, and become ordinary LoRA \
            adapters with `loragen expand`.

              loragen basis llama/ -o llama.basis.safetensors --targets q_proj,v_proj
              loragen basis llama/ -o llama.basis.safetensors --rank 64 --dtype float16 --memory-limit 1G
              loragen basis vit/ -o vit.basis.safetensors --rank 0
              loragen basis llama/ -o llama.loldu.safetensors --method loldu
              loragen basis llama/ --check llama.basis.safetensors

            svfit: the largest singular triplets of each weight. loldu: partial LU with pivots. With --checkpoint, Ctrl-C \
            and running the same command again goes on where it stopped.
            """)

    @Argument(help: "The base model: a .safetensors file, or a folder of them, sharded or not.")
    var base: String

    @Option(name: .shortAndLong, help: ArgumentHelp("The basis file to write.", valueName: "path"))
    var out: String?

    @Option(help: ArgumentHelp("Compare this basis file with the weights, and write nothing.", valueName: "path"))
    var check: String?

    @Option(help: "svfit or loldu.")
    var method = "svfit"

    @Option(parsing: .unconditional, help: "Directions of each weight, at most as many as it has; 0: all of them.")
    var rank: Int32 = 16

    @Option(
        help: ArgumentHelp(
            "Modules by names or last components, commas between; all linear layers and convolutions if left out.",
            valueName: "names"))
    var targets: String?

    @Option(help: ArgumentHelp("Put before the checkpoint's names: transformer. of GPT-2.", valueName: "text"))
    var prefix: String?

    @Option(parsing: .unconditional, help: "svfit: stop when |Wv - su| / s is below this.")
    var tolerance = 1e-5

    @Option(help: "Element type of the written factors: float32, float16 or bfloat16.")
    var dtype = ElementType.float32

    @Option(help: ArgumentHelp("Hold at most this much memory beside the mapped weights: 800M, 4G.", valueName: "size"))
    var memoryLimit: ByteCount?

    @Option(help: ArgumentHelp("A folder that keeps finished modules of an unfinished run.", valueName: "path"))
    var checkpoint: String?

    @Option(help: ArgumentHelp("loldu: take the pivots of this basis or compact adapter.", valueName: "path"))
    var pivots: String?

    @OptionGroup var computing: Computing

    func validate() throws {
        if (out == nil) == (check == nil) {
            throw ValidationError("Give -o to write a basis, or --check to compare one.")
        }
    }

    func run() throws {
        try computing.apply()
        if let check {
            let basis = try make { loragen_basis_open($0, check) }
            defer { loragen_basis_free(basis) }
            try call(loragen_basis_check(basis, base))
            print("\(check) is of these weights: \(loragen_basis_module_count(basis)) modules compared")
            return
        }
        guard let out else { return }
        let progress = ProgressLine()
        let status = withOptions { options in
            options.progress = ProgressLine.callback
            options.payload = progress.payload
            return loragen_basis_compute(base, out, &options)
        }
        progress.finish()
        try call(status)
        print("wrote \(out)")
    }

    private func withOptions(_ body: (inout loragen_basis_options) -> loragen_status) -> loragen_status {
        method.withCString { method in
            withCString(targets) { targets in
                withCString(prefix) { prefix in
                    withCString(checkpoint) { checkpoint in
                        withCString(pivots) { pivots in
                            var options = loragen_basis_options()
                            options.struct_size = MemoryLayout<loragen_basis_options>.size
                            options.method = method
                            options.rank = rank
                            options.targets = targets
                            options.prefix = prefix
                            options.tolerance = tolerance
                            options.dtype = dtype.code
                            options.memory_limit = memoryLimit?.bytes ?? 0
                            options.checkpoint = checkpoint
                            options.pivots = pivots
                            return body(&options)
                        }
                    }
                }
            }
        }
    }
}

struct Expand: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn a compact adapter into an ordinary LoRA adapter, exactly.",
        discussion: """
            The basis is that of the adapter's base model (`loragen basis`); another model's is refused. What is written is \
            a LoRA of rank r on the unchanged base, which every host loads.

              loragen expand my.compact.safetensors --basis llama.basis.safetensors -o my-adapter
              loragen expand my.compact.safetensors --basis llama.basis.safetensors -o my.gguf --base llama/config.json
              loragen expand my.compact.safetensors --basis vit.basis.safetensors -o small --rank 8
              loragen expand my.compact.safetensors --basis vit.basis.safetensors -o trainable --psoft
              loragen merge llama/ my.compact.safetensors --basis llama.basis.safetensors -o merged/
            """)

    @Argument(help: "The compact adapter.")
    var adapter: String

    @Option(help: ArgumentHelp("The basis file of its base model.", valueName: "path"))
    var basis: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Where to write.", valueName: "path"))
    var out: String

    @Option(help: "What to write; the suffix of the target says it if left out.")
    var format: AdapterFormat?

    @Option(parsing: .unconditional, help: "Cut each update to this rank, the best there is; 0: as it is.")
    var rank: Int32 = 0

    @Option(
        parsing: .unconditional,
        help: "A trust region: no number changes more than this share of what the weight has; 0: none.")
    var limit = 0.0

    @Flag(
        help: """
            Write a PSOFT folder of PEFT instead: a few numbers that stay trainable, and a full SVD of each weight when it is \
            loaded.
            """)
    var psoft = false

    @OptionGroup var saving: Saving

    @OptionGroup var computing: Computing

    func validate() throws {
        if psoft && (format != nil || rank != 0 || limit != 0) {
            throw ValidationError("--psoft is a format of its own, without --format, --rank and --limit.")
        }
    }

    func run() throws {
        try computing.apply()
        if psoft {
            let compact = try make { loragen_compact_open($0, adapter) }
            defer { loragen_compact_free(compact) }
            try call(loragen_compact_save_psoft(compact, out))
            return print("wrote \(out) as PSOFT; PEFT computes a full SVD of each weight when it loads it")
        }
        let format = try AdapterFormat(format, path: out)
        let compact = try make { loragen_compact_open($0, adapter) }
        defer { loragen_compact_free(compact) }
        let basis = try make { loragen_basis_open($0, self.basis) }
        defer { loragen_basis_free(basis) }
        try call(
            saving.with { save in
                withUnsafePointer(to: save) { save in
                    var options = loragen_expand_options()
                    options.struct_size = MemoryLayout<loragen_expand_options>.size
                    options.rank = rank
                    options.limit = limit
                    options.save = save
                    return loragen_compact_expand_file(compact, basis, out, format.code, &options)
                }
            })
        print("wrote \(out) as \(format.name)")
    }
}

struct Project: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put an ordinary adapter on the directions of a basis, and say what of it is left.",
        discussion: """
            Exact for adapters that were expanded from compact ones. Of any other adapter the directions hold about as much \
            as chance, so less than half of its energy is refused unless --least says otherwise.

              loragen project my-adapter --basis llama.basis.safetensors -o my.compact.safetensors

            A PSOFT folder of PEFT is read too, where it is a diagonal: then it is the same thing.
            """)

    @Argument(help: "The adapter: a PEFT folder or a file.")
    var adapter: String

    @Option(help: ArgumentHelp("The basis file of its base model.", valueName: "path"))
    var basis: String

    @Option(name: .shortAndLong, help: ArgumentHelp("The compact adapter to write.", valueName: "path"))
    var out: String

    @Option(parsing: .unconditional, help: "The least share of the energy that has to be left, 0 to 1.")
    var least = 0.5

    @Option(parsing: .unconditional, help: "svfit: keep so many numbers of each module, the largest; 0: all.")
    var keep = 0

    @Option(help: ArgumentHelp("The base model of a GGUF adapter.", valueName: "path"))
    var base: String?

    @Flag(help: "Write numbers as shares of what the weight has.")
    var relative = false

    func validate() throws {
        if !(0...1).contains(least) { throw ValidationError("--least is a share from 0 to 1.") }
        if keep < 0 { throw ValidationError("--keep is a number of directions, 0 or more.") }
    }

    func run() throws {
        showLog()
        if try PSOFTFolder.isOne(adapter) {
            let basis = try make { loragen_basis_open($0, self.basis) }
            defer { loragen_basis_free(basis) }
            let compact = try make { loragen_compact_open_psoft($0, adapter, basis) }
            defer { loragen_compact_free(compact) }
            return try save(compact)
        }
        let adapters = try make { out in withCString(base) { loragen_adapters_open_for(out, adapter, $0) } }
        defer { loragen_adapters_free(adapters) }
        let basis = try make { loragen_basis_open($0, self.basis) }
        defer { loragen_basis_free(basis) }
        var captured = 0.0
        var compact = try make { loragen_compact_project($0, adapters, 0, basis, least, &captured) }
        defer { loragen_compact_free(compact) }
        print("kept \(fixed(100 * captured, 2)) % of the adapter's energy")
        if keep > 0 {
            var lost = 0.0
            let cut = try make { loragen_compact_truncate($0, compact, keep, &lost) }
            loragen_compact_free(compact)
            compact = cut
            print("dropped \(fixed(100 * lost, 2)) % of that with all but \(keep) numbers of each module")
        }
        try save(compact)
    }

    private func save(_ compact: OpaquePointer) throws {
        try call(
            loragen_compact_save(
                compact, out, Int32(relative ? LORAGEN_COORDINATES_RELATIVE : LORAGEN_COORDINATES_ABSOLUTE)))
        print("wrote \(out)")
    }
}

/// What `loragen info` shows of a basis or a compact adapter.
func compactInfo(_ text: String) throws -> String {
    let json = try JSON.parse(text, source: "info")
    func plainText(_ value: JSON?) -> String {
        switch value {
        case .string(let text)?: text
        case .integer(let number)?: String(number)
        case .number(let number)?: significant(number)
        default: "–"
        }
    }
    let isBasis = json["directions"] != nil
    var lines = [
        "method      \(plainText(json["method"]))",
        "base model  \(json["base_model"]?.string ?? "not named")",
        isBasis
            ? "directions  \(plainText(json["directions"])), stored as \(plainText(json["dtype"]))"
            : "numbers     \(plainText(json["numbers"]))",
    ]
    for member in json["metadata"]?.object?.members ?? [] {
        lines.append("\(member.name)  \(shortLine(plainText(member.value)))")
    }
    let columns =
        ["name", "outputs", "columns", "rank"]
        + (isBasis ? ["residual", "gap", "fingerprint"] : ["norm", "largest_relative_change", "fingerprint"])
    let rows = (json["modules"]?.array ?? []).map { module in columns.map { plainText(module[$0]) } }
    return lines.joined(separator: "\n") + "\n\n"
        + table(["module"] + columns.dropFirst().map { $0.replacing("_", with: " ") }, rows)
}

private func shortLine(_ text: String) -> String { text.count > 100 ? text.prefix(100) + "…" : text }
