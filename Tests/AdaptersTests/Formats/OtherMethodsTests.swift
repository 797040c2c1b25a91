import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

/// Golden/methods/make.py: folders that PEFT 0.21.2 saved, and the updates that it computes for them.
@Suite("PEFT folders of other methods") struct OtherMethodsTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func expected(_ method: String, _ module: String) throws -> [Double] {
        try SafetensorsFile(path: golden("methods/reference.safetensors")).elements("\(method).\(module)")
    }

    @Test(
        "VeRA, LoHa and LoKr become LoRA exactly",
        arguments: [("vera", 3), ("loha", 9), ("lokr", 2), ("lokr-whole", 8)])
    func exact(method: String, rank: Int) throws {
        var notes: [String] = []
        let adapter = try Adapter.read(path: golden("methods/\(method)"), base: golden("methods/base.safetensors")) {
            notes.append($0)
        }
        for (i, module) in adapter.layout.modules.enumerated() {
            #expect(relativeError(product(adapter, i), try expected(method, module.name)) < 1e-6)
        }
        #expect(contains(notes[0], "exactly"))
        #expect(adapter.layout.modules.map(\.rank).max() == rank)
    }

    @Test("With a rank it is the best approximation, and says what is kept", arguments: ["loha", "lokr-whole"])
    func truncated(method: String) throws {
        var notes: [String] = []
        let whole = try Adapter.read(path: golden("methods/\(method)"))
        let adapter = try Adapter.read(path: golden("methods/\(method)"), rank: 2) { notes.append($0) }
        let best = try whole.recut(rank: 2)
        for i in adapter.layout.modules.indices {
            #expect(relativeError(product(adapter, i), product(best.adapter, i)) < 1e-5)
        }
        let norms = whole.squaredNorms()
        let kept = 1 - zip(best.energyLost, norms).reduce(0) { $0 + $1.0 * $1.1 } / norms.reduce(0, +)
        #expect(contains(notes[0], "keeps \(ProductFolder.percent(kept))"))
        try Conversion.run(
            from: golden("methods/\(method)"), to: scratch("out"), format: .peft, options: WriteOptions(), rank: 2)
        #expect(try PEFTFolder.read(path: scratch("out")).layout.modules.allSatisfy { $0.rank == 2 })
    }

    @Test("VeRA without a base model, or without its random matrices, says what to do")
    func vera() throws {
        let error = failure { _ = try Adapter.read(path: golden("methods/vera")) }
        #expect(error.code == .invalidArgument && contains(error.message, "--base"))
    }

    @Test("PSOFT with a diagonal is SVFit, read and written; PEFT's update is that of the compact adapter")
    func psoft() throws {
        var options = BasisOptions()
        options.rank = 3
        options.targets = ["first", "second"]
        try BasisComputation.run(
            base: golden("methods/base.safetensors"), to: scratch("b.safetensors"), options: options)
        let basis = try Basis(path: scratch("b.safetensors"))
        let compact = try PSOFTFolder.read(path: golden("methods/psoft"), basis: basis)
        let adapter = try CompactExpansion(compact, basis: basis).adapter()
        for (i, module) in adapter.layout.modules.enumerated() {
            #expect(relativeError(product(adapter, i), try expected("psoft", module.name)) < 5e-6)
        }
        try PSOFTFolder.write(compact, to: scratch("out"))
        let back = try PSOFTFolder.read(path: scratch("out"), basis: basis)
        #expect(relativeError(back.deltas.map(Double.init), compact.deltas.map(Double.init)) < 1e-6)
        #expect(compact.difference(from: back) == nil)
        let turned = failure { _ = try PSOFTFolder.read(path: golden("methods/psoft-turned"), basis: basis) }
        #expect(turned.code == .unsupported && contains(turned.message, "signs"))
    }
}
