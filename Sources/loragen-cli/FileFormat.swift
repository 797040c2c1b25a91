import ArgumentParser
import CLoragen
import Files
import Formats

extension AdapterFormat: ExpressibleByArgument {
    public init?(argument: String) {
        guard let format = formats.find(argument) else { return nil }
        self = format
    }

    public var defaultValueDescription: String { name }
    public static var allValueStrings: [String] { formats.names }

    /// The one that is asked for, or what the suffix of the path says.
    init(_ asked: AdapterFormat?, path: String) throws {
        if let asked {
            self = asked
            return
        }
        do { self = try AdapterFormat(path: path) } catch {
            throw Failure(
                message: error.message, next: "--format names it: \(Self.allValueStrings.joined(separator: ", ")).")
        }
    }
}

enum ElementType: String, ExpressibleByArgument, CaseIterable {
    case float32, float16, bfloat16
    case q8 = "q8_0"

    var code: Int32 {
        switch self {
        case .float32: Int32(LORAGEN_FLOAT32)
        case .float16: Int32(LORAGEN_FLOAT16)
        case .bfloat16: Int32(LORAGEN_BFLOAT16)
        case .q8: Int32(LORAGEN_Q8_0)
        }
    }
}

/// How a file is written; of every command that writes adapters.
struct Saving: ParsableArguments {
    @Option(help: "Element type of the written tensors; q8_0 for GGUF alone, with --lossy.")
    var dtype = ElementType.float32

    @Option(help: ArgumentHelp("GGUF: the base model's GGUF file, config.json or folder.", valueName: "path"))
    var base: String?

    @Flag(help: "Keep the layout's alpha, instead of alpha = rank with the scale inside B.")
    var keepAlpha = false

    @Flag(
        help: """
            Only what every host of language models loads and computes alike; anything else is refused with the reason. \
            Layers that have no module get zeros.
            """)
    var portable = false

    @Option(
        parsing: .unconditional,
        help: "--portable: how many layers the base model has; as many as the adapter reaches if left out.")
    var layers: Int32 = 0

    @Option(help: "kohya: sd1, sdxl or flux; what the modules say if left out.")
    var model: String?

    /// Runs `body` with the options for a file.
    func with<Result>(
        naming: Int32 = Int32(LORAGEN_NAMING_OLIVE), _ body: (inout loragen_save_options) throws -> Result
    ) rethrows -> Result {
        try withCString(base) { base in
            try withCString(model) { model in
                var options = loragen_save_options()
                options.struct_size = MemoryLayout<loragen_save_options>.size
                options.dtype = dtype.code
                options.keep_alpha = keepAlpha ? 1 : 0
                options.base = base
                options.naming = naming
                options.portable = portable ? 1 : 0
                options.layers = layers
                options.model = model
                return try body(&options)
            }
        }
    }
}

/// Prints the library's remarks, one a line.
let printingNote: loragen_note_callback = { message, _ in
    printError("note: \(string(message))")
    return 0
}
