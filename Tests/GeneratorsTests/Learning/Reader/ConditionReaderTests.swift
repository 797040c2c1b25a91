import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Conditions
@testable import Files
@testable import Generators
@testable import Learning
@testable import Methods
@testable import Reports

/// Words as tokens "on" or "off". Its pooled vector says how many are on, and not which.
private final class OrderlessEncoder: ConditionEncoder {
    let width = 1
    let stateWidth = 2
    let layers = 1
    let folder = "orderless"

    func description() -> JSON { .object(["identity": "0123456789abcdef", "width": 1]) }

    private func words(_ value: ConditionValue) -> [Substring] {
        guard case .bytes(let bytes) = value else { return [] }
        return Substring(decoding: bytes, as: UTF8.self).split(separator: " ")
    }

    func vectors(_ values: [ConditionValue]) throws(LoragenError) -> [[Float]] {
        values.map { [Float(words($0).count { $0 == "on" })] }
    }

    /// Layer 1 has lost which word is which.
    func states(_ values: [ConditionValue], _ tokens: TokenFeatures) throws(LoragenError) -> [[Float]] {
        values.map { value in
            let words = words(value)
            let states = words.flatMap { tokens.layer == 1 ? [1, 1] : $0 == "on" ? [1, 0] : [0, 1] as [Float] }
            return tokens.block(Tensor(states, shape: [words.count, 2]))
        }
    }
}

private let encoders = {
    var encoders = ConditionEncoders()
    encoders["text"] = OrderlessEncoder()
    return encoders
}()

private func corpus() throws -> Scratch {
    let scratch = try Scratch()
    try Synthetic.folder(
        scratch.path,
        lines: (0..<32).map { task in
            let words = Synthetic.bits(task).map { $0 == 1 ? "on" : "off" }.joined(separator: " ")
            return Synthetic.line(task, ["bits": NSNull(), "text": words])
        })
    return scratch
}

private let small =
    #""reader": "tokens", "reader.tokens": 6, "reader.width": 16, "reader.heads": 2, "reader.hidden": 32, "reader.queries": 6, "reader.tokenDropout": 0"#

/// The numbers of an adapter, which live no longer than it does.
private func values(_ adapters: [Adapter]) -> [Float] {
    guard let adapter = adapters.first else { return [] }
    defer { withExtendedLifetime(adapter) {} }
    return Array(adapter.values)
}

@Suite struct ConditionReaderTests {
    private func trained(
        _ scratch: Scratch, _ settings: String, _ method: String = "kernel-ridge", progress: ProgressHandler? = nil
    ) throws -> Generator {
        var options = TrainingOptions()
        (options.method, options.settings, options.encoders) = (method, settings, encoders)
        let path = scratch.path + "-generator"
        try trainGenerator(corpus: Corpus(path: scratch.path), path: path, options: options, progress: progress)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Generator(path: path, encoders: encoders)
    }

    @Test func `tokens tell apart what a pooled vector cannot, and the layer is chosen by validation`() throws {
        let scratch = try corpus()
        // Last losses of the layers that are tried. How many words are "on", which is all that a pooled vector says, would
        // explain a fifth.
        var losses: [Double] = []
        let generator = try trained(
            scratch,
            "{\(small), \"reader.steps\": 300, \"reader.dropout\": 0, \"reader.patience\": 100, \"reader.rate\": 3e-3}",
            progress: { progress in
                if progress.stage == "reader" {
                    if progress.step < 10 || losses.isEmpty { losses.append(progress.loss) }
                    losses[losses.count - 1] = progress.loss
                }
                return false
            })
        #expect(generator.schema.parts[0].tokens == TokenFeatures(count: 6, layer: 0))
        #expect(losses.min() ?? 1 < 0.6 && losses.max() ?? 0 > 0.8, "\(losses)")
        let report = Report(json: try JSON.parse(generator.report, source: ""))
        #expect(report.training.first?.name == "reader")
        // A sentence gives an adapter; the encoder's states, flat, give the same.
        var request = GenerationRequest()
        request.condition = .text("on off off on on")
        let words = values(try generator.generate(request))
        request.condition = .vector([1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0])
        #expect(try values(generator.generate(request)) == words)
    }

    @Test func `the same seed gives the same bytes, and every method can ask through a reader`() throws {
        let scratch = try corpus()
        let settings = "{\(small), \"reader.layer\": 0, \"reader.steps\": 20, \"steps\": 20}"
        let hashes = try (0..<2).map { _ in try trained(scratch, settings, "mlp").hash }
        #expect(hashes[0] == hashes[1])
        for method in ["cond-pdiff", "rpg"] {
            #expect(try trained(scratch, settings, method).schema.featureWidth == 6 * 2)
        }
    }

    @Test func `features of a row do not depend on those beside it`() throws {
        let parts = try Condition.text("on").parts(encoders, tokens: TokenFeatures(count: 3, layer: 0))
        let settings = try ReaderSettings(ReaderSettings.defaults.overridden(by: "{\(small)}"))
        let reader = ConditionReader(parts, settings, Random(seed: 1))
        #expect(reader.parameterCount == ConditionReader.weightCount(parts, settings))
        var random = Random(seed: 2)
        let numbers: Tensor<Float> = random.normal([5, 6])
        var schema = try Schema(parts, fitting: (0..<5).map { numbers.slice(axis: 0, $0..<($0 + 1)).values })
        schema.reader = reader
        let rows = (0..<5).map { numbers.slice(axis: 0, $0..<($0 + 1)).values }
        let all = schema.features(rows)
        for (i, row) in rows.enumerated() {
            #expect(schema.features([row]).values == all.slice(axis: 0, i..<(i + 1)).values)
        }
        // Numbers of tokens are not scaled: the reader has norms of its own.
        #expect(schema.scale.scale.allSatisfy { $0 == 1 } && schema.scale.shift.allSatisfy { $0 == 0 })
    }

    @Test(
        "settings of a reader that make none are refused",
        arguments: [
            (#"{"reader": "eyes"}"#, "reader"), (#"{"reader": "tokens", "reader.heads": 5}"#, "heads"),
            (#"{"reader": "tokens", "reader.layer": 7}"#, "layers 0 to 1"), (#"{"reader.smell": 1}"#, "reader.smell"),
        ])
    func refused(settings: String, message: String) throws {
        let scratch = try corpus()
        expectFailure(.invalidArgument, message) { _ = try trained(scratch, settings) }
    }

    @Test func `a corpus without texts cannot be read token by token`() throws {
        let scratch = try Scratch()
        try Synthetic.folder(scratch.path)
        expectFailure(.invalidArgument, "not asked by texts") { _ = try trained(scratch, #"{"reader": "tokens"}"#) }
    }
}
