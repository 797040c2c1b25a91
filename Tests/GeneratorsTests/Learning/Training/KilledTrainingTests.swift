import Foundation
import Testing

/// Where this build's programs are: beside the test bundle.
private let programs: String = {
    let maps = (try? String(contentsOfFile: "/proc/self/maps", encoding: .utf8)) ?? ""
    let line = maps.split(separator: "\n").first { $0.contains("PackageTests") }
    return line.map { URL(fileURLWithPath: String($0[($0.firstIndex(of: "/") ?? $0.startIndex)...])) }?
        .deletingLastPathComponent().path ?? ""
}()

private func start(_ arguments: [String], errors: Pipe? = nil) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: programs + "/loragen-cli")
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = errors ?? FileHandle.nullDevice
    // The threads that tests run on block signals, and a child inherits that.
    var (interrupt, before) = (sigset_t(), sigset_t())
    sigemptyset(&interrupt)
    sigaddset(&interrupt, SIGINT)
    pthread_sigmask(SIG_UNBLOCK, &interrupt, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
    return process
}

@Suite struct KilledTrainingTests {
    /// A training that takes about a second, checkpoints included, of the synthetic corpus.
    private static func arguments(_ corpus: String, _ out: String, checkpoint: String? = nil) -> [String] {
        let settings = [
            "latents=8", "width=16", "blocks=1", "steps=6000", "patience=1000000", "batch=8", "timesteps=50",
            "samplingSteps=5",
        ]
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
        // One that is cancelled as soon as it shows progress, so that there is a checkpoint to go on from.
        let errors = Pipe()
        let first = try start(
            Self.arguments(corpus, scratch("made"), checkpoint: scratch("checkpoint")), errors: errors)
        _ = errors.fileHandleForReading.availableData
        first.interrupt()
        first.waitUntilExit()
        #expect(first.terminationStatus == 130)
        #expect(scratch.names == ["checkpoint", "whole"])
        var random = SystemRandomNumberGenerator()
        var finished = false
        for round in 0..<8 {
            let process = try start(Self.arguments(corpus, scratch("made"), checkpoint: scratch("checkpoint")))
            usleep(UInt32(Double.random(in: 0...(1.1 * duration), using: &random) * 1e6))
            if round % 2 == 0 {
                // Cancelling writes the checkpoint, at the next report; the kill comes before, while or after it does.
                process.interrupt()
                usleep(UInt32.random(in: 0...200_000, using: &random))
            }
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            let names = scratch.names.filter { !$0.hasPrefix(".loragen-tmp-") }
            #expect(Set(names).isSubset(of: ["whole", "made", "checkpoint"]), "\(names)")
            // The checkpoint goes when the generator is there, and not before.
            #expect(names.contains("made") || names.contains("checkpoint") || finished, "\(names)")
            if names.contains("made") {
                finished = true
                #expect(try contents(scratch("made")) == expected)
                try FileManager.default.removeItem(atPath: scratch("made"))
            }
        }
        let last = try start(Self.arguments(corpus, scratch("made"), checkpoint: scratch("checkpoint")))
        last.waitUntilExit()
        #expect(last.terminationStatus == 0)
        #expect(try contents(scratch("made")) == expected)
        #expect(!scratch.names.contains("checkpoint"))
    }
}
