import Foundation
import Tensor
import Testing

@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods
@testable import Reports

@Suite struct ReportTests {
    private static func report(_ path: String) throws -> JSON {
        try JSON.parse(try Generator(path: path).report, source: "report")
    }

    /// The synthetic corpus with every adapter named by the bits of another.
    private static func shuffled(_ scratch: Scratch) throws -> Corpus {
        var random = Random(seed: 5)
        let order = random.permutation(32)
        let lines = (0..<32).map { Synthetic.line($0, ["bits": Synthetic.text(Synthetic.bits(order[$0]))]) }
        try Synthetic.folder(scratch("c"), lines: lines)
        return try Corpus(path: scratch("c"))
    }

    @Test func `a generator of linear factors that is linear is nearly perfect, and says what steers it`() throws {
        // The factors of the synthetic corpus are linear in its bits.
        let test = try #require(try Self.report(Trained.path("ridge", settings: factorSettings))["test"])
        #expect(try #require(test["skill"]?["generator"]?.double) > 0.999)
        #expect(try #require(test["steeringMargin"]?.double) > 0.5)
        for module in try #require(test["norms"]?.array) {
            #expect(abs(try #require(module["generatedOverReal"]?.double) - 1) < 0.02)
        }
    }

    @Test("every number that is promised is there", arguments: ["cond-pdiff", "ridge"])
    func complete(method: String) throws {
        let report = try Self.report(Trained.path(method))
        #expect(report["corpus"]?["trainingTasks"]?.integer == 20)
        #expect(report["corpus"]?["validationAdapters"]?.integer == 6)
        #expect(report["corpus"]?["testAdapters"]?.integer == 6)
        for split in ["validation", "test"] {
            let part = try #require(report[split])
            let names = [
                "generator", "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "noisy-copy", "pca-gaussian",
            ]
            for name in names { #expect(part["skill"]?[name]?.double?.isFinite == true, "\(name)") }
            #expect(part["tasks"]?.integer == 6)
            #expect(part["skillDeviationOverSeeds"]?.double?.isFinite == true)
            #expect(part["steeringMargin"]?.double?.isFinite == true)
            #expect(part["distanceToNearestTrainingAdapter"]?["generated"]?.double?.isFinite == true)
            #expect(part["distanceToNearestTrainingAdapter"]?["amongTrainingAdapters"]?.double.map { $0 > 0 } == true)
            #expect(part["norms"]?.array?.count == 3)
        }
        #expect(report["verdict"]?.string?.isEmpty == false)
    }

    @Test("the skill of the mean is 0", arguments: ["cond-pdiff", "mean"])
    func mean(method: String) throws {
        for split in ["validation", "test"] {
            let skill = try #require(try Self.report(Trained.path(method))[split]?["skill"])
            #expect(abs(try #require(skill["mean"]?.double)) < 1e-5)
            if method == "mean" { #expect(abs(try #require(skill["generator"]?.double)) < 1e-5) }
        }
    }

    @Test func `skill is one minus error over the mean adapter's error, of dense products`() throws {
        let corpus = try Synthetic.shared.get().corpus
        let generator = try Generator(path: Trained.path("ridge-pairs"))
        // The mean product of the training adapters, which for full frames and a rank to hold it is the mean of products.
        var mean = [Double](repeating: 0, count: products(try corpus.adapter(at: 0)).count)
        let train = corpus.indices(of: .train)
        for i in train {
            for (j, x) in products(try corpus.adapter(at: i)).enumerated() { mean[j] += x / Double(train.count) }
        }
        let scales = corpus.layout.modules
        var (error, meanError, offset) = (0.0, 0.0, 0)
        // Cut to rank 2, module by module.
        for module in scales {
            let n = module.inputs * module.outputs
            let part = Tensor<Double>(Array(mean[offset..<(offset + n)]), shape: [module.outputs, module.inputs])
            let svd = try thinSVD(part)
            let cut =
                Dense(module.outputs, 2, svd.u.slice(axis: 1, 0..<2).values)
                * Dense(2, 2, [Double(svd.s.values[0]), 0, 0, Double(svd.s.values[1])])
                * Dense(2, module.inputs, svd.vt.slice(axis: 0, 0..<2).values)
            mean.replaceSubrange(offset..<(offset + n), with: cut.values)
            offset += n
        }
        for i in corpus.indices(of: .test) {
            let real = products(try corpus.adapter(at: i))
            let made = products(try generator.generate(request(bits: corpus.entries[i].bits))[0])
            error += zip(made, real).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            meanError += zip(mean, real).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        let found = try #require(try JSON.parse(generator.report, source: "")["test"]?["skill"]?["generator"]?.double)
        #expect(abs(found - (1 - error / meanError)) < 1e-3, "\(found), \(1 - error / meanError)")
    }

    @Test func `a generator that was trained on shuffled conditions has no steering and says that it is not better`()
        throws
    {
        let scratch = try Scratch()
        let corpus = try Self.shuffled(scratch)
        try trainGenerator(corpus: corpus, path: scratch("g"), options: tinyOptions(method: "ridge"))
        let ridge = try Self.report(scratch("g"))
        #expect(abs(try #require(ridge["test"]?["steeringMargin"]?.double)) < 0.2)
        var options = tinyOptions()
        options.settings = tinySettings.replacingOccurrences(of: "\"steps\": 60", with: "\"steps\": 300")
        try trainGenerator(corpus: corpus, path: scratch("g"), options: options)
        let report = try Self.report(scratch("g"))
        #expect(abs(try #require(report["test"]?["steeringMargin"]?.double)) < 0.2)
        #expect(try #require(report["test"]?["skill"]?["generator"]?.double) < 0.3)
        #expect(report["verdict"]?.string?.contains("not better") == true, "\(report["verdict"]?.string ?? "")")
    }

    @Test(
        "a baseline is held against the others, and does not lose to itself",
        arguments: ["mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge"])
    func baselines(method: String) throws {
        let report = try Self.report(Trained.path(method))
        let test = try #require(report["test"])
        // In the report's own representation, which is that of the default: the same number.
        let own = try #require(test["skill"]?["generator"]?.double)
        let named = try #require(test["skill"]?[method]?.double)
        let ofDefault = try #require(try Self.report(Trained.path())["test"]?["skill"]?[method]?.double)
        #expect(abs(own - named) < 1e-5 && abs(own - ofDefault) < 1e-5, "\(own), \(named), \(ofDefault)")
        #expect(test["gainOverBestBaseline"]?["baseline"]?.string != method)
        #expect(report["verdict"]?.string?.contains("a baseline, ") == true, "\(report["verdict"]?.string ?? "")")
    }

    @Test func `the header and the list of names name every method and preset`() throws {
        let header = try String(contentsOf: repository.appendingPathComponent("include/loragen.h"), encoding: .utf8)
        for text in [header, try names.text()] {
            for entry in methods.all {
                #expect(text.contains(entry.name), "\(entry.name)")
                for preset in entry.presets {
                    #expect(text.contains(preset.name), "\(entry.name) \(preset.name)")
                }
            }
        }
    }

    @Test("a report comes back from its JSON, and its text has every number", arguments: ["cond-pdiff", "ridge"])
    func views(method: String) throws {
        let json = try Self.report(Trained.path(method))
        let report = Report(json: json)
        #expect(report.json == json)
        let (text, brief) = (report.text(), report.text(isBrief: true))
        let measured = try #require(report.test)
        for (name, value) in measured.skill {
            #expect(text.contains(name) && brief.contains(name) && brief.contains(fixed(value, 3)), "\(name)")
        }
        for (module, ratio) in measured.norms {
            #expect(text.contains(module) && text.contains(significant(ratio)) && !brief.contains(module))
        }
        #expect(text.contains(report.verdict) && brief.contains(report.verdict))
    }

    @Test func `a report of a file that says nothing, or anything, is a text all the same`() throws {
        let odd = #"{"test": 3, "verdict": [], "training": [{"stage": 1}], "validation": {"skill": []}}"#
        for text in ["{}", "[]", "7", odd] {
            #expect(!Report(json: try JSON.parse(text, source: "")).text().isEmpty)
        }
    }

    @Test func `with nothing held out the report says that nothing is known`() throws {
        let scratch = try Scratch()
        try Synthetic.folder(scratch("c"), tasks: 0..<3)
        let corpus = try Corpus(path: scratch("c"))
        try trainGenerator(corpus: corpus, path: scratch("g"), options: tinyOptions(method: "nearest"))
        let report = try Self.report(scratch("g"))
        #expect(report["verdict"]?.string?.contains("nothing") == true)
        #expect(report["test"] == nil && report["validation"] == nil)
    }

    @Test func `numbers are rounded to two digits`() {
        for (x, text) in [
            (0.0, "0.00"), (0.994, "0.99"), (-0.126, "-0.13"), (-0.001, "0.00"), (12.5, "12.50"),
            (1e13, "10000000000000.0"),
        ] {
            #expect(decimal(x) == text)
        }
        #expect(decimal(.nan) == "nan")
    }
}
