import Foundation
import Tensor
import Testing

@testable import Files
@testable import Generators
@testable import Learning
@testable import Reports

/// Counts the calls of a progress handler and cancels at one of them. The pause makes every step worth a report.
private final class Watch: @unchecked Sendable {
    private(set) var seen: [Learning.Progress] = []
    private let cancel: (Learning.Progress) -> Bool
    private let pause: Bool

    init(pause: Bool = true, cancel: @escaping (Learning.Progress) -> Bool = { _ in false }) {
        self.cancel = cancel
        self.pause = pause
    }

    var handler: ProgressHandler {
        { progress in
            self.seen.append(progress)
            if self.cancel(progress) { return true }
            if self.pause { usleep(101_000) }
            return false
        }
    }
}

private func train(
    _ path: String, _ options: TrainingOptions, watch: Watch? = nil, corpus: Corpus? = nil
) throws {
    try trainGenerator(
        corpus: try corpus ?? Synthetic.shared.get().corpus, path: path, options: options, progress: watch?.handler)
}

/// The tiny settings with others in the place of some.
private func settings(_ changes: String) throws -> String {
    let base = try JSON.parse(tinySettings, source: "").object ?? JSONObject()
    return try JSON.object(base.changing(try JSON.parse(changes, source: "").object ?? JSONObject())).text()
}

private let twoStages = #"{"autoencoder": "pdiff", "autoencoderSteps": 6, "autoencoderBatch": 4, "steps": 12}"#
/// A skill that never changes: stops at step 20.
private let stopping = #"{"rate": 0, "ema": 0, "validationInterval": 5, "patience": 3}"#

@Suite struct TrainingTests {
    @Test func `the same seed gives the same bytes, with any number of threads, and another seed others`() throws {
        let scratch = try Scratch()
        let threads = Threads.count
        defer { Threads.count = threads }
        for (name, count, seed) in [("a", 1, 3), ("b", 2, 3), ("c", 2, 4)] {
            Threads.count = count
            try train(scratch(name), tinyOptions(seed: UInt64(seed)))
        }
        #expect(try contents(scratch("a")) == contents(scratch("b")))
        #expect(try contents(scratch("a")) != contents(scratch("c")))
        #expect(scratch.names == ["a", "b", "c"])
    }

    @Test(
        "a training that was cancelled goes on to the same bytes",
        arguments: [
            ("{}", "diffusion", 1), ("{}", "diffusion", 17), (#"{"steps": 22}"#, "diffusion", 22),
            (stopping, "diffusion", 13), (stopping, "diffusion", 20),
            (twoStages, "autoencoder", 4), (twoStages, "autoencoder", 6), (twoStages, "diffusion", 3),
            (#"{"ema": 0, "dropout": 0, "clip": 0}"#, "diffusion", 12),
        ])
    func resume(changes: String, stage: String, step: Int) throws {
        let scratch = try Scratch()
        var options = tinyOptions(settings: try settings(changes))
        try train(scratch("whole"), options)
        options.checkpoint = scratch("checkpoint")
        // The last report of a stage comes after its last step's.
        var isLast = false
        let watch = Watch { progress in
            guard progress.stage == stage, progress.step >= step else { return false }
            if step < 20 || isLast { return true }
            isLast = true
            return false
        }
        expectFailure(.cancelled, stage) { try train(scratch("made"), options, watch: watch) }
        #expect(watch.seen.last?.step == step && watch.seen.last?.stage == stage)
        #expect(scratch.names == ["checkpoint", "whole"])
        try train(scratch("made"), options)
        #expect(try contents(scratch("made")) == contents(scratch("whole")))
        #expect(scratch.names == ["made", "whole"])
    }

    @Test func `a training that is cancelled again and again ends in the same bytes`() throws {
        let scratch = try Scratch()
        var options = tinyOptions(settings: try settings(twoStages))
        try train(scratch("whole"), options)
        options.checkpoint = scratch("checkpoint")
        var rounds = 0
        while rounds < 40 {
            rounds += 1
            do {
                var calls = 0
                let watch = Watch { _ in
                    calls += 1
                    return calls == 3
                }
                try train(scratch("made"), options, watch: watch)
                break
            } catch let error as LoragenError where error.code == .cancelled {
                #expect(scratch.names == ["checkpoint", "whole"])
            }
        }
        #expect((3...20).contains(rounds))
        #expect(try contents(scratch("made")) == contents(scratch("whole")))
    }

    @Test func `without a checkpoint a cancelled training leaves nothing`() throws {
        let scratch = try Scratch()
        expectFailure(.cancelled) { try train(scratch("made"), tinyOptions(), watch: Watch { _ in true }) }
        #expect(scratch.names.isEmpty)
    }

    @Test func `a checkpoint stays until the generator is written`() throws {
        // A folder in the generator's place, made while the training runs, lets the last write fail.
        let scratch = try Scratch()
        var options = tinyOptions()
        options.checkpoint = scratch("checkpoint")
        options.checkpointSeconds = 1e-9
        let watch = Watch(pause: false) { _ in
            try? FileManager.default.createDirectory(atPath: scratch("made"), withIntermediateDirectories: true)
            return false
        }
        expectFailure(.io, scratch("made")) { try train(scratch("made"), options, watch: watch) }
        #expect(scratch.names == ["checkpoint", "made"])
        try FileManager.default.removeItem(atPath: scratch("made"))
        try train(scratch("made"), options)
        try train(scratch("whole"), tinyOptions())
        #expect(try contents(scratch("made")) == contents(scratch("whole")))
    }

    @Test func `a checkpoint of another training is refused and stays as it is`() throws {
        let scratch = try Scratch()
        var options = tinyOptions()
        options.checkpoint = scratch("checkpoint")
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { $0.step >= 4 }) }
        let saved = try contents(scratch("checkpoint"))
        let small = try Scratch()
        try Synthetic.folder(small.path, tasks: 0..<10)
        var seed = options
        seed.seed += 1
        var other = options
        other.settings = try settings(#"{"rate": 0.01}"#)
        var method = options
        method.method = "mlp"
        method.settings = nil
        for (changed, corpus) in [(seed, nil), (other, nil), (method, nil), (options, try Corpus(path: small.path))] {
            expectFailure(.mismatch, scratch("checkpoint")) { try train(scratch("made"), changed, corpus: corpus) }
        }
        #expect(try contents(scratch("checkpoint")) == saved)
        #expect(scratch.names == ["checkpoint"])
    }

    @Test func `a checkpoint whose validation adapters have changed is refused`() throws {
        let scratch = try Scratch()
        try Synthetic.folder(scratch("c"), tasks: 0..<10)
        var options = tinyOptions()
        options.checkpoint = scratch("checkpoint")
        let corpus = try Corpus(path: scratch("c"))
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { _ in true }, corpus: corpus) }
        try Synthetic.write(try randomAdapter(seed: 9), to: scratch("c/t3"))
        expectFailure(.mismatch) { try train(scratch("made"), options, corpus: try Corpus(path: scratch("c"))) }
    }

    @Test func `a spoilt checkpoint is refused and stays as it is`() throws {
        let scratch = try Scratch()
        var options = tinyOptions()
        options.checkpoint = scratch("checkpoint")
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { $0.step >= 2 }) }
        let saved = try contents(scratch("checkpoint"))
        func refuse(_ data: Data, _ part: String = "") throws {
            try write(data, to: scratch("checkpoint"))
            let error = failure { try train(scratch("made"), options) }
            #expect([.format, .mismatch].contains(error.code), "\(error.message)")
            #expect(error.message.contains(scratch("checkpoint")))
            #expect(try contents(scratch("checkpoint")) == data)
        }
        for part in 0..<16 { try refuse(saved.prefix(saved.count * part / 16)) }
        for what in ["counters", "fingerprint", "stage", "weights", "many", "nan", "moment", "format"] {
            try write(saved, to: scratch("checkpoint"))
            var bytes = try SafetensorsBytes(path: scratch("checkpoint"))
            func rename(_ suffix: String) {
                for key in bytes.header.keys where key.hasSuffix(suffix) {
                    bytes.header["x" + key] = bytes.header[key]
                    bytes.header[key] = nil
                }
            }
            switch what {
            case "counters", "output.bias": rename(what)
            case "weights": rename("run.weights.output.bias")
            case "moment": rename("run.m.output.bias")
            case "many": bytes.fill("counters") { $0 == 1 ? 1e30 : 0 }
            case "nan": bytes.fill("counters") { _ in .nan }
            default: bytes.metadata[what] = nil
            }
            try bytes.save(to: scratch("spoilt"))
            let spoilt = try contents(scratch("spoilt"))
            try FileManager.default.removeItem(atPath: scratch("spoilt"))
            try refuse(spoilt)
        }
    }

    @Test func `a checkpoint with one altered byte, anywhere, is refused`() throws {
        let scratch = try Scratch()
        var options = tinyOptions()
        options.checkpoint = scratch("checkpoint")
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { $0.step >= 2 }) }
        let saved = try contents(scratch("checkpoint"))
        let fingerprint = try #require(SafetensorsBytes(path: scratch("checkpoint")).metadata["fingerprint"])
        let checkpoint = Checkpoint(path: scratch("checkpoint"), fingerprint: fingerprint)
        #expect(try checkpoint.load() != nil)
        var random = Random(seed: 4)
        for _ in 0..<400 {
            var bytes = saved
            bytes[random.integer(below: bytes.count)] ^= 1 << UInt8(random.integer(below: 8))
            try write(bytes, to: scratch("checkpoint"))
            let error = failure { _ = try checkpoint.load() }
            #expect([.format, .mismatch].contains(error.code), "\(error.message)")
        }
    }

    @Test func `early stop ends a stage when the skill no longer grows`() throws {
        let scratch = try Scratch()
        let watch = Watch(pause: false)
        try train(scratch("made"), tinyOptions(settings: try settings(stopping)), watch: watch)
        #expect(watch.seen.last?.step == 20)
        #expect(watch.seen.last?.steps == 60)
    }

    @Test func `a resumed training stops where it would have stopped`() throws {
        let scratch = try Scratch()
        var options = tinyOptions(settings: try settings(stopping))
        options.checkpoint = scratch("checkpoint")
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { $0.step >= 13 }) }
        let watch = Watch()
        try train(scratch("made"), options, watch: watch)
        #expect(watch.seen.first?.step == 14)
        #expect(watch.seen.last?.step == 20)
    }

    @Test func `a training that stops early says so in its report, also when it was resumed`() throws {
        let scratch = try Scratch()
        var options = tinyOptions(settings: try settings(stopping))
        try train(scratch("whole"), options)
        options.checkpoint = scratch("checkpoint")
        expectFailure(.cancelled) { try train(scratch("made"), options, watch: Watch { $0.step >= 20 }) }
        try train(scratch("made"), options)
        for name in ["whole", "made"] {
            let generator = try Generator(path: scratch(name))
            let report = Report(json: try JSON.parse(generator.report, source: ""))
            let stage = try #require(report.training.last)
            #expect(stage.name == "diffusion" && stage.steps == 20 && stage.isEarly && stage.bestStep == 5)
            #expect(generator.reportText(isBrief: true).contains("stopped early, after 20 of"))
        }
    }

    @Test func `progress grows, and knows the time that is left`() throws {
        let scratch = try Scratch()
        let watch = Watch()
        try train(scratch("made"), tinyOptions(settings: try settings(twoStages)), watch: watch)
        #expect(
            watch.seen.map(\.stage) == Array(repeating: "autoencoder", count: 7)
                + Array(repeating: "diffusion", count: 13))
        for stage in ["autoencoder", "diffusion"] {
            let steps = watch.seen.filter { $0.stage == stage }
            #expect(zip(steps, steps.dropFirst()).allSatisfy { $0.step <= $1.step })
            #expect(steps.last?.step == steps.last?.steps)
        }
        #expect(watch.seen.allSatisfy { $0.loss.isFinite && $0.stepsPerSecond > 0 })
        #expect(watch.seen.allSatisfy { $0.secondsLeft.isFinite && $0.secondsLeft >= 0 })
        #expect(watch.seen.last?.secondsLeft == 0)
        let skills = watch.seen.filter { $0.stage == "diffusion" && $0.step > 10 }
        #expect(skills.allSatisfy { $0.validationSkill.isFinite && $0.bestSkill >= $0.validationSkill })
    }

    @Test func `a loss that is not a number ends the training with nothing written`() throws {
        let scratch = try Scratch()
        var options = tinyOptions(method: "mlp")
        options.settings = #"{"layers": 64, "width": 16, "rate": 10, "steps": 200}"#
        expectFailure(.nonFinite, "mlp", "learning rate") { try train(scratch("made"), options) }
        #expect(scratch.names.isEmpty)
    }

    @Test func `a memory limit refuses before anything starts`() throws {
        let scratch = try Scratch()
        for limit in [1000, 200_000] as [UInt64] {
            var options = tinyOptions()
            options.memoryLimit = limit
            let watch = Watch()
            expectFailure(.memory, "limit") { try train(scratch("made"), options, watch: watch) }
            #expect(watch.seen.isEmpty && scratch.names.isEmpty)
        }
        var options = tinyOptions()
        options.memoryLimit = 64 << 20
        try train(scratch("made"), options)
    }

    @Test(
        "what no machine can hold is refused, not tried",
        arguments: [
            ("cond-pdiff", #"{"width": 65536, "blocks": 256}"#), ("cond-pdiff", #"{"width": 65536, "batch": 65536}"#),
            ("cond-pdiff", #"{"autoencoder": "vision", "autoencoderSteps": 1, "autoencoderBatch": 65536}"#),
            ("cond-pdiff", #"{"denoiser": "pdiff", "batch": 65536, "latents": 65536}"#),
            ("mlp", #"{"width": 65536, "layers": 64}"#), ("mlp", #"{"batch": 65536, "width": 65536}"#),
        ])
    func hugeSettings(method: String, settings: String) throws {
        let scratch = try Scratch()
        expectFailure(.memory, method) { try train(scratch("made"), tinyOptions(method: method, settings: settings)) }
        #expect(scratch.names.isEmpty)
    }

    @Test func `an output or a checkpoint that cannot be written is refused before training starts`() throws {
        let scratch = try Scratch()
        let watch = Watch()
        for path in [scratch("none/made"), scratch.path, "", "/proc/made"] {
            let error = failure { try train(path, tinyOptions(), watch: watch) }
            #expect([.io, .invalidArgument].contains(error.code), "\(error.message)")
            var options = tinyOptions()
            options.checkpoint = path
            let second = failure { try train(scratch("made"), options, watch: watch) }
            #expect([.io, .invalidArgument].contains(second.code), "\(second.message)")
        }
        #expect(watch.seen.isEmpty && scratch.names.isEmpty)
    }

    @Test func `corpus, generator and checkpoint must be three files`() throws {
        let scratch = try Scratch()
        var options = tinyOptions()
        options.checkpoint = scratch.path + "/./made"
        expectFailure(.invalidArgument, "checkpoint") { try train(scratch("made"), options) }
        options.checkpoint = nil
        try FileManager.default.copyItem(atPath: digits, toPath: scratch("digits"))
        let corpus = try Corpus(path: scratch("digits"))
        expectFailure(.invalidArgument, "digits: it is what is read") {
            try train(scratch.path + "/./digits", options, corpus: corpus)
        }
        #expect(try contents(scratch("digits")) == contents(digits))
    }

    @Test(
        "options that make no sense are refused",
        arguments: [
            ("cond-pdiff", #"{"steps": 0}"#), ("cond-pdiff", #"{"rate": -1}"#), ("cond-pdiff", #"{"timesteps": 1}"#),
            ("cond-pdiff", #"{"samplingSteps": 51}"#), ("cond-pdiff", #"{"guidance": 1e9}"#),
            ("cond-pdiff", #"{"sampler": "magic"}"#), ("cond-pdiff", #"{"normaliser": "none"}"#),
            ("cond-pdiff", #"{"autoencoder": "vision"}"#), ("mlp", #"{"width": 0}"#), ("mlp", #"{"layers": 65}"#),
            ("cond-pdiff", #"{"autoencoder": "nlp", "autoencoderSteps": 1}"#), ("magic", "{}"),
        ])
    func nonsense(method: String, changes: String) throws {
        let scratch = try Scratch()
        let text = method == "cond-pdiff" ? try settings(changes) : changes
        expectFailure(.invalidArgument) { try train(scratch("made"), tinyOptions(method: method, settings: text)) }
        for seconds in [-1, .nan, .infinity] as [Double] {
            var options = tinyOptions()
            options.checkpointSeconds = seconds
            expectFailure(.invalidArgument) { try train(scratch("made"), options) }
        }
        #expect(scratch.names.isEmpty)
    }

    @Test(
        "every method trains on corpora with nothing held out, without conditions, and of one adapter",
        arguments: [
            "cond-pdiff", "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp",
        ])
    func bareCorpora(method: String) throws {
        let scratch = try Scratch()
        let text = method == "mlp" ? #"{"width": 8, "steps": 20}"# : method == "cond-pdiff" ? tinySettings : nil
        let options = tinyOptions(method: method, settings: text)
        for (name, lines) in [
            ("alike", (0..<6).map { Synthetic.line($0, ["split": "train"]) }),
            ("mute", (0..<6).map { Synthetic.line($0, ["bits": NSNull()]) }),
            ("one", [Synthetic.line(1)]), ("lone", [Synthetic.line(1, ["bits": NSNull()])]),
        ] {
            try Synthetic.folder(scratch(name), tasks: 0..<6, lines: lines)
            try train(scratch("made"), options, corpus: try Corpus(path: scratch(name)))
            let generator = try Generator(path: scratch("made"))
            let adapters = try generator.generate(request(bits: lines[0]["bits"] as? String))
            #expect(adapters.count == 1 && adapters[0].values.allSatisfy(\.isFinite))
        }
    }

    @Test func `a corpus without training adapters is refused`() throws {
        let scratch = try Scratch()
        try Synthetic.folder(scratch("c"), tasks: 0..<2, lines: (0..<2).map { Synthetic.line($0, ["split": "test"]) })
        let corpus = try Corpus(path: scratch("c"))
        expectFailure(.mismatch, scratch("c"), "train") { try train(scratch("made"), tinyOptions(), corpus: corpus) }
    }
}

let digits = repository.path + "/examples/digits/digits.corpus.safetensors"
