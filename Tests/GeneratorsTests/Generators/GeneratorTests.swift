import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Conditions
@testable import Files
@testable import Generators
@testable import Learning

private let task = "10110"

private func values(_ adapters: [Adapter]) -> [[Float]] { adapters.map { $0.copyValues() } }

@Suite struct GeneratorTests {
    @Test func `a generator says what it is`() throws {
        let generator = try Generator(path: Trained.path())
        #expect(generator.method == "cond-pdiff" && generator.preset == "default")
        #expect(generator.schema.code == 2 && generator.schema.width == 5 && generator.schema.phrase == "5 bits")
        #expect(generator.sampler == "dpm-solver++" && generator.steps == 5 && generator.guidance == 1)
        #expect(generator.layout.modules.map(\.name) == (try Synthetic.layout()).modules.map(\.name))
        #expect(generator.layout.baseModel == "tiny")
        #expect(generator.hash.count == 64)
        let ridge = try Generator(path: Trained.path("ridge"))
        #expect(ridge.sampler == nil && ridge.steps == 0)
    }

    @Test func `the same request gives the same bytes, another seed others`() throws {
        let generator = try Generator(path: Trained.path())
        for sampler in samplerNames {
            let ask = request(bits: task) { ($0.sampler, $0.seed) = (sampler, 9) }
            let first = values(try generator.generate(ask))
            #expect(first == values(try generator.generate(ask)))
            #expect(first == values(try Generator(path: Trained.path()).generate(ask)))
            var other = ask
            other.seed = 10
            #expect(first != values(try generator.generate(other)), "\(sampler)")
        }
    }

    @Test func `sample i does not depend on the number of samples`() throws {
        let generator = try Generator(path: Trained.path())
        let five = values(try generator.generate(request(bits: task) { ($0.samples, $0.sampler) = (5, "ddpm") }))
        #expect(Set(five).count == 5)
        for count in 1..<5 {
            #expect(
                values(try generator.generate(request(bits: task) { ($0.samples, $0.sampler) = (count, "ddpm") }))
                    == Array(five.prefix(count)))
        }
    }

    @Test func `bits and the vector of the same numbers are the same request`() throws {
        let generator = try Generator(path: Trained.path())
        let vector = try generator.generate(request { $0.vector = [1, 0, 1, 1, 0] })
        #expect(values(vector) == values(try generator.generate(request(bits: task))))
    }

    @Test func `guidance 0 ignores the condition and 1 follows it`() throws {
        let generator = try Generator(path: Trained.path())
        func made(_ bits: String, _ guidance: Float) throws -> [[Float]] {
            values(try generator.generate(request(bits: bits) { $0.guidance = guidance }))
        }
        #expect(try made(task, 0) == made("00000", 0))
        #expect(try made(task, 1) != made("00000", 1))
        #expect(try made(task, 1) != made(task, 0))
        #expect(try made(task, 1) == values(try generator.generate(request(bits: task))))
    }

    @Test("eight threads at once get the bytes that one gets", arguments: ["cond-pdiff", "ridge-pairs"])
    func concurrent(method: String) async throws {
        let path = try Trained.path(method)
        let generator = try Generator(path: path)
        let expected = try (0..<8).map { i in
            values(try generator.generate(request(bits: task) { $0.seed = UInt64(i) }))
        }
        let found = try await withThrowingTaskGroup(of: (Int, [[[Float]]]).self) { group in
            for thread in 0..<8 {
                group.addTask {
                    (
                        thread,
                        try (0..<8).map { i in
                            values(try generator.generate(request(bits: task) { $0.seed = UInt64(i) }))
                        }
                    )
                }
            }
            return try await group.reduce(into: [[[[Float]]]]()) { $0.append($1.1) }
        }
        for one in found { #expect(one == expected) }
    }

    // MARK: Refusals

    @Test func `a condition that does not fit is refused`() throws {
        let generator = try Generator(path: Trained.path())
        func refuse(_ code: LoragenError.Code, _ parts: String..., change: (inout GenerationRequest) -> Void) {
            let error = failure { _ = try generator.generate(request(change)) }
            #expect(error.code == code, "\(error.message)")
            for part in parts { #expect(error.message.contains(part), "\(error.message)") }
        }
        refuse(.mismatch, "4 numbers", "5 bits") { $0.vector = [1, 0, 1, 0] }
        refuse(.mismatch, "0 numbers") { $0.vector = [] }
        refuse(.nonFinite, "element 2", "nan") { $0.vector = [1, 0, .nan, 0, 1] }
        refuse(.nonFinite, "element 4", "inf") { $0.vector = [1, 0, 0, 0, -.infinity] }
        refuse(.mismatch, "6 bits", "5 bits") { $0.bits = "101101" }
        refuse(.mismatch, "0 bits") { $0.bits = "" }
        refuse(.invalidArgument, "10a10", "0 and 1") { $0.bits = "10a10" }
        refuse(.invalidArgument, "0 and 1") { $0.bits = "1٠1١0" }
        refuse(.invalidArgument, "twice", "5 bits") {
            $0.condition = Condition(Condition.bits(task).parts + Condition.vector([1, 0, 1, 0, 1]).parts)
        }
        refuse(.invalidArgument, "no condition", "5 bits") { _ in }
    }

    @Test func `bits for a generator of vectors, and any condition for one without, are refused`() throws {
        let scratch = try Scratch()
        for (name, field) in [("vector", [0.5, 2, 1] as [Double]?), ("none", nil)] {
            let lines = (0..<4).map { i in
                Synthetic.line(i, ["bits": NSNull(), "condition": field.map { $0 + [Double(i)] } ?? NSNull()])
            }
            try Synthetic.folder(scratch(name), tasks: 0..<4, lines: lines)
            try trainGenerator(
                corpus: try Corpus(path: scratch(name)), path: scratch("g"), options: tinyOptions(method: "nearest"))
            let generator = try Generator(path: scratch("g"))
            expectFailure(.mismatch, name == "none" ? "no condition" : "a vector of 4") {
                _ = try generator.generate(request(bits: "0101"))
            }
            if name == "none" {
                expectFailure(.mismatch, "no condition") { _ = try generator.generate(request { $0.vector = [1] }) }
                _ = try generator.generate(request())
            } else {
                _ = try generator.generate(request { $0.vector = [0.5, 2, 1, 3] })
            }
        }
    }

    @Test func `samples, steps, guidance and sampler out of range are refused`() throws {
        let generator = try Generator(path: Trained.path())
        let changes: [(String, (inout GenerationRequest) -> Void)] = [
            ("samples is 0", { $0.samples = 0 }), ("samples is -1", { $0.samples = -1 }),
            ("samples is", { $0.samples = .max }), ("steps is 0", { $0.steps = 0 }), ("steps is -5", { $0.steps = -5 }),
            ("steps is", { $0.steps = .max }), ("guidance is -0.5", { $0.guidance = -0.5 }),
            ("guidance is nan", { $0.guidance = .nan }), ("guidance is inf", { $0.guidance = .infinity }),
            ("guidance is 101", { $0.guidance = 101 }), ("no sampler \"euler\"", { $0.sampler = "euler" }),
            ("no sampler", { $0.sampler = "" }),
        ]
        for (part, change) in changes {
            expectFailure(.invalidArgument, part) { _ = try generator.generate(request(bits: task, change)) }
        }
        let ridge = try Generator(path: Trained.path("ridge"))
        expectFailure(.invalidArgument, "does not sample") {
            _ = try ridge.generate(request(bits: task) { $0.steps = 3 })
        }
        expectFailure(.invalidArgument, "does not sample") {
            _ = try ridge.generate(request(bits: task) { $0.sampler = "ddim" })
        }
    }

    @Test func `more steps than the schedule has are refused, and what is done is what is recorded`() throws {
        let generator = try Generator(path: Trained.path())
        for steps in [51, 1000, 100_000] {
            expectFailure(.invalidArgument, "steps is \(steps)", "1 to 50") {
                _ = try generator.generate(request(bits: task) { ($0.steps, $0.sampler) = (steps, "ddim") })
            }
        }
        expectFailure(.invalidArgument, "\"ddpm\" takes all 50 steps") {
            _ = try generator.generate(request(bits: task) { ($0.steps, $0.sampler) = (10, "ddpm") })
        }
        for (sampler, steps) in [
            ("ddim", 50), ("ddim", 7), ("ddpm", nil), ("dpm-solver++", 50), ("dpm-solver++", 3),
        ] as [(String, Int?)] {
            var seen = 0
            let adapter = try generator.generate(request(bits: task) { ($0.steps, $0.sampler) = (steps, sampler) }) {
                seen = $0.steps
                return false
            }[0]
            let recorded = try JSON.parse(adapter.metadata["loragen.origin"] ?? "", source: "")["steps"]?.integer
            // The solver's times are even in another measure, so that some fall together.
            #expect(recorded == seen && (sampler == "dpm-solver++" ? seen <= steps ?? 0 : seen == steps ?? 50))
        }
    }

    @Test func `guidance without a condition does nothing, and is not recorded as if it had`() throws {
        let scratch = try Scratch()
        let lines = (0..<6).map { Synthetic.line($0, ["bits": NSNull(), "split": "train"]) }
        try Synthetic.folder(scratch("c"), tasks: 0..<6, lines: lines)
        try trainGenerator(corpus: try Corpus(path: scratch("c")), path: scratch("g"), options: tinyOptions())
        let generator = try Generator(path: scratch("g"))
        let plain = try generator.generate(request())[0]
        let guided = try generator.generate(request { $0.guidance = 3 })[0]
        #expect(plain.copyValues() == guided.copyValues())
        #expect(try origin(guided)["guidance"]?.double == 1)
    }

    @Test func `a generator whose bytes were altered is found by its hash, not by opening it`() throws {
        let scratch = try Scratch()
        for path in [try Trained.path(), try Trained.path("ridge")] {
            try Generator(path: path).checkHash()
            let whole = try contents(path)
            var random = Random(seed: 2)
            let bytes = try SafetensorsBytes(path: path)
            for _ in 0..<40 {
                var altered = whole
                altered[whole.count - 1 - random.integer(below: bytes.data.count)] ^= 4
                try write(altered, to: scratch("g"))
                guard let generator = try? Generator(path: scratch("g")) else { continue }
                expectFailure(.format, scratch("g"), "hash") { try generator.checkHash() }
            }
        }
    }

    @Test func `a request whose conditions are far beyond numbers is refused`() throws {
        let generator = try Generator(path: Trained.path())
        expectFailure(.nonFinite) {
            _ = try generator.generate(request { $0.vector = [3e38, -3e38, 3e38, 3e38, 3e38] })
        }
    }

    @Test func `generation is cancelled from its progress`() throws {
        let generator = try Generator(path: Trained.path())
        var seen: [Learning.Progress] = []
        expectFailure(.cancelled) {
            _ = try generator.generate(request(bits: task) { ($0.samples, $0.sampler) = (1000, "ddpm") }) {
                seen.append($0)
                return seen.count == 3
            }
        }
        #expect(seen.count == 3)
        #expect(seen.allSatisfy { $0.stage == "sampling" && $0.steps == 50_000 })
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.step < $1.step })
        #expect(seen.dropFirst().allSatisfy { $0.secondsLeft.isFinite && $0.secondsLeft > 0 })
    }

    // MARK: Origin

    private func origin(_ adapter: Adapter) throws -> JSON {
        try JSON.parse(try #require(adapter.metadata["loragen.origin"]), source: "origin")
    }

    @Test func `the origin has the norm of the updates, and those of the training adapters`() throws {
        let generator = try Generator(path: Trained.path())
        let adapter = try generator.generate(request(bits: task))[0]
        let expected = norm(products(adapter))
        #expect(abs(try #require(origin(adapter)["norm"]?.double) - expected) < 1e-5 * expected)
        let corpus = try Synthetic.shared.get().corpus
        let norms = try corpus.indices(of: .train).map { norm(products(try corpus.adapter(at: $0))) }
        let range = try #require(origin(adapter)["trainingNorms"]?.array).compactMap(\.double)
        #expect(abs(range[0] - norms.min()!) < 1e-4 && abs(range[1] - norms.max()!) < 1e-4)
    }

    @Test func `a condition far from every training task shows in the origin`() throws {
        let scratch = try Scratch()
        let lines = (0..<16).map {
            Synthetic.line($0, ["bits": NSNull(), "condition": [Double($0 % 4), Double($0 / 4), 7], "split": "train"])
        }
        try Synthetic.folder(scratch("c"), tasks: 0..<16, lines: lines)
        try trainGenerator(
            corpus: try Corpus(path: scratch("c")), path: scratch("g"), options: tinyOptions(method: "ridge"))
        let generator = try Generator(path: scratch("g"))
        func distance(_ condition: [Float]) throws -> ConditionDistance {
            let adapter = try generator.generate(request { $0.vector = condition })[0]
            let origin = try origin(adapter)
            return ConditionDistance(
                toNearest: try #require(origin["conditionDistance"]?.double),
                usual: origin["trainingConditionDistance"]?.double)
        }
        // A grid with a deviation of √1.25, so that neighbours are 0.894 from each other.
        let inside = try distance([1.5, 1.5, 7])
        #expect(!inside.isFar && abs(inside.toNearest - 0.6325) < 1e-3)
        #expect(abs(try #require(inside.usual) - 0.8944) < 1e-3)
        #expect(try !distance([3.5, 0, 7]).isFar)
        #expect(try distance([30, 0, 7]).isFar && distance([0, -3, 7]).isFar)
    }

    @Test func `an adapter says where it comes from`() throws {
        let generator = try Generator(path: Trained.path())
        let adapters = try generator.generate(request(bits: task) { ($0.seed, $0.samples) = (.max, 2) })
        for (i, adapter) in adapters.enumerated() {
            let origin = try JSON.parse(try #require(adapter.metadata["loragen.origin"]), source: "origin")
            #expect(origin["generator"]?.string == generator.hash)
            #expect(origin["seed"]?.string == "18446744073709551615")
            #expect(origin["sample"]?.integer == i)
            #expect(origin["condition"]?.string == task)
            #expect(origin["sampler"]?.string == "dpm-solver++" && origin["steps"]?.integer == 5)
            let nearest = try #require(origin["nearest"]?.array)
            let distances = nearest.compactMap { $0["distance"]?.double }
            #expect(nearest.count == 3 && distances == distances.sorted())
        }
    }

    @Test func `the nearest task of a training task's adapter is that task`() throws {
        let generator = try Generator(path: Trained.path("nearest"))
        for index in [0, 5, 11] {
            let adapter = try generator.generate(request(bits: Synthetic.text(Synthetic.bits(index))))[0]
            let origin = try JSON.parse(try #require(adapter.metadata["loragen.origin"]), source: "origin")
            #expect(origin["nearest"]?.array?.first?["task"]?.string == "t\(index)")
            #expect(try #require(origin["nearest"]?.array?.first?["distance"]?.double) < 1e-3)
            #expect(relativeError(products(adapter), products(try Synthetic.adapter(Synthetic.bits(index)))) < 1e-5)
        }
    }

    @Test func `a condition of numbers is named by its digest`() throws {
        let generator = try Generator(path: Trained.path())
        let adapter = try generator.generate(request { $0.vector = [1, 0, 0, 0, 0.5] })[0]
        var digest = SHA256()
        ([1, 0, 0, 0, 0.5] as [Float]).withUnsafeBytes { digest.update($0) }
        let origin = try JSON.parse(try #require(adapter.metadata["loragen.origin"]), source: "origin")
        #expect(origin["condition"]?.string == digest.finish())
    }

    // MARK: Per-task statistics

    @Test func `a generator with per-task statistics takes its training tasks and refuses others`() throws {
        let path = try Trained.path("mean", settings: #"{"normaliser": "per-task"}"#)
        let generator = try Generator(path: path)
        let seen = try generator.generate(request(bits: Synthetic.text(Synthetic.bits(5))))[0]
        // One adapter a task: the task's mean is that adapter.
        #expect(relativeError(products(seen), products(try Synthetic.adapter(Synthetic.bits(5)))) < 1e-5)
        for unseen in [3, 4] {
            expectFailure(.unsupported, "training tasks") {
                _ = try generator.generate(request(bits: Synthetic.text(Synthetic.bits(unseen))))
            }
        }
        #expect(try JSON.parse(generator.report, source: "")["verdict"]?.string?.contains("per-task") == true)
    }
}
