import ArgumentParser
import CAPI
import CLoragen

@main
struct Loragen: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "loragen", abstract: "LoRA adapters on demand.", version: String(cString: loragen_version()))
}
