import Foundation
import Tensor
import Testing

@testable import Generators
@testable import Learning

/// The most memory that this process has held, in bytes.
private func peakMemory() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss << 10
}

/// Opens a spoilt generator and asks it for an adapter: an error is fine, a trap or a gigabyte is not.
private func survive(_ path: String) -> LoragenError? {
    do throws(LoragenError) {
        let generator = try Generator(path: path)
        var ask = GenerationRequest()
        let width = generator.schema.width
        if (1...64).contains(width) { ask.vector = [Float](repeating: 1, count: width) }
        ask.steps = generator.sampler == nil ? nil : 2
        _ = try generator.generate(ask)
        return nil
    } catch {
        return error
    }
}

@Suite struct GeneratorFileTests {
    private let scratch: Scratch
    private let whole: Data

    init() throws {
        scratch = try Scratch()
        whole = try contents(Trained.path())
    }

    private func spoilt(_ change: (inout SafetensorsBytes) -> Void) throws -> LoragenError? {
        try write(whole, to: scratch("whole"))
        var bytes = try SafetensorsBytes(path: scratch("whole"))
        change(&bytes)
        try bytes.save(to: scratch("g"))
        return survive(scratch("g"))
    }

    @Test func `a file that was taken apart and put together again is the same generator`() throws {
        #expect(try spoilt { _ in } == nil)
        let made = try Generator(path: scratch("g"))
        #expect(made.hash == (try Generator(path: Trained.path())).hash)
    }

    @Test func `another version is .version, no version too`() throws {
        for version in ["1", "3", "0", "", nil] as [String?] {
            let error = try spoilt { $0.metadata["version"] = version }
            #expect(
                error?.code == .version && error?.message.hasPrefix(scratch("g")) == true, "\(error?.message ?? "")")
        }
    }

    @Test("a file cut off anywhere is .format", arguments: 0..<16)
    func truncated(part: Int) throws {
        try write(whole.prefix(whole.count * part / 16), to: scratch("g"))
        expectFailure(.format, scratch("g")) { _ = try Generator(path: scratch("g")) }
    }

    @Test func `a file that goes on behind its end, or is none, is refused`() throws {
        try write(whole + Data([0]), to: scratch("g"))
        expectFailure(.format, scratch("g")) { _ = try Generator(path: scratch("g")) }
        expectFailure(.io, scratch("none")) { _ = try Generator(path: scratch("none")) }
        expectFailure(.io, scratch.path) { _ = try Generator(path: scratch.path) }
        expectFailure(.format, digits, "not a generator") { _ = try Generator(path: digits) }
    }

    @Test func `two hundred damaged headers are refused or harmless`() throws {
        let before = peakMemory()
        let length = whole.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
        var random = Random(seed: 1)
        var refused = 0
        for round in 0..<200 {
            var bytes = whole
            for _ in 0..<(1 + round % 3) {
                let place = round < 20 ? random.integer(below: 8) : 8 + random.integer(below: length)
                // Digits for digits, so that sizes change and not only the syntax.
                let isDigit = (48...57).contains(bytes[place])
                bytes[place] = isDigit ? 48 + UInt8(random.integer(below: 10)) : UInt8(random.integer(below: 256))
            }
            try write(bytes, to: scratch("g"))
            if let error = survive(scratch("g")) {
                refused += 1
                #expect(error.code != .internalError, "\(error.message)")
            }
        }
        #expect(refused > 100)
        #expect(peakMemory() - before < 1 << 30)
    }

    @Test func `every tensor is needed, with its shape and type`() throws {
        try write(whole, to: scratch("whole"))
        let names = try SafetensorsBytes(path: scratch("whole")).header.keys.filter { $0 != "__metadata__" }
        #expect(names.count > 20)
        for name in names {
            for change in ["missing", "flat", "type"] {
                let error = try spoilt { bytes in
                    guard var about = bytes.header[name] as? [String: Any], let shape = about["shape"] as? [Int] else {
                        return
                    }
                    switch change {
                    // Another name, for safetensors has no holes.
                    case "missing": bytes.header["unused." + name] = about
                    case "flat": about["shape"] = [1, 1] + shape
                    default: about["dtype"] = "I32"
                    }
                    bytes.header[name] = change == "missing" ? nil : about
                }
                #expect(error?.code == .format, "\(name) \(change): \(error.map { "\($0)" } ?? "opened")")
                #expect(error?.message.hasPrefix(scratch("g")) == true, "\(error?.message ?? "")")
            }
        }
    }

    @Test(
        "a forged size is refused without the memory that it asks for",
        arguments: [
            ("settings", "width", 65536), ("settings", "blocks", 256), ("settings", "latents", 65536),
            ("settings", "timesteps", 100_000), ("settings", "width", 1 << 62), ("settings", "width", -1),
            ("settings", "samplingSteps", 0), ("settings", "outputFrame", 0),
            ("", "examples", 1 << 28), ("", "examples", 0), ("", "examples", .max), ("", "values", 1 << 32),
            ("", "values", 1),
            ("schema", "length", 1 << 24), ("schema", "length", -1), ("schema", "length", 0),
            ("schema", "length", .max),
            ("schema", "name", 1), ("schema", "kind", 2),
        ])
    func forged(object: String, name: String, value: Int) throws {
        let before = peakMemory()
        let error = try spoilt { bytes in
            if object.isEmpty {
                bytes[json: "generator"][name] = value
            } else if object == "schema" {
                var parts = bytes[json: "generator"][object] as? [[String: Any]] ?? []
                parts[0][name] = value
                bytes[json: "generator"][object] = parts
            } else {
                var settings = bytes[json: "generator"][object] as? [String: Any] ?? [:]
                settings[name] = value
                bytes[json: "generator"][object] = settings
            }
        }
        // More times than it was trained with, and more training adapters than principal components, harm nobody.
        if let error { #expect(error.code == .format && error.message.hasPrefix(scratch("g")), "\(error)") }
        #expect(error != nil || ["timesteps", "examples", "latents"].contains(name), "\(name)")
        #expect(peakMemory() - before < 1 << 29)
    }

    @Test(
        "forged settings of the networks are refused",
        arguments: [
            ("autoencoder", "nlp"), ("autoencoder", "vision"), ("autoencoder", "pdiff"), ("denoiser", "nlp"),
            ("denoiser", "vision"), ("denoiser", "pdiff"), ("autoencoder", "magic"), ("sampler", "magic"),
            ("space", "factors"), ("space", "none"), ("normaliser", "per-task"), ("prediction", "magic"),
            ("factors", "aligned"), ("schedule", "square"), ("width", "16"),
        ])
    func forgedChoices(name: String, value: String) throws {
        let error = try spoilt { bytes in
            var settings = bytes[json: "generator"]["settings"] as? [String: Any] ?? [:]
            settings[name] = value
            bytes[json: "generator"]["settings"] = settings
        }
        // Which factors are taken bears on factor spaces only.
        if name == "factors" { return #expect(error == nil) }
        #expect(
            error?.code == .format && error?.message.hasPrefix(scratch("g")) == true,
            "\(name): \(String(describing: error))")
    }

    @Test(
        "metadata that is missing or of another kind is .format",
        arguments: [
            "method", "preset", "settings", "seed", "layout", "schema", "values", "examples",
            "tasks",
            "medianDistance", "hash",
        ])
    func metadata(name: String) throws {
        for value in [nil, [:] as [String: Any], NSNull(), -7.5, "x"] as [Any?] {
            // A text is what these are; another method is unknown, another name and hash are only other names.
            if value as? String == "x", ["preset", "hash"].contains(name) { continue }
            if value as? Double == -7.5, name == "medianDistance" { continue }
            let error = try spoilt { $0[json: "generator"][name] = value }
            #expect(
                error?.code == .format, "\(name) \(String(describing: value)): \(error.map { "\($0)" } ?? "opened")")
        }
        for name in ["generator", "report", "format"] {
            #expect(try spoilt { $0.metadata[name] = nil }?.code == .format)
            #expect(try spoilt { $0.metadata[name] = "{" }?.code == .format)
        }
    }

    @Test func `a layout of ranks that blow a small file up to gigabytes is refused`() throws {
        let before = peakMemory()
        let error = try spoilt { bytes in
            var layout = bytes[json: "generator"]["layout"] as? [String: Any] ?? [:]
            let modules = layout["modules"] as? [[String: Any]] ?? []
            layout["modules"] = modules.map { $0.merging(["rank": 16384, "alpha": 16384]) { $1 } }
            bytes[json: "generator"]["layout"] = layout
        }
        #expect(error?.code == .format && error?.message.contains("too many") == true, "\(String(describing: error))")
        #expect(peakMemory() - before < 1 << 28)
    }

    @Test(
        "weights and statistics that are not numbers give .nonFinite",
        arguments: [
            "model.denoiser.output.weight", "model.autoencoder.components", "normaliser.scale", "normaliser.shift",
            "condition.scale", "frames.0.u", "frames.1.v", "model.latent_scale",
        ])
    func notFinite(name: String) throws {
        // Latents over an infinite scale are the mean of all latents.
        for value in [Float.nan, .infinity] where value.isNaN || name != "model.latent_scale" {
            let error = try spoilt { $0.fill(name) { _ in value } }
            #expect(error?.code == .nonFinite, "\(value): \(String(describing: error))")
        }
        if name == "model.latent_scale" { #expect(try spoilt { $0.fill(name) { _ in 0 } }?.code == .nonFinite) }
    }

    @Test(
        "the same for the baselines",
        arguments: [
            ("nearest", "model.conditions"), ("nearest", "model.vectors"), ("kernel-ridge", "model.width"),
            ("kernel-ridge", "model.coefficients"), ("ridge", "model.weights"), ("mean", "model.mean"),
        ])
    func notFiniteBaselines(method: String, name: String) throws {
        var bytes = try SafetensorsBytes(path: Trained.path(method))
        bytes.fill(name) { _ in .nan }
        try bytes.save(to: scratch("g"))
        #expect(survive(scratch("g"))?.code == .nonFinite)
    }

    @Test func `a task index that is not a number is told and not followed`() throws {
        let error = try spoilt { $0.fill("training.sketches") { _ in .nan } }
        #expect(error?.code == .nonFinite)
    }

    @Test func `the hash is that of the content`() throws {
        let other = scratch("other")
        try trainGenerator(corpus: try Synthetic.shared.get().corpus, path: other, options: tinyOptions(seed: 8))
        #expect(try Generator(path: other).hash != Generator(path: Trained.path()).hash)
    }

    @Test func `any safetensors reader finds the weights as float32 and the rest as text`() throws {
        let bytes = try SafetensorsBytes(path: Trained.path())
        #expect(bytes.metadata["format"] == "loragen.generator")
        #expect(bytes[json: "generator"]["method"] as? String == "cond-pdiff")
        #expect(bytes[json: "report"]["test"] != nil)
        for (name, about) in bytes.header where name != "__metadata__" {
            #expect((about as? [String: Any])?["dtype"] as? String == "F32", "\(name)")
        }
    }
}
