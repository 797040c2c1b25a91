import ArgumentParser
import CLoragen

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what was measured on held-out tasks, beside the baselines.",
        discussion: """
            Skill is 1 - error / error of the mean adapter: 0 is no better than always giving the mean, 1 is perfect. \
            A generator that does not beat the baselines (nearest, ridge) is not worth running.

              loragen report digits.loragen.safetensors
              loragen report digits.loragen.safetensors --json | jq .test.skill
            """)

    @Argument(help: "The generator file.")
    var generator: String

    @Flag(help: "Print the JSON as it is in the file.")
    var json = false

    func run() throws {
        let generator = try make(about: .generator) { loragen_generator_open($0, self.generator) }
        defer { loragen_generator_free(generator) }
        print(string(json ? loragen_generator_report(generator) : loragen_generator_report_text(generator, 0)))
    }
}
