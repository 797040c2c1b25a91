import ArgumentParser
import CAPI
import CLoragen
import Glibc

@main
struct Loragen: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "loragen",
        abstract: "Learns from the LoRA adapters you have; makes the adapter for a new task in milliseconds.",
        discussion: """
            A first session:

              loragen corpus check digits/
              loragen train digits/ digits.loragen.safetensors
              loragen report digits.loragen.safetensors
              loragen generate digits.loragen.safetensors --bits 0001100101 -o my-adapter

            my-adapter is a PEFT folder: PeftModel.from_pretrained(base, "my-adapter").
            Everything here is also a function of the C header loragen.h.
            """,
        version: String(cString: loragen_version()),
        subcommands: [
            Train.self, Generate.self, Info.self, Report.self, CorpusCommand.self, Convert.self, Merge.self,
            Apply.self, Verify.self, BasisCommand.self, Expand.self, Project.self, Compare.self, Nearest.self,
            Doctor.self, Encode.self,
        ])

    static func main() {
        Interruption.start()
        checkCommand(CommandLine.arguments.dropFirst())
        main(nil)
    }

    /// Ends the program with the commands that are near when there is none of a name; the parser would take the name for
    /// an argument too many.
    private static func checkCommand(_ arguments: ArraySlice<String>) {
        var command: any ParsableCommand.Type = Loragen.self
        var path = "loragen"
        for argument in arguments {
            let known = command.configuration.subcommands
            if known.isEmpty || argument.hasPrefix("-") || argument == "help" { return }
            let names = known.map { $0.configuration.commandName ?? "\($0)".lowercased() }
            guard let place = names.firstIndex(of: argument) else {
                let near = nearest(to: argument, among: names)
                let hint = near.isEmpty ? "" : "; did you mean \(near.joined(separator: " or "))?"
                printError("Error: \(path) has no command \"\(argument)\"\(hint)")
                printError("Its commands: \(names.joined(separator: ", ")). \(path) --help says what they do.")
                Glibc.exit(EX_USAGE)
            }
            command = known[place]
            path += " \(argument)"
        }
    }
}

/// Options of every command that computes.
struct Computing: ParsableArguments {
    @Option(parsing: .unconditional, help: "The most threads to use, 1 to 16. The result does not depend on it.")
    var threads: Int32?

    @Flag(name: .shortAndLong, help: "Print the library's remarks on stderr.")
    var verbose = false

    func apply() throws {
        if let threads { try call(loragen_set_threads(threads)) }
        showLog(remarks: verbose)
    }
}

/// Prints the library's warnings on stderr, and its remarks if they are asked for.
func showLog(remarks: Bool = false) {
    let warnings: loragen_log_callback = { level, message, _ in
        if level >= Int32(LORAGEN_LOG_WARNING), let message { printError("warning: " + String(cString: message)) }
    }
    let all: loragen_log_callback = { level, message, _ in
        let start = level >= Int32(LORAGEN_LOG_WARNING) ? "warning: " : ""
        if let message { printError(start + String(cString: message)) }
    }
    loragen_set_log(remarks ? all : warnings, nil)
}
