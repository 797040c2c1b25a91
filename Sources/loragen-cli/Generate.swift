import ArgumentParser
import CLoragen
import Files
import Formats
import Glibc

struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make adapters for a task, or for many.",
        discussion: """
            One adapter, as a PEFT folder, as one file, as ONNX initializers:

              loragen generate digits.loragen.safetensors --bits 0001100101 -o my
              loragen generate digits.loragen.safetensors --bits 0001100101 -o my.safetensors
              loragen generate styles.loragen.safetensors --condition 0.2,-1,0.5 -o my.onnx
              loragen generate styles.loragen.safetensors --part style=01 --part subject=0.2,-1 -o my
              loragen generate words.loragen.safetensors --encoder all-MiniLM-L6-v2/ --text "animals, not food" -o my
              loragen generate looks.loragen.safetensors --encoder clip-vit-base-patch32/ --image a.jpg --image b.jpg -o my

            Many at once, each named by its bits, inside the folder that -o names:

              loragen generate digits.loragen.safetensors --bits-file tasks -o adapters
              loragen generate digits.loragen.safetensors --all -o adapters

            A generator of compact adapters makes files of them, or ordinary adapters with the basis of their base model:

              loragen generate compact.loragen.safetensors --bits 0001100101 -o my.compact.safetensors
              loragen generate compact.loragen.safetensors --bits 0001100101 --basis vit.basis.safetensors -o my

            The same request with the same seed gives the same bytes. With --samples, sample i goes to PATH-i.
            """)

    /// The basis that is open while the command runs.
    nonisolated(unsafe) private static var directions: OpaquePointer?
    /// And the parts of the condition.
    nonisolated(unsafe) private static var parts: [Part] = []

    @Argument(help: "The generator file.")
    var generator: String

    @Option(help: "The task as bits: 0001100101.")
    var bits: String?

    @Option(
        parsing: .unconditional, help: ArgumentHelp("The task as a vector: 0.2,-1,0.5.", valueName: "numbers"))
    var condition: Vector?

    @Option(
        name: .customLong("part"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "One part of the task, of a generator that takes several: style=01, subject=0.2,-1, yes=\"a cat\", look=a.png. "
                + "Texts and pictures may be several. `loragen info` names the parts.",
            valueName: "name=value"))
    var parts: [String] = []

    @Option(
        name: .customLong("text"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("The task in words; several count by their mean. With --encoder.", valueName: "words"))
    var texts: [String] = []

    @Option(
        name: .customLong("image"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A picture, PNG, JPEG or WebP, of what is wanted; several count by their mean. With --encoder.",
            valueName: "path"))
    var images: [String] = []

    @OptionGroup var encoders: EncoderFolders

    @Option(help: ArgumentHelp("A file with the bits of one task on each line; - for stdin.", valueName: "file"))
    var bitsFile: String?

    @Flag(help: "All tasks of a generator of up to 16 bits.")
    var all = false

    @Option(parsing: .unconditional, help: "Another seed gives another adapter for the same task.")
    var seed: UInt64 = 0

    @Option(parsing: .unconditional, help: "Adapters to draw for each task.")
    var samples: Int32 = 1

    @Option(parsing: .unconditional, help: "Steps of the sampler; the generator's own if left out.")
    var steps: Int32?

    @Option(
        parsing: .unconditional,
        help: "0 ignores the condition, 1 follows it, more exaggerates it; the generator's own if left out.")
    var guidance: Float?

    @Option(help: "ddpm, ddim or dpm-solver++; the generator's own if left out.")
    var sampler: String?

    @Option(help: "What to write; the suffix of the path says it if left out, and a path without one is a PEFT folder.")
    var format: AdapterFormat?

    @Option(help: ArgumentHelp("Of compact adapters: the basis file of their base model.", valueName: "path"))
    var basis: String?

    @OptionGroup var saving: Saving

    @Option(
        help: ArgumentHelp(
            "Hold no more memory than this beside the generator file: 512M, 2G. The same bytes, written while they are made.",
            valueName: "bytes"))
    var memoryLimit: ByteCount?

    @Option(name: .shortAndLong, help: ArgumentHelp("Where to write.", valueName: "path"))
    var out: String

    @OptionGroup var computing: Computing

    func validate() throws {
        let given = [bits != nil, condition != nil, !(parts + texts + images).isEmpty, bitsFile != nil, all]
        if given.filter({ $0 }).count > 1 {
            throw ValidationError(
                "Give one of --bits, --condition, --bits-file and --all, or parts of the task: --part, --text, --image."
            )
        }
        if samples < 1 { throw ValidationError("--samples must be at least 1.") }
        if let steps, steps < 1 { throw ValidationError("--steps must be at least 1.") }
        if let guidance, !(guidance >= 0) { throw ValidationError("--guidance must be at least 0.") }
    }

    func run() throws {
        try computing.apply()
        let generator = try encoders.with { texts, images in
            var options = loragen_generator_options()
            options.struct_size = MemoryLayout<loragen_generator_options>.size
            (options.encoder, options.image_encoder) = (texts, images)
            return try make(about: .generator) { loragen_generator_open_with($0, self.generator, &options) }
        }
        defer { loragen_generator_free(generator) }
        let directions = try basis.map { path in try make { loragen_basis_open($0, path) } }
        defer { loragen_basis_free(directions) }
        Self.directions = directions
        Self.parts =
            try parts.map { try Part($0, of: generator) } + texts.map { Part($0, kind: "text") }
            + images.map { try Part(picture: $0) }
        let format = try AdapterFormat(format, path: out)
        if bitsFile != nil || all, self.format == nil, format != .peft {
            throw Failure(
                message: "\(out): many adapters go into a folder; expected a name without '\(format.suffix)'",
                next: "--format \(format.name) writes each as such a file.")
        }
        if let bitsFile {
            try makeMany(try tasks(in: bitsFile, for: generator), with: generator)
        } else if all {
            try makeMany(try allTasks(of: generator), with: generator)
        } else {
            try makeOne(bits, to: out, with: generator, isQuiet: false)
        }
    }

    private func makeMany(_ tasks: [String], with generator: OpaquePointer) throws {
        if mkdir(out, 0o777) != 0 && errno != EEXIST {
            throw Failure(message: "\(out): cannot be made: \(String(cString: strerror(errno)))")
        }
        let isTerminal = isatty(STDERR_FILENO) == 1
        for (index, task) in tasks.enumerated() {
            try makeOne(task, to: "\(out)/\(task)\(format?.suffix ?? "")", with: generator, isQuiet: true)
            if isTerminal {
                let line = "\(index + 1)/\(tasks.count) \(task)".prefix(ProgressLine.terminalWidth)
                printError("\r\u{1b}[K\(line)", terminator: "")
            }
        }
        if isTerminal { printError("\r\u{1b}[K", terminator: "") }
        print("wrote \(tasks.count) adapters into \(out)")
    }

    private func makeOne(_ bits: String?, to path: String, with generator: OpaquePointer, isQuiet: Bool) throws {
        let format = try AdapterFormat(format, path: path)
        if loragen_generator_is_compact(generator) != 0, basis == nil {
            return try makeCompact(bits, to: path, format, with: generator, isQuiet: isQuiet)
        }
        if let memoryLimit { return try stream(bits, to: path, format, with: generator, isQuiet, memoryLimit.bytes) }
        let adapters = try make(about: .generator) { out in
            withRequest(bits) { request in generate_lora(out, generator, &request) }
        }
        defer { loragen_adapters_free(adapters) }
        let count = loragen_adapters_count(adapters)
        for sample in 0..<count {
            let path = count == 1 ? path : numbered(path, sample, format)
            try call(
                saving.with { options in
                    loragen_adapters_save(adapters, sample, path, format.code, &options)
                })
            if !isQuiet { print("wrote \(path): \(try summary(of: adapters, sample))") }
        }
    }

    /// Files of compact adapters.
    private func makeCompact(
        _ bits: String?, to path: String, _ format: AdapterFormat, with generator: OpaquePointer, isQuiet: Bool
    ) throws {
        guard format == .safetensors else {
            throw Failure(
                message: "\(path): the generator makes compact adapters, whose files end in .safetensors",
                next: "--basis PATH, the basis file of their base model, makes ordinary adapters of them.")
        }
        for sample in 0..<samples {
            let path = samples == 1 ? path : numbered(path, Int(sample), format)
            let compact = try make(about: .generator) { out in
                withRequest(bits) { request in loragen_generate_compact(out, generator, &request, sample) }
            }
            defer { loragen_compact_free(compact) }
            try call(loragen_compact_save(compact, path, Int32(LORAGEN_COORDINATES_ABSOLUTE)))
            if !isQuiet { print("wrote \(path): \(loragen_compact_count(compact)) numbers") }
        }
    }

    private func stream(
        _ bits: String?, to path: String, _ format: AdapterFormat, with generator: OpaquePointer, _ isQuiet: Bool,
        _ memoryLimit: UInt64
    ) throws {
        let line = ProgressLine()
        defer { line.finish() }
        for sample in 0..<samples {
            let path = samples == 1 ? path : numbered(path, Int(sample), format)
            try call(
                saving.with { save in
                    withUnsafePointer(to: save) { save in
                        var options = loragen_file_options()
                        options.struct_size = MemoryLayout<loragen_file_options>.size
                        (options.format, options.sample, options.save) = (format.code, sample, save)
                        options.memory_limit = memoryLimit
                        return withRequest(bits) { request in
                            (request.progress, request.payload) = (ProgressLine.callback, line.payload)
                            return loragen_generate_file(generator, &request, path, &options)
                        }
                    }
                }, about: .generator)
            if !isQuiet { print("wrote \(path): \(try Origin(writtenTo: path).text)") }
        }
    }

    private func withRequest(_ bits: String?, _ body: (inout loragen_request) -> loragen_status) -> loragen_status {
        withCString(bits) { bits in
            withCString(sampler) { sampler in
                (condition?.values ?? []).withUnsafeBufferPointer { values in
                    var request = loragen_request()
                    request.struct_size = MemoryLayout<loragen_request>.size
                    request.condition = condition == nil ? nil : values.baseAddress
                    request.condition_length = values.count
                    request.bits = bits
                    request.seed = seed
                    request.samples = samples
                    request.steps = steps ?? 0
                    request.guidance = guidance ?? -1
                    request.sampler = sampler
                    request.basis = Self.directions
                    let conditions = Self.parts.map(\.value)
                    return conditions.withUnsafeBufferPointer { conditions in
                        request.conditions = conditions.isEmpty ? nil : conditions.baseAddress
                        request.condition_count = conditions.count
                        return body(&request)
                    }
                }
            }
        }
    }

    /// "16 tensors, 12345 numbers; norm of the updates 3.21; ...": zeros show.
    private func summary(of adapters: OpaquePointer, _ sample: Int) throws -> String {
        let tensors = loragen_adapters_tensor_count(adapters)
        let count = try (0..<tensors).reduce(0) { sum, index in
            var tensor = loragen_tensor()
            try call(loragen_adapters_tensor(adapters, sample, index, &tensor))
            return sum + tensor.count
        }
        let origin = try Origin(string(loragen_adapters_origin(adapters, sample)))
        return "\(tensors) tensors, \(count) numbers; \(origin.text)"
    }

    /// "my-3" for "my", "my-3.onnx" for "my.onnx".
    private func numbered(_ path: String, _ sample: Int, _ format: AdapterFormat) -> String {
        if !format.suffix.isEmpty && path.hasSuffix(format.suffix) {
            return path.dropLast(format.suffix.count) + "-\(sample)" + format.suffix
        }
        return "\(path)-\(sample)"
    }

    /// The tasks of a file, each once, all checked before the first adapter is made.
    private func tasks(in path: String, for generator: OpaquePointer) throws -> [String] {
        guard let file = fopen(path == "-" ? "/dev/stdin" : path, "r") else {
            throw Failure(message: "\(path): cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        let info = try describe(generator)
        guard info.condition_kind == Int32(LORAGEN_CONDITION_BITS) else {
            throw Failure(
                message: "\(path): the generator takes no bits", next: "`loragen info` shows its condition.")
        }
        let advice = "Write one task of \(info.condition_length) bits a line. Nothing was written."
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        var tasks: [String] = []
        var known: Set<String> = []
        var number = 0
        while getline(&line, &capacity, file) > 0, let line {
            number += 1
            let task = String(cString: line).filter { !$0.isWhitespace }
            if task.isEmpty { continue }
            // The bits name a folder, so nothing else may come through.
            guard task.allSatisfy({ $0 == "0" || $0 == "1" }) else {
                throw Failure(message: "\(path), line \(number): \"\(task)\" is not a row of bits", next: advice)
            }
            guard task.utf8.count == info.condition_length else {
                throw Failure(
                    message:
                        "\(path), line \(number): \(task) has \(task.utf8.count) bits; the generator's condition has "
                        + "\(info.condition_length)", next: advice)
            }
            if known.insert(task).inserted { tasks.append(task) }
        }
        if tasks.isEmpty { throw Failure(message: "\(path): holds no task", next: advice) }
        return tasks
    }

    private func allTasks(of generator: OpaquePointer) throws -> [String] {
        let info = try describe(generator)
        guard info.condition_kind == Int32(LORAGEN_CONDITION_BITS), info.condition_length <= 16 else {
            throw Failure(
                message: "\(self.generator): --all needs a generator of up to 16 bits",
                next: "`loragen info` shows its condition; --bits-file takes a list of tasks.")
        }
        return (0..<(1 << info.condition_length)).map { task in
            padded(String(task, radix: 2), info.condition_length, with: "0")
        }
    }
}

/// Numbers with commas between them.
struct Vector: ExpressibleByArgument {
    var values: [Float] = []

    init?(argument: String) {
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let value = Float(part.filter { $0 != " " }) else { return nil }
            values.append(value)
        }
    }
}

/// What an adapter says of itself: the norm of its updates, and how near it is to what was trained on.
private struct Origin {
    let text: String

    init(_ json: String) throws {
        let origin = try JSON.parse(json, source: "origin")
        let range = (origin["trainingNorms"]?.array ?? []).compactMap(\.double)
        var parts = [
            "norm of the updates \(significant(origin["norm"]?.double ?? .nan))"
                + (range.count == 2 ? " (training adapters: \(significant(range[0])) to \(significant(range[1])))" : "")
        ]
        if let nearest = origin["nearest"]?.array?.first, let task = nearest["task"]?.string,
            let distance = nearest["distance"]?.double
        {
            let usual = origin["medianTrainingDistance"]?.double ?? 0
            parts.append(
                "nearest training adapter \(task) at \(significant(distance, 3))"
                    + (usual > 0 ? " (training adapters among each other: \(significant(usual, 3)))" : ""))
        }
        if let distance = origin["conditionDistance"]?.double {
            let usual = origin["trainingConditionDistance"]?.double
            parts.append(
                "nearest training condition at \(significant(distance, 3))"
                    + (usual.map { " (among each other: up to \(significant($0, 3)))" } ?? ""))
        }
        text = parts.joined(separator: "; ")
    }

    /// Of a PEFT folder or a file of this library, which were written in pieces.
    init(writtenTo path: String) throws {
        let weights = path + "/adapter_model.safetensors"
        let file = try SafetensorsFile(path: access(weights, F_OK) == 0 ? weights : path)
        try self.init(file.metadata["loragen.origin"] ?? "{}")
    }
}
