import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Learning
@testable import Methods
@testable import Reports

/// Folders with one thing wrong each.
@Suite("Doctor for folders of adapters")
struct DiagnosisTests {
    private func codes(_ diagnosis: Diagnosis) -> Set<String> { Set(diagnosis.findings.map(\.code)) }

    private func finding(_ diagnosis: Diagnosis, _ code: String) throws -> Finding {
        try #require(diagnosis.findings.first { $0.code == code }, "\(codes(diagnosis))")
    }

    /// Adapters of one random subspace of four dimensions of factors each, without a manifest.
    private func folder(_ count: Int = 12) throws -> Scratch {
        let scratch = try Scratch()
        for i in 0..<count { try Synthetic.write(try Synthetic.adapter(Synthetic.bits(i)), to: scratch("t\(i)")) }
        return scratch
    }

    private func changed(_ adapter: Adapter, _ body: (Int, Float) -> Float) throws -> Adapter {
        try Adapter(layout: adapter.layout, values: adapter.copyValues().enumerated().map { body($0, $1) })
    }

    @Test("Norms that are all the same, however large, are one bar", arguments: [1e-15, 1, 1e8, 1e10, 1e18])
    func equalNorms(size: Float) throws {
        let scratch = try Scratch()
        for i in 0..<3 {
            let layout = try Layout(modules: [try ModuleShape(name: "m.l", inputs: 8, outputs: 8, rank: 1, alpha: 1)])
            var values = [Float](repeating: 0, count: 16)
            (values[i], values[8]) = (size, size)
            let adapter = try Adapter(layout: layout, values: values)
            try adapter.write(to: scratch("t\(i)"), format: .peft)
        }
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(diagnosis.svg.hasSuffix("</svg>\n") && !diagnosis.svg.contains("nan"), "\(diagnosis.svg)")
        _ = try diagnosis.json.text()
        #expect(diagnosis.text.contains("3 adapters"))
    }

    @Test("A sound corpus, and its numbers against dense arithmetic")
    func sound() throws {
        let corpus = try Synthetic.shared.get().corpus
        let diagnosis = try Diagnosis(path: corpus.path)
        #expect(!diagnosis.findings.contains { $0.severity == .error }, "\(diagnosis.text)")
        let chart = try #require(diagnosis.charts.first)
        let flat = try corpus.entries.indices.map { products(try corpus.adapter(at: $0)) }
        let diversity = try #require(chart.diversity)
        #expect(diversity.blocks == 32 && diversity.adapters == 32)

        var (mean, nearest) = (0.0, 0.0)
        for i in flat.indices {
            let others = flat.indices.filter { $0 != i }
            let average = flat[i].indices.map { k in others.reduce(0) { $0 + flat[$1][k] } / 31 }
            mean += pow(norm(zip(flat[i], average).map { $0 - $1 }), 2)
            let closest = others.filter { (i ^ $0).nonzeroBitCount == 1 }
            let neighbour = average.indices.map { k in closest.reduce(0) { $0 + flat[$1][k] } / Double(closest.count) }
            nearest += pow(norm(zip(flat[i], neighbour).map { $0 - $1 }), 2)
        }
        #expect(abs(try #require(diversity.nearestSkill) - (1 - nearest / mean)) < 1e-4)

        // Ridge regression that never saw the adapter, for the best of the three penalties.
        let conditions = corpus.entries.compactMap(\.numbers)
        var best = -Double.infinity
        for penalty in [1e-4, 1e-2, 1] {
            var error = 0.0
            for i in flat.indices {
                // All 32 tasks: the bits' mean is 1/2 and so is their deviation.
                func row(_ j: Int) -> [Double] { conditions[j].map { Double($0) * 2 - 1 } + [1] }
                let others = flat.indices.filter { $0 != i }
                let z = Dense(31, 6, others.flatMap(row))
                var normal = z.transposed * z
                for k in 0..<6 { normal[k, k] += 32 * (k < 5 ? penalty : 1e-9) }
                let y = Dense(31, flat[0].count, others.flatMap { flat[$0] })
                let prediction = (Dense(1, 6, row(i)) * normal.solving(z.transposed * y)).values
                error += pow(norm(zip(prediction, flat[i]).map { $0 - $1 }), 2)
            }
            best = max(best, 1 - error / mean)
        }
        #expect(abs(try #require(diversity.ridgeSkill) - best) < 1e-4)
    }

    @Test("What the span of the others explains, against least squares on the products themselves")
    func span() throws {
        let scratch = try Scratch()
        for i in 0..<10 { try Synthetic.write(try Synthetic.adapter(Synthetic.bits(3 * i)), to: scratch("t\(i)")) }
        let diagnosis = try Diagnosis(path: scratch.path)
        let chart = try #require(diagnosis.charts.first)
        #expect(chart.diversity?.blocks == 10, "\(diagnosis.text)")
        let flat = try (0..<10).map { products(try Synthetic.adapter(Synthetic.bits(3 * $0))) }
        var (span, mean) = (0.0, 0.0)
        for i in 0..<10 {
            let others = (0..<10).filter { $0 != i }
            let last = flat[others[8]]
            let columns = Dense(8, last.count, others.dropLast().flatMap { j in zip(flat[j], last).map { $0 - $1 } })
            let target = Dense(1, last.count, zip(flat[i], last).map { $0 - $1 })
            let weights = (columns * columns.transposed).solving(columns * target.transposed)
            let rest = zip(target.values, (weights.transposed * columns).values).map { $0 - $1 }
            span += norm(rest) * norm(rest)
            let average = last.indices.map { k in others.reduce(0) { $0 + flat[$1][k] } / 9 }
            mean += pow(norm(zip(flat[i], average).map { $0 - $1 }), 2)
        }
        #expect(abs(try #require(chart.diversity?.spanSkill) - (1 - span / mean)) < 1e-4)
    }

    @Test("Copies: the same bytes, the same product, nearly the same")
    func copies() throws {
        let scratch = try folder()
        let first = try Synthetic.adapter(Synthetic.bits(1))
        try Synthetic.write(first, to: scratch("same"))
        try Synthetic.write(try Synthetic.adapter(Synthetic.bits(2)).canonical(), to: scratch("turned"))
        let third = try Synthetic.adapter(Synthetic.bits(3))
        try Synthetic.write(try changed(third) { $1 * (1 + 0.01 * Float($0 % 3)) }, to: scratch("near"))
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(try finding(diagnosis, "exact-duplicate").adapters == ["same", "t1"])
        #expect(try Set(finding(diagnosis, "duplicate").adapters) == ["t2", "turned"])
        #expect(try Set(finding(diagnosis, "near-duplicate").adapters) == ["near", "t3"])
        #expect(try finding(diagnosis, "duplicate").severity == .warning)
        let clean = try folder()
        #expect(try Diagnosis(path: clean.path).findings.allSatisfy { !$0.code.hasSuffix("duplicate") })
    }

    @Test("A copy under another condition, or in another split, is an error")
    func wrongCopies() throws {
        let scratch = try Scratch()
        var lines = (0..<12).map { Synthetic.line($0, ["split": "train"]) }
        lines.append(Synthetic.line(20, ["split": "train"]))
        try Synthetic.folder(scratch.path, tasks: 0..<12, lines: lines)
        try Synthetic.write(try Synthetic.adapter(Synthetic.bits(1)), to: scratch("t20"))
        let condition = try finding(Diagnosis(path: scratch.path), "exact-duplicate")
        #expect(condition.severity == .error && condition.message.contains("2 different conditions"))
        lines[12]["split"] = "test"
        try write(try Synthetic.manifest(lines), to: scratch("corpus.jsonl"))
        let split = try finding(Diagnosis(path: scratch.path), "exact-duplicate")
        #expect(split.severity == .error && split.message.contains("different splits"))
    }

    @Test("The same direction at another strength is no copy, but a checkpoint of the run")
    func strengths() throws {
        let scratch = try Scratch()
        for run in 0..<6 {
            let adapter = try randomAdapter(seed: UInt64(run))
            let isB = adapter.layout.tensors.filter { $0.role == .b }.map(\.range)
            let weaker = try changed(adapter) { i, x in isB.contains { $0.contains(i) } ? 0.6 * x : x }
            try Synthetic.write(weaker, to: scratch("run\(run)/checkpoint-500"))
            try Synthetic.write(adapter, to: scratch("run\(run)/checkpoint-1000"))
        }
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(!codes(diagnosis).contains { $0.hasSuffix("duplicate") }, "\(diagnosis.text)")
        #expect(try finding(diagnosis, "same-run").adapters.count == 12)
        // As sliders, each strength for a condition of its own, they are what they should be, in whatever split.
        let lines = (0..<12).map { i -> [String: Any] in
            let (step, strength): (Int, Double) = i % 2 == 0 ? (500, 0.6) : (1000, 1)
            let condition = [Double(i / 2), strength]
            let split = i % 4 == 1 ? "test" : "train"
            return ["path": "run\(i / 2)/checkpoint-\(step)", "condition": condition, "split": split]
        }
        try write(try Synthetic.manifest(lines), to: scratch("corpus.jsonl"))
        let sliders = try Diagnosis(path: scratch.path)
        #expect(sliders.errorCount == 0 && !codes(sliders).contains("same-run"), "\(sliders.text)")
    }

    @Test("Where all have a near copy nothing is an outlier; what stands alone is")
    func outliers() throws {
        let scratch = try Scratch()
        for i in 0..<10 {
            let adapter = try randomAdapter(seed: UInt64(i))
            try Synthetic.write(adapter, to: scratch("a\(i)"))
            // Roundings of different size.
            try Synthetic.write(
                try changed(adapter) { $1 * (1 + 1e-5 * Float((i + $0) % (i + 2))) }, to: scratch("b\(i)"))
        }
        let copies = try Diagnosis(path: scratch.path)
        #expect(copies.findings.filter { $0.code == "duplicate" }.count == 10)
        #expect(!codes(copies).contains("direction-outlier"), "\(copies.text)")
        try Synthetic.write(try randomAdapter(seed: 99), to: scratch("alone"))
        #expect(try finding(Diagnosis(path: scratch.path), "direction-outlier").adapters == ["alone"])
    }

    @Test("Generators, models and other files beside the adapters are passed over and named")
    func otherFiles() throws {
        let scratch = try folder(4)
        try FileManager.default.copyItem(atPath: try Trained.path("ridge"), toPath: scratch("g.safetensors"))
        let header: [String: Any] = [
            "model.layers.0.q.weight": ["dtype": "F32", "shape": [1], "data_offsets": [0, 4]]
        ]
        try SafetensorsBytes(header: header, data: Data(count: 4)).save(to: scratch("model.safetensors"))
        try write("not really", to: scratch("model.onnx"))
        // This one is an adapter, and damaged.
        let adapter = ["x.lora_A.weight": ["dtype": "F32", "shape": [1], "data_offsets": [0, 4]]]
        try SafetensorsBytes(header: adapter, data: Data(count: 4)).save(to: scratch("half.safetensors"))
        let diagnosis = try Diagnosis(path: scratch.path)
        let others = try finding(diagnosis, "other-file")
        #expect(others.severity == .note && others.adapters.count == 3, "\(others.message)")
        #expect(others.message.contains("g.safetensors (a generator of this library)"))
        #expect(others.message.contains("model.safetensors (tensors of a model)"))
        #expect(diagnosis.adapterCount == 5 && diagnosis.errorCount == 0)
        #expect(diagnosis.findings.contains { $0.adapters == ["half.safetensors"] && $0.severity == .warning })
    }

    @Test("Checkpoints of the same runs")
    func runs() throws {
        let scratch = try Scratch()
        for run in 0..<5 {
            for step in 0..<3 {
                let adapter = try randomAdapter(seed: UInt64(run))
                let noise = try randomAdapter(seed: UInt64(100 + 3 * run + step)).copyValues()
                let moved = try changed(adapter) { $1 + 0.1 * noise[$0] }
                try Synthetic.write(moved, to: scratch("run\(run)/checkpoint-\(step)"))
            }
        }
        let diagnosis = try Diagnosis(path: scratch.path)
        let runs = try finding(diagnosis, "same-run")
        #expect(runs.adapters.count == 15 && runs.message.contains("5 sets"), "\(diagnosis.text)")
        let chart = try #require(diagnosis.charts.first)
        #expect(chart.runs.map(\.count) == [3, 3, 3, 3, 3])
        // Five random runs: they are left out together, and have nothing in common.
        #expect(try #require(chart.diversity?.blocks) == 5)
        #expect(try #require(chart.diversity?.spanSkill) < 0.3)
        #expect(codes(diagnosis).contains("too-few"))
        // With the runs named there is nothing to say, with a run in two splits there is.
        func manifest(_ split: (Int, Int) -> String) throws -> String {
            try Synthetic.manifest(
                (0..<15).map {
                    ["path": "run\($0 / 3)/checkpoint-\($0 % 3)", "run": "\($0 / 3)", "split": split($0 / 3, $0 % 3)]
                })
        }
        try write(try manifest { run, _ in run == 4 ? "test" : "train" }, to: scratch("corpus.jsonl"))
        #expect(try !codes(Diagnosis(path: scratch.path)).contains("same-run"))
        try write(try manifest { _, step in step == 2 ? "test" : "train" }, to: scratch("corpus.jsonl"))
        #expect(try finding(Diagnosis(path: scratch.path), "run-across-splits").severity == .error)
    }

    @Test("Dead, broken and odd adapters")
    func single() throws {
        let scratch = try folder(20)
        let adapter = try Synthetic.adapter(Synthetic.bits(1))
        func isB(_ i: Int, of module: Int) -> Bool {
            adapter.layout.tensors.contains { $0.range.contains(i) && $0.role == .b && $0.module == module }
        }
        try Synthetic.write(try changed(adapter) { _, _ in 0 }, to: scratch("zero"))
        let half = try changed(try Synthetic.adapter(Synthetic.bits(30))) { isB($0, of: 1) ? 0 : $1 }
        try Synthetic.write(half, to: scratch("half"))
        try Synthetic.write(try changed(try Synthetic.adapter(Synthetic.bits(31))) { 10 * $1 }, to: scratch("huge"))
        try Synthetic.write(try changed(adapter) { $0 == 7 ? .nan : $1 }, to: scratch("nan"))
        try write("{}", to: scratch("t5/adapter_config.json"))
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(try finding(diagnosis, "dead-adapter").adapters == ["zero"])
        let dead = try finding(diagnosis, "dead-module")
        #expect(dead.adapters == ["half"] && dead.message.contains("layers.0.v"))
        #expect(try finding(diagnosis, "norm-outlier").adapters == ["huge"])
        #expect(try finding(diagnosis, "non-finite").message.contains("element 7 is nan"))
        #expect(try finding(diagnosis, "unreadable").adapters == ["t5"])
        #expect(diagnosis.findings.map(\.severity) == diagnosis.findings.map(\.severity).sorted(by: >))
        #expect(diagnosis.verdict.hasPrefix("Mend 3 errors first."))
        let text = diagnosis.text
        for finding in diagnosis.findings { #expect(text.contains(finding.message) && text.contains(finding.advice)) }
        _ = try JSON.parse(diagnosis.json.text(), source: "diagnosis")
    }

    @Test("Groups by base model and modules, ranks beside each other")
    func groups() throws {
        let scratch = try folder(8)
        try Synthetic.write(try Synthetic.adapter(Synthetic.bits(9), rank: 4), to: scratch("wide"))
        for i in 0..<3 { try Synthetic.write(try randomAdapter(seed: UInt64(i), base: "other"), to: scratch("o\(i)")) }
        let diagnosis = try Diagnosis(path: scratch.path)
        #expect(diagnosis.charts.map(\.group.members.count) == [9, 3])
        #expect(codes(diagnosis).isSuperset(of: ["several-groups", "mixed-ranks"]))
        #expect(try finding(diagnosis, "mixed-ranks").message.contains("8 of rank 2, 1 of rank 4"))
    }

    @Test("Beyond the memory limit there are digests, near the exact numbers")
    func digests() throws {
        let corpus = try Synthetic.shared.get().corpus
        let exact = try #require(try Diagnosis(path: corpus.path).charts.first)
        let diagnosis = try Diagnosis(path: corpus.path, memoryLimit: 1)
        let estimated = try #require(diagnosis.charts.first)
        #expect(codes(diagnosis).contains("estimated") && !estimated.group.isExact)
        for i in 0..<32 {
            for j in 0..<i {
                let difference = try #require(estimated.gram.similarity(i, j)) - #require(exact.gram.similarity(i, j))
                #expect(abs(difference) < 0.15)
            }
        }
        let skills = try (#require(exact.diversity?.nearestSkill), #require(estimated.diversity?.nearestSkill))
        #expect(abs(skills.0 - skills.1) < 0.05)
    }

    @Test("Progress is told, and cancelling heeded")
    func cancelling() throws {
        let scratch = try folder(4)
        var steps: [Int] = []
        _ = try Diagnosis(path: scratch.path) { progress in
            steps.append(progress.step)
            return false
        }
        #expect(steps.contains(4))
        expectFailure(.cancelled) { _ = try Diagnosis(path: scratch.path) { _ in true } }
        expectFailure(.io) { _ = try Diagnosis(path: scratch("nothing")) }
        try FileManager.default.createDirectory(atPath: scratch("empty"), withIntermediateDirectories: true)
        expectFailure(.format, "no adapter") { _ = try Diagnosis(path: scratch("empty")) }
    }
}
