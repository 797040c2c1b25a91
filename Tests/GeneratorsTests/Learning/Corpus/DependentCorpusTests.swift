import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Generators
@testable import Learning

/// Corpora whose adapters depend linearly on each other, or lie at the ends of single precision: the same skill and the
/// right norms, whatever the method and the space.
@Suite("Dependent corpora") struct DependentCorpusTests {
    /// What becomes of the synthetic corpus, whose products have rank 2 and whose A and B are linear in five bits.
    enum Kind: String, CaseIterable, Sendable {
        case once, twice, tiny, huge, slider
    }

    /// Corpora are made once.
    private final class Corpora: @unchecked Sendable {
        private let lock = NSLock()
        private var made: [Kind: (Scratch, Corpus)] = [:]

        func callAsFunction(_ kind: Kind) throws -> Corpus {
            try lock.withLock {
                if let found = made[kind] { return found.1 }
                let scratch = try Scratch()
                try DependentCorpusTests.write(kind, to: scratch.path)
                made[kind] = (scratch, try Corpus(path: scratch.path))
                return try #require(made[kind]).1
            }
        }
    }
    private static let corpora = Corpora()

    private static func write(_ kind: Kind, to path: String) throws {
        var lines: [[String: Any]] = []
        for task in 0..<32 {
            let bits = Synthetic.bits(task)
            // The same A for all, and B linear in the bits: updates that every representation can learn.
            let own = try Synthetic.adapter(bits).copyValues()
            let shared = try Synthetic.adapter([0, 0, 0, 0, 0]).copyValues()
            let end = try Synthetic.adapter([1, 1, 1, 1, 1]).copyValues()
            let layout = try Synthetic.layout()
            var values = own
            for tensor in layout.tensors {
                for i in tensor.range {
                    if tensor.role == .a {
                        values[i] = shared[i]
                    } else {
                        // A slider: one degree of freedom in all.
                        let share = Float(task) / 31
                        if kind == .slider { values[i] = shared[i] + share * (end[i] - shared[i]) }
                        if kind == .tiny { values[i] *= 1e-20 }
                        if kind == .huge { values[i] *= 1e20 }
                    }
                }
            }
            for copy in 0..<(kind == .twice ? 2 : 1) {
                let changes: [String: Any] =
                    kind == .slider
                    ? ["condition": [Double(task) / 31], "path": "t\(task)-\(copy)"] : ["path": "t\(task)-\(copy)"]
                var line = Synthetic.line(task, changes)
                if kind == .slider { line["bits"] = nil }
                lines.append(line)
                try Synthetic.write(try Adapter(layout: layout, values: values), to: "\(path)/t\(task)-\(copy)")
            }
        }
        try save(try Synthetic.manifest(lines), to: "\(path)/corpus.jsonl")
    }

    private static func options(_ method: String, _ space: String) -> TrainingOptions {
        var options = tinyOptions(method: method)
        let normaliser = space == "product" ? "global" : "per-tensor"
        let common = #""space": "\#(space)", "normaliser": "\#(normaliser)""#
        switch method {
        case "cond-pdiff":
            options.settings =
                #"{\#(common), "latents": 511, "width": 64, "blocks": 1, "steps": 300, "batch": 32, "rate": 3e-3, "#
                + #""dropout": 0.0, "timesteps": 100, "samplingSteps": 5}"#
        case "mlp": options.settings = #"{\#(common), "width": 64, "layers": 1, "steps": 300, "batch": 32}"#
        default: options.settings = "{\(common)}"
        }
        return options
    }

    /// Skill on the test tasks, the ratio of norms, the warnings.
    private static func measured(
        _ kind: Kind, _ method: String, _ space: String
    ) throws -> (skill: Double, norms: [Double], warnings: [String]) {
        let scratch = try Scratch()
        try trainGenerator(corpus: try corpora(kind), path: scratch("g"), options: options(method, space))
        let report = try JSON.parse(try Generator(path: scratch("g")).report, source: "report")
        let test = try #require(report["test"], "\(report["verdict"]?.string ?? "")")
        return (
            try #require(test["skill"]?["generator"]?.double),
            try #require(test["norms"]?.array).compactMap { $0["generatedOverReal"]?.double },
            report["warnings"]?.array?.compactMap(\.string) ?? []
        )
    }

    @Test(
        "every adapter twice, or in other units, gives the skill of each once",
        arguments: ["cond-pdiff", "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp"],
        ["product", "factors"])
    func unchanged(method: String, space: String) throws {
        let once = try Self.measured(.once, method, space)
        if !["mean", "nearest"].contains(method) { #expect(once.skill > 0.7, "\(once)") }
        for kind in [Kind.twice, .tiny, .huge] {
            let found = try Self.measured(kind, method, space)
            // A trained network sees its batches in another order.
            let isTrained = ["cond-pdiff", "mlp"].contains(method)
            let tolerance = isTrained ? (kind == .twice ? 0.05 : 0.02) : 1e-3
            #expect(abs(found.skill - once.skill) < tolerance, "\(kind): \(found.skill) and \(once.skill)")
            for (ratio, expected) in zip(found.norms, once.norms) {
                #expect(abs(ratio - expected) < max(0.01, tolerance), "\(kind): \(found.norms) and \(once.norms)")
            }
            #expect(found.warnings.count == once.warnings.count)
        }
    }

    @Test(
        "a slider, one degree of freedom in 32 adapters, is learnt", arguments: ["cond-pdiff", "ridge", "kernel-ridge"])
    func slider(method: String) throws {
        let found = try Self.measured(.slider, method, "product")
        #expect(found.skill > 0.98, "\(found)")
        for ratio in found.norms { #expect(abs(ratio - 1) < 0.05, "\(found)") }
        #expect(found.warnings.isEmpty)
    }

    @Test(
        "adapters that are all the same, or all zero, or one only, are trained on and said to measure nothing",
        arguments: ["cond-pdiff", "rpg", "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp"])
    func same(method: String) throws {
        for (size, tasks) in [(Float(1), 6), (0, 6), (1, 3)] {
            let scratch = try Scratch()
            let adapter = try Synthetic.adapter([1, 0, 1, 1, 0])
            let values = adapter.copyValues().map { $0 * size }
            var lines: [[String: Any]] = []
            for task in 0..<tasks {
                try Synthetic.write(try Adapter(layout: adapter.layout, values: values), to: scratch("c/t\(task)"))
                lines.append(
                    Synthetic.line(task, ["split": ["train", "validation", "test"][tasks == 3 ? task : task / 2]]))
            }
            try save(try Synthetic.manifest(lines), to: scratch("c/corpus.jsonl"))
            var options = tinyOptions(method: method)
            switch method {
            case "mlp": options.settings = #"{"width": 8, "layers": 1, "steps": 20}"#
            case "rpg":
                options.settings =
                    #"{"tokenSize": 16, "width": 32, "conditionWidth": 16, "denoiserWidth": 16, "stateSize": 4, "steps": 20, "batch": 4}"#
            default: break
            }
            try trainGenerator(corpus: try Corpus(path: scratch("c")), path: scratch("g"), options: options)
            let generator = try Generator(path: scratch("g"))
            let made = try generator.generate(request(bits: "01101"))[0]
            let (real, found) = (products(adapter).map { $0 * Double(size * size) }, products(made))
            #expect(relativeError(found, real) < 1e-3, "\(method), \(size) times, \(tasks) tasks")
            #expect(generator.report.contains("nothing can be measured"), "\(generator.report)")
        }
    }

    @Test("what a generator does wrong is named at the end of its training, in the log and in the report")
    func warnings() throws {
        let scratch = try Scratch()
        // Adapters in all directions: the mean of 20 is far too weak, and a regression from their numbers worse than it.
        var lines: [[String: Any]] = []
        for task in 0..<32 {
            var line = Synthetic.line(task)
            line["bits"] = nil
            var random = Random(seed: UInt64(1000 + task))
            let condition: Tensor<Float> = random.normal([2])
            line["condition"] = condition.values.map(Double.init)
            lines.append(line)
            try Synthetic.write(try randomAdapter(seed: UInt64(task)), to: scratch("c/t\(task)"))
        }
        try save(try Synthetic.manifest(lines), to: scratch("c/corpus.jsonl"))
        let corpus = try Corpus(path: scratch("c"))
        for (method, parts) in [("mean", ["0.", "times the norm", "too weak"]), ("nearest", ["skill is -", "worse"])] {
            let path = scratch(method)
            try trainGenerator(corpus: corpus, path: path, options: tinyOptions(method: method))
            let report = try JSON.parse(try Generator(path: path).report, source: "report")
            let warnings = (report["warnings"]?.array?.compactMap(\.string) ?? []).joined(separator: "\n")
            for part in parts + ["test tasks"] { #expect(warnings.contains(part), "\(method): \(warnings)") }
        }
        let good = try JSON.parse(try Generator(path: Trained.path("ridge")).report, source: "report")
        #expect(good["warnings"] == nil)
    }
}

private func save(_ text: String, to path: String) throws { try write(text, to: path) }
