import Foundation
import Testing

@testable import Generators

/// Where this build's programs are: beside the test bundle.
private let programs: String = {
    let maps = (try? String(contentsOfFile: "/proc/self/maps", encoding: .utf8)) ?? ""
    let line = maps.split(separator: "\n").first { $0.contains("PackageTests") }
    return line.map { URL(fileURLWithPath: String($0[($0.firstIndex(of: "/") ?? $0.startIndex)...])) }?
        .deletingLastPathComponent().path ?? ""
}()

private func start(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: programs + "/loragen-cli")
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
}

@Suite struct KilledTrainingTests {
    /// A training that takes about a second, checkpoints included, of the synthetic corpus.
    private static func arguments(_ corpus: String, _ out: String, checkpoint: String? = nil) -> [String] {
        let settings = ["latents=8", "width=16", "blocks=1", "steps=400", "batch=8", "timesteps=50", "samplingSteps=5"]
        return ["train", corpus, out, "--seed", "3"] + settings.flatMap { ["--set", $0] }
            + (checkpoint.map { ["--checkpoint", $0] } ?? [])
    }

    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: programs + "/loragen-cli")))
    func `a training that is killed at any moment leaves no generator or a whole one, and can go on`() throws {
        let scratch = try Scratch()
        let corpus = try Synthetic.shared.get().scratch.path
        let began = Date()
        let whole = try start(Self.arguments(corpus, scratch("whole")))
        whole.waitUntilExit()
        let duration = Date().timeIntervalSince(began)
        try #require(whole.terminationStatus == 0)
        let expected = try contents(scratch("whole"))
        var checkpoints = 0
        var random = SystemRandomNumberGenerator()
        for round in 0..<10 {
            let process = try start(Self.arguments(corpus, scratch("made"), checkpoint: scratch("checkpoint")))
            usleep(UInt32(Double.random(in: 0...(1.1 * duration), using: &random) * 1e6))
            if round % 2 == 0 {
                // Cancelling writes the checkpoint, at the next report; the kill comes before, while or after it does.
                process.interrupt()
                usleep(UInt32.random(in: 0...400_000, using: &random))
            }
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            let names = scratch.names.filter { !$0.hasPrefix(".loragen-tmp-") }
            #expect(Set(names).isSubset(of: ["whole", "made", "checkpoint"]), "\(names)")
            if names.contains("made") {
                #expect(try contents(scratch("made")) == expected)
                try FileManager.default.removeItem(atPath: scratch("made"))
            }
            if names.contains("checkpoint") { checkpoints += 1 }
        }
        #expect(checkpoints > 0)
        let last = try start(Self.arguments(corpus, scratch("made"), checkpoint: scratch("checkpoint")))
        last.waitUntilExit()
        #expect(last.terminationStatus == 0)
        #expect(try contents(scratch("made")) == expected)
        #expect(!scratch.names.contains("checkpoint"))
    }
}
