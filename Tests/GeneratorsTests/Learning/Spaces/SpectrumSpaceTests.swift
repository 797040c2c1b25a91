import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Generators
@testable import Hosts
@testable import Learning

/// A corpus of compact adapters, whose numbers are linear in six bits.
private struct CompactCorpus {
    let scratch: Scratch
    let basis: Basis
    private let effects: [[Float]]

    init(method: BasisMethod = .svfit) throws {
        scratch = try Scratch()
        var random = Random(seed: 3, stream: 0)
        var writer = SafetensorsWriter()
        for (name, m, n) in [("layers.0.q_proj", 16, 12), ("layers.1.q_proj", 9, 14)] {
            let values = (0..<(m * n)).map { _ in Float(random.uniform()) - 0.5 }
            try writer.add(name + ".weight", shape: [m, n], elements: values)
        }
        try writer.write(to: scratch("base.safetensors"))
        var options = BasisOptions()
        options.method = method
        options.rank = 5
        try BasisComputation.run(
            base: scratch("base.safetensors"), to: scratch("b.safetensors"), options: options)
        basis = try Basis(path: scratch("b.safetensors"))
        effects = (0..<10).map { _ in (0..<6).map { _ in 0.2 * (Float(random.uniform()) - 0.5) } }
        try FileManager.default.createDirectory(atPath: scratch("corpus"), withIntermediateDirectories: true)
        var lines = ""
        for task in 1..<48 {
            let bits = Self.bits(task)
            try CompactAdapter(basis: basis, deltas: deltas(bits)).write(to: scratch("corpus/\(bits).safetensors"))
            let split = task % 8 == 3 ? "test" : task % 8 == 5 ? "validation" : "train"
            lines +=
                "{\"path\":\"\(bits).safetensors\",\"task\":\"\(bits)\",\"run\":\"\(bits)\",\"split\":\"\(split)\",\"bits\":\"\(bits)\"}\n"
        }
        try write(lines, to: scratch("corpus/corpus.jsonl"))
    }

    static func bits(_ task: Int) -> String {
        let text = String(task, radix: 2)
        return String(repeating: "0", count: 6 - text.count) + text
    }

    func deltas(_ bits: String) -> [Float] {
        effects.map { row in zip(row, bits).reduce(0.05) { $0 + ($1.1 == "1" ? $1.0 : 0) } }
    }

    func train(_ method: String, settings: String? = nil) throws -> Generator {
        var options = TrainingOptions()
        options.method = method
        options.settings = settings
        let path = scratch("\(method).loragen.safetensors")
        try trainGenerator(corpus: Corpus(path: scratch("corpus")), path: path, options: options)
        return try Generator(path: path)
    }
}

@Suite("Spectrum space") struct SpectrumSpaceTests {
    @Test("Ridge regression on compact adapters gives a held-out task's numbers", arguments: BasisMethod.allCases)
    func ridge(method: BasisMethod) throws {
        let corpus = try CompactCorpus(method: method)
        let generator = try corpus.train("ridge")
        var request = GenerationRequest()
        request.bits = CompactCorpus.bits(11)
        let compact = try #require(try generator.generateCompact(request).first)
        let expected = corpus.deltas(CompactCorpus.bits(11)).map(Double.init)
        #expect(relativeError(compact.deltas.map(Double.init), expected) < 0.05)
        let adapter = try CompactExpansion(compact, basis: corpus.basis).adapter()
        let real = try CompactExpansion(
            CompactAdapter(basis: corpus.basis, deltas: corpus.deltas(CompactCorpus.bits(11))), basis: corpus.basis
        ).adapter()
        for i in 0..<2 {
            let (own, cross, other) = (adapter.inner(i, adapter, i), adapter.inner(i, real, i), real.inner(i, real, i))
            #expect((own - 2 * cross + other) / other < 0.01)
        }
        try generator.checkHash()
        // Numbers for each direction are in the file, and no directions.
        let file = try SafetensorsFile(path: corpus.scratch("ridge.loragen.safetensors"))
        let kept = file.tensors.filter { $0.name.hasPrefix("spectrum.") }.reduce(0) { $0 + $1.count }
        #expect(kept == 10 + 10 + 2 * 8 + (method == .loldu ? 10 : 0))
    }

    @Test(
        "Every method takes compact adapters as its target",
        arguments: ["mean", "nearest", "ridge-pairs", "kernel-ridge", "mlp", "cond-pdiff", "rpg"])
    func methods(method: String) throws {
        let corpus = try CompactCorpus()
        let short = ["mlp": "{\"steps\":20}", "cond-pdiff": "{\"steps\":20}", "rpg": "{\"steps\":20}"]
        let generator = try corpus.train(method, settings: short[method])
        let ranks = generator.compactTemplate?.layout.modules.map { $0.rank }
        #expect(ranks == [5, 5])
        var request = GenerationRequest()
        request.bits = CompactCorpus.bits(11)
        let compact = try #require(try generator.generateCompact(request).first)
        #expect(!compact.deltas.contains { !$0.isFinite })
        for i in 0..<2 { #expect(compact.relativeChange(ofModule: i) <= 2) }
        _ = try CompactExpansion(compact, basis: corpus.basis).adapter()
        let again = try generator.generateCompact(request, sample: 0)
        #expect(again.deltas == compact.deltas)
    }

    @Test("Adapters of another basis do not belong to a corpus, and ordinary ones not into this space")
    func mixtures() throws {
        let corpus = try CompactCorpus()
        let other = try CompactCorpus(method: .loldu)
        let bits = CompactCorpus.bits(11)
        try FileManager.default.removeItem(atPath: corpus.scratch("corpus/\(bits).safetensors"))
        try CompactAdapter(basis: other.basis, deltas: other.deltas(bits)).write(
            to: corpus.scratch("corpus/\(bits).safetensors"))
        expectFailure(.mismatch, "other directions") { _ = try corpus.train("mean") }
    }

    @Test("A forged file cannot name other directions than its layout")
    func forged() throws {
        let corpus = try CompactCorpus()
        _ = try corpus.train("mean")
        let path = corpus.scratch("mean.loragen.safetensors")
        let file = try SafetensorsFile(path: path)
        func opened(_ change: (String, inout [Float]) -> Void) throws -> LoragenError.Code {
            var writer = SafetensorsWriter(metadata: file.metadata)
            for tensor in file.tensors {
                var values = try file.floats(tensor.name)
                change(tensor.name, &values)
                try writer.add(
                    tensor.name, shape: values.count == tensor.count ? tensor.shape : [values.count], elements: values)
            }
            try writer.write(to: corpus.scratch("forged.safetensors"))
            return failure { _ = try Generator(path: corpus.scratch("forged.safetensors")) }.code
        }
        var codes: [LoragenError.Code] = []
        codes.append(try opened { if $0 == "spectrum.sigma" { $1.removeLast() } })
        codes.append(try opened { if $0 == "spectrum.sigma" { $1[1] = 1e9 } })
        codes.append(try opened { if $0 == "spectrum.limits" { $1.removeLast() } })
        codes.append(try opened { if $0 == "spectrum.signatures" { $1.append(0) } })
        #expect(codes == [.format, .format, .format, .format])
    }
}
