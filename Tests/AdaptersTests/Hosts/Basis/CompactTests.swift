import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

@Suite("Compact adapters") struct CompactTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func deltas(_ count: Int, _ seed: UInt64 = 9) -> [Float] {
        var random = TestRandom(state: seed)
        return (0..<count).map { _ in 0.3 * random.normal() }
    }

    /// `left · diag(δ) · right` of a module in double.
    private func update(_ factors: BasisFactors, _ delta: [Float]) -> [Double] {
        let (m, n, r) = (factors.shape.outputs, factors.shape.columns, factors.shape.rank)
        var result = [Double](repeating: 0, count: m * n)
        for i in 0..<m {
            for k in 0..<r {
                let factor = Double(factors.left[i * r + k]) * Double(delta[k])
                for j in 0..<n { result[i * n + j] += factor * Double(factors.right[k * n + j]) }
            }
        }
        return result
    }

    @Test("An expanded adapter is the same update, at small and full rank", arguments: BasisMethod.allCases, [3, 0])
    func expansion(method: BasisMethod, rank: Int) throws {
        let basis = try makeBasis(scratch("b.safetensors")) {
            $0.method = method
            $0.rank = rank == 0 ? nil : rank
        }
        let count = basis.layout.modules.reduce(0) { $0 + $1.rank }
        let compact = try CompactAdapter(basis: basis, deltas: deltas(count))
        let expanded = try CompactExpansion(compact, basis: basis).adapter()
        for (i, module) in compact.modules.enumerated() {
            #expect(expanded.layout.modules[i].rank == module.shape.rank)
            #expect(relativeError(product(expanded, i), update(try basis.factors(of: i), module.delta)) < 1e-6)
        }
        // Written a module at a time it is the same file as from memory.
        try CompactExpansion(compact, basis: basis).write(to: scratch("a"), format: .peft)
        try expanded.write(to: scratch("b"), format: .peft)
        #expect(
            try contents(scratch("a/adapter_model.safetensors")) == contents(scratch("b/adapter_model.safetensors")))
        #expect(try contents(scratch("a/adapter_config.json")) == contents(scratch("b/adapter_config.json")))
    }

    @Test("Nothing changes at δ = 0, and the weight itself vanishes at δ = −σ")
    func ends() throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.rank = nil }
        let sigma = try basis.layout.modules.indices.flatMap { try basis.factors(of: $0).sigma }
        let none = try CompactAdapter(basis: basis, deltas: [Float](repeating: 0, count: sigma.count))
        #expect(try CompactExpansion(none, basis: basis).adapter().copyValues().allSatisfy { $0 == 0 })
        let all = try CompactAdapter(basis: basis, deltas: sigma.map { -$0 })
        let expanded = try CompactExpansion(all, basis: basis).adapter()
        for (i, shape) in basis.layout.modules.enumerated() {
            #expect(relativeError(product(expanded, i).map { -$0 }, try reference(shape.name + ".w")) < 1e-5)
        }
    }

    @Test("A file comes back as it was, in both coordinates", arguments: BasisMethod.allCases)
    func file(method: BasisMethod) throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.method = method }
        let compact = try CompactAdapter(basis: basis, deltas: deltas(20), metadata: ["task": "seven"])
        for coordinates in [CompactCoordinates.absolute, .relative] {
            try compact.write(to: scratch("c.safetensors"), coordinates: coordinates)
            let read = try CompactAdapter(path: scratch("c.safetensors"))
            #expect(relativeError(read.deltas.map(Double.init), compact.deltas.map(Double.init)) < 1e-7)
            #expect(read.metadata == ["task": "seven"])
            #expect(compact.difference(from: read) == nil)
            _ = try CompactExpansion(read, basis: basis).adapter()
        }
    }

    @Test("A smaller rank takes the first directions of a larger basis")
    func smallerRank() throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.rank = 8 }
        let small = try makeBasis(scratch("s.safetensors")) { $0.rank = 2 }
        let compact = try CompactAdapter(basis: small, deltas: deltas(10))
        let (a, b) = (
            try CompactExpansion(compact, basis: small).adapter(), try CompactExpansion(compact, basis: basis).adapter()
        )
        for i in 0..<5 { #expect(relativeError(product(a, i), product(b, i)) < 1e-5) }
        let larger = try CompactAdapter(basis: basis, deltas: deltas(40))
        #expect(failure { _ = try CompactExpansion(larger, basis: small) }.code == .mismatch)
    }

    @Test("Another base, another method and other directions of the same weight are refused")
    func wrongBasis() throws {
        let values = (0..<64).map { Float($0 % 9 == 0 ? 1 : 0) }
        try writeWeight(values, [8, 8], to: scratch("w.safetensors"))
        let basis = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors"))
        let compact = try CompactAdapter(basis: basis, deltas: deltas(4))
        var other = values
        other[0] = 2
        try writeWeight(other, [8, 8], to: scratch("v.safetensors"))
        let wrong = try makeBasis(scratch("o.safetensors"), of: scratch("v.safetensors"))
        #expect(contains(failure { _ = try CompactExpansion(compact, basis: wrong) }.message, "fingerprint"))
        let lu = try makeBasis(scratch("l.safetensors"), of: scratch("w.safetensors")) { $0.method = .loldu }
        #expect(failure { _ = try CompactExpansion(compact, basis: lu) }.code == .mismatch)
        // The identity has no directions of its own: these are as good, and not the adapter's.
        let file = try SafetensorsFile(path: scratch("b.safetensors"))
        var writer = SafetensorsWriter(metadata: file.metadata)
        for tensor in file.tensors {
            var floats = try file.floats(tensor.name)
            if tensor.name.hasSuffix(".left") { floats = (0..<32).map { Float($0 / 4 == 7 - $0 % 4 ? 1 : 0) } }
            if tensor.name.hasSuffix(".right") { floats = (0..<32).map { Float($0 % 8 == 7 - $0 / 8 ? 1 : 0) } }
            try writer.add(tensor.name, shape: tensor.shape, elements: floats)
        }
        try writer.write(to: scratch("r.safetensors"))
        let turned = try Basis(path: scratch("r.safetensors"))
        let error = failure { _ = try CompactExpansion(compact, basis: turned).adapter() }
        #expect(error.code == .mismatch && contains(error.message, "signatures"))
    }

    @Test("A LoRA that was expanded projects back to its numbers", arguments: BasisMethod.allCases)
    func projection(method: BasisMethod) throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.method = method }
        let compact = try CompactAdapter(basis: basis, deltas: deltas(20))
        let back = try CompactProjection(CompactExpansion(compact, basis: basis).adapter(), basis: basis)
        #expect(abs(back.total - 1) < 1e-5)
        #expect(relativeError(back.adapter.deltas.map(Double.init), compact.deltas.map(Double.init)) < 1e-5)
    }

    @Test("A LoRA of any other kind is at chance and refused, unless asked for")
    func chance() throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.rank = 8 }
        let layout = try basis.layout.withRank(4)
        var random = TestRandom(state: 4)
        let lora = try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
        let error = failure { _ = try CompactProjection(lora, basis: basis) }
        #expect(error.code == .unsupported && contains(error.message, "energy"))
        let all = try CompactProjection(lora, basis: basis, least: 0)
        #expect(all.total < 3 * all.chance && all.chance < 0.05)
        // Least squares: what is left is orthogonal to each direction, so energies add up.
        let expanded = try CompactExpansion(all.adapter, basis: basis).adapter()
        let (whole, part) = (lora.squaredNorms(), expanded.squaredNorms())
        for i in whole.indices { #expect(abs(part[i] / whole[i] - all.captured[i]) < 1e-5) }
    }

    @Test("Truncation loses the energy of what is dropped, and is what a cut of the expanded adapter is")
    func truncation() throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.rank = 8 }
        let compact = try CompactAdapter(basis: basis, deltas: deltas(40))
        let (cut, lost) = try compact.truncated(to: 3)
        let whole = try CompactExpansion(compact, basis: basis)
        let ranked = try whole.adapter(rank: 3)
        let expanded = try CompactExpansion(cut, basis: basis).adapter()
        let norms = try whole.adapter().squaredNorms()
        let energy = zip(ranked.energyLost, norms).reduce(0) { $0 + $1.0 * $1.1 } / norms.reduce(0, +)
        #expect(abs(lost - energy) < 1e-5)
        for i in 0..<5 { #expect(relativeError(product(expanded, i), product(ranked.adapter, i)) < 1e-4) }
    }

    @Test("A trust region holds each change to a share of what the weight has")
    func trust() throws {
        let basis = try makeBasis(scratch("b.safetensors"))
        let compact = try CompactAdapter(basis: basis, deltas: deltas(20).map { 100 * $0 }).limited(to: 0.5)
        for i in 0..<5 { #expect(abs(compact.relativeChange(ofModule: i) - 0.5) < 1e-6) }
    }

    @Test("Numbers that are not finite, counts that are not the basis', and tampered files are refused")
    func refusals() throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.method = .loldu }
        #expect(failure { _ = try CompactAdapter(basis: basis, deltas: deltas(19)) }.code == .invalidArgument)
        var values = deltas(20)
        values[7] = .nan
        #expect(failure { _ = try CompactAdapter(basis: basis, deltas: values) }.code == .nonFinite)
        try CompactAdapter(basis: basis, deltas: deltas(20)).write(to: scratch("c.safetensors"))
        let file = try SafetensorsFile(path: scratch("c.safetensors"))
        func code(_ metadata: [String: String], pivot: Int32? = nil) throws -> LoragenError.Code {
            var writer = SafetensorsWriter(metadata: metadata)
            for tensor in file.tensors {
                if tensor.type == .i32 {
                    var pivots: [Int32] = try file.elements(tensor.name)
                    if let pivot { pivots[0] = pivot }
                    try writer.add(tensor.name, shape: tensor.shape, elements: pivots)
                } else {
                    try writer.add(tensor.name, shape: tensor.shape, elements: try file.floats(tensor.name))
                }
            }
            try writer.write(to: scratch("t.safetensors"))
            return failure { _ = try CompactAdapter(path: scratch("t.safetensors")) }.code
        }
        for key in ["layout", "method", "fingerprints", "fit", "coords"] {
            #expect(try code(file.metadata.filter { $0.key != key }) == .format)
        }
        for pivot in [-1, 1 << 30] { #expect(try code(file.metadata, pivot: Int32(pivot)) == .format) }
        #expect(failure { _ = try Adapter.read(path: scratch("c.safetensors")) }.code == .unsupported)
    }
}
