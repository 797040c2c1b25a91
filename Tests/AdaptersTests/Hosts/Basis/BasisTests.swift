import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files
@testable import Formats
@testable import Hosts

/// Golden/basis/make.py: weights in two shards, and PyTorch's SVD and LU of them in double.
private let base = golden("basis/base")
private let names = [
    "h.0.attn.c_attn", "model.conv", "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
]

/// A tensor of the reference, row-major.
func reference(_ name: String) throws -> [Double] {
    let file = try SafetensorsFile(path: golden("basis/reference.safetensors"))
    return try file.elements(name)
}

/// Makes a basis and opens it.
func makeBasis(
    _ path: String, of base: String = golden("basis/base"), _ change: (inout BasisOptions) -> Void = { _ in }
) throws -> Basis {
    var options = BasisOptions()
    options.rank = 4
    change(&options)
    try BasisComputation.run(base: base, to: path, options: options)
    return try Basis(path: path)
}

/// Writes a model of one float32 weight.
func writeWeight(_ values: [Float], _ shape: [Int], to path: String, type: ElementType = .f32) throws {
    var writer = SafetensorsWriter(metadata: ["format": "pt"])
    try values.withUnsafeBufferPointer { buffer in
        try writer.add("layers.0.q_proj.weight", shape: shape, floats: buffer, as: type)
        try writer.write(to: path)
    }
}

@Suite("Basis") struct BasisTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test(
        "SVFit's directions are PyTorch's, of sharded weights in three types, a convolution and a Conv1D",
        arguments: [3, 0])
    func singularVectors(rank: Int) throws {
        let basis = try makeBasis(scratch("b.safetensors")) { $0.rank = rank == 0 ? nil : rank }
        #expect(basis.layout.modules.map(\.name) == names)
        for (i, shape) in basis.layout.modules.enumerated() {
            let factors = try basis.factors(of: i)
            let (m, n, k) = (shape.outputs, shape.columns, min(shape.outputs, shape.columns))
            #expect(shape.rank == (rank == 0 ? k : rank))
            let (u, s, vh) = (
                try reference(shape.name + ".u"), try reference(shape.name + ".s"), try reference(shape.name + ".vh")
            )
            for r in 0..<shape.rank {
                #expect(abs(Double(factors.sigma[r]) - s[r]) < 1e-5 * s[r])
                // Both signs are right; that of the product counts.
                for place in 0..<min(m * n, 50) {
                    let (row, column) = (place * 7 % m, place * 5 % n)
                    let ours = Double(factors.left[row * shape.rank + r]) * Double(factors.right[r * n + column])
                    #expect(abs(ours - u[row * k + r] * vh[r * n + column]) < 2e-5)
                }
            }
        }
    }

    @Test("LoLDU's factors and pivots are PyTorch's", arguments: [3, 0])
    func partialLU(rank: Int) throws {
        let basis = try makeBasis(scratch("b.safetensors")) {
            $0.method = .loldu
            $0.rank = rank == 0 ? nil : rank
        }
        let file = try SafetensorsFile(path: golden("basis/reference.safetensors"))
        for (i, shape) in basis.layout.modules.enumerated() {
            let factors = try basis.factors(of: i)
            let (m, n, r) = (shape.outputs, shape.columns, shape.rank)
            let k = min(m, n)
            let (pl, lu, d) = (
                try reference(shape.name + ".pl"), try reference(shape.name + ".lu"), try reference(shape.name + ".d")
            )
            let pivots: [Int32] = try file.elements(shape.name + ".pivots")
            #expect(factors.pivots == Array(pivots.prefix(r)))
            #expect(relativeError(factors.sigma.map(Double.init), Array(d.prefix(r))) < 1e-6)
            let left = (0..<(m * r)).map { pl[$0 / r * k + $0 % r] }
            #expect(relativeError(factors.left.map(Double.init), left) < 1e-6)
            #expect(relativeError(factors.right.map(Double.init), Array(lu.prefix(r * n))) < 1e-6)
        }
    }

    @Test("Stored pivots give the same factors without a search, at full rank too")
    func storedPivots() throws {
        let first = try makeBasis(scratch("a.safetensors")) {
            $0.method = .loldu
            $0.rank = nil
        }
        let second = try makeBasis(scratch("b.safetensors")) {
            $0.method = .loldu
            $0.rank = nil
            $0.pivots = scratch("a.safetensors")
        }
        for i in first.layout.modules.indices {
            let (a, b) = (try first.factors(of: i), try second.factors(of: i))
            #expect(a.pivots == b.pivots)
            #expect(relativeError(b.left.map(Double.init), a.left.map(Double.init)) < 1e-6)
            #expect(relativeError(b.right.map(Double.init), a.right.map(Double.init)) < 1e-6)
        }
    }

    /// With a flat spectrum, which is the hard case.
    private func random(_ m: Int, _ n: Int, _ seed: UInt64) -> [Float] {
        var random = TestRandom(state: seed)
        return (0..<(m * n)).map { _ in random.normal() }
    }

    @Test("Block Lanczos agrees with the full SVD on a flat spectrum", arguments: [(700, 820), (820, 700)])
    func lanczos(m: Int, n: Int) throws {
        try writeWeight(random(m, n, 3), [m, n], to: scratch("w.safetensors"), type: .bf16)
        let matrix = try BaseCheckpoint(path: scratch("w.safetensors")).matrix(of: "layers.0.q_proj")
        #expect(BlockLanczos.suits(matrix, rank: 8))
        let found = try #require(try BlockLanczos(matrix: matrix, rank: 8, tolerance: 1e-5).run {})
        let full = try DenseSVD.run(matrix, rank: 8)
        #expect(found.residual < 2e-5)
        for i in 0..<8 {
            #expect(abs(found.sigma[i] - full.sigma[i]) < 1e-5 * full.sigma[i])
            let angle = (0..<m).reduce(0.0) { $0 + Double(found.left.row(i)[$1]) * Double(full.left.row(i)[$1]) }
            #expect(abs(angle - 1) < 1e-4)
        }
    }

    @Test("Bytes do not depend on threads, and a checkpoint ends in the same ones")
    func determinism() throws {
        try writeWeight(random(660, 700, 5), [660, 700], to: scratch("w.safetensors"))
        let before = Threads.count
        defer { Threads.count = before }
        var files: [[UInt8]] = []
        for threads in [1, 2] {
            Threads.count = threads
            _ = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors"))
            files.append(try contents(scratch("b.safetensors")))
        }
        _ = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors")) { $0.checkpoint = scratch("parts") }
        files.append(try contents(scratch("b.safetensors")))
        #expect(files[0] == files[1] && files[0] == files[2])
        #expect(Scratch.names(scratch("parts")).isEmpty)
    }

    @Test("A cancelled run leaves nothing but its checkpoint, and goes on from there")
    func cancel() throws {
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = 1
        var options = BasisOptions()
        options.checkpoint = scratch("parts")
        options.progress = { $0.done >= 2 }
        let error = failure { try BasisComputation.run(base: base, to: scratch("b.safetensors"), options: options) }
        #expect(error.code == .cancelled)
        #expect(!scratch.names.contains("b.safetensors"))
        #expect(Scratch.names(scratch("parts")).count == 2)
        var first: Int?
        options.progress = {
            first = first ?? $0.done
            return false
        }
        try BasisComputation.run(base: base, to: scratch("b.safetensors"), options: options)
        #expect(first == 2)
        _ = try makeBasis(scratch("c.safetensors")) { $0.rank = 16 }
        #expect(try contents(scratch("b.safetensors")) == contents(scratch("c.safetensors")))
    }

    @Test("One changed bit of the base is another base")
    func fingerprint() throws {
        try writeWeight(random(8, 8, 1), [8, 8], to: scratch("w.safetensors"), type: .bf16)
        let basis = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors"))
        try basis.check(base: scratch("w.safetensors"))
        var bytes = try contents(scratch("w.safetensors"))
        bytes[bytes.count - 1] ^= 1
        try write(bytes, to: scratch("w.safetensors"))
        let error = failure { try basis.check(base: scratch("w.safetensors")) }
        #expect(error.code == .mismatch)
        #expect(contains(error.message, "layers.0.q_proj.weight"))
    }

    @Test("Rank-deficient and zero weights have singular directions; LU says which pivot is nothing")
    func deficient() throws {
        var values = random(12, 8, 2)
        for i in 0..<12 { values[i * 8 + 1] = values[i * 8] }
        try writeWeight(values, [12, 8], to: scratch("w.safetensors"))
        let basis = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors")) { $0.rank = nil }
        #expect(try basis.factors(of: 0).sigma.last.map { $0 < 1e-5 } == true)
        let error = failure {
            _ = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors")) { $0.method = .loldu }
        }
        #expect(error.code == .unsupported && contains(error.message, "pivot 1"))
        try writeWeight([Float](repeating: 0, count: 96), [12, 8], to: scratch("z.safetensors"))
        _ = try makeBasis(scratch("b.safetensors"), of: scratch("z.safetensors"))
        var bad = values
        bad[13] = .nan
        try writeRaw(bad, [12, 8], to: scratch("n.safetensors"))
        let nan = failure { _ = try makeBasis(scratch("b.safetensors"), of: scratch("n.safetensors")) }
        #expect(nan.code == .nonFinite && contains(nan.message, "element 13"))
    }

    private func writeRaw(_ values: [Float], _ shape: [Int], to path: String) throws {
        var writer = SafetensorsWriter()
        try writer.add("layers.0.q_proj.weight", shape: shape, elements: values)
        try writer.write(to: path)
    }

    @Test("Vectors and single rows are matrices too, and equal singular values are said to be undetermined")
    func shapes() throws {
        for (m, n) in [(1, 9), (9, 1), (1, 1)] {
            try writeWeight(random(m, n, 4), [m, n], to: scratch("w.safetensors"))
            for method in BasisMethod.allCases {
                let basis = try makeBasis(scratch("b.safetensors"), of: scratch("w.safetensors")) { $0.method = method }
                #expect(basis.layout.modules[0].rank == 1)
            }
        }
        let identity = (0..<64).map { Float($0 % 9 == 0 ? 1 : 0) }
        try writeWeight(identity, [8, 8], to: scratch("w.safetensors"))
        var notes: [String] = []
        var options = BasisOptions()
        options.rank = 3
        try BasisComputation.run(base: scratch("w.safetensors"), to: scratch("b.safetensors"), options: options) {
            notes.append($0)
        }
        #expect(notes.count == 1 && contains(notes[0], "matter of rounding"))
    }

    @Test("What cannot be: no such module, too little memory, a limit on rank")
    func refusals() throws {
        let unknown = failure { _ = try makeBasis(scratch("b.safetensors")) { $0.targets = ["k_proj"] } }
        #expect(unknown.code == .mismatch && contains(unknown.message, "q_proj"))
        let memory = failure { _ = try makeBasis(scratch("b.safetensors")) { $0.memoryLimit = 1000 } }
        #expect(memory.code == .memory)
        #expect(failure { _ = try makeBasis(scratch("b.safetensors")) { $0.rank = 1 << 20 } }.code == .invalidArgument)
        #expect(
            failure { _ = try makeBasis(scratch("b.safetensors")) { $0.tolerance = .nan } }.code == .invalidArgument)
        let picked = try makeBasis(scratch("b.safetensors")) {
            $0.targets = ["q_proj"]
            $0.prefix = "base."
        }
        #expect(picked.layout.modules.map(\.name).allSatisfy { $0.hasPrefix("base.model.layers.") })
        try picked.check(base: base)
    }

    @Test("A basis file that was tampered with is refused")
    func tampered() throws {
        _ = try makeBasis(scratch("b.safetensors")) { $0.method = .loldu }
        let file = try SafetensorsFile(path: scratch("b.safetensors"))
        func rewritten(
            _ change: (inout [String: String]) -> Void = { _ in }, values: (String, inout [Float]) -> Void = { _, _ in }
        ) throws -> String {
            var metadata = file.metadata
            change(&metadata)
            var writer = SafetensorsWriter(metadata: metadata)
            for tensor in file.tensors {
                if tensor.type == .i32 {
                    try writer.add(
                        tensor.name, shape: tensor.shape, elements: try file.elements(tensor.name, of: Int32.self))
                } else {
                    var floats = try file.floats(tensor.name)
                    values(tensor.name, &floats)
                    try writer.add(tensor.name, shape: tensor.shape, elements: floats)
                }
            }
            try writer.write(to: scratch("t.safetensors"))
            return scratch("t.safetensors")
        }
        func error(_ path: String) -> LoragenError.Code {
            failure { for i in 0..<5 { _ = try Basis(path: path).factors(of: i) } }.code
        }
        for key in ["layout", "method", "fingerprints", "fit", "format", "orientation"] {
            #expect(error(try rewritten { $0[key] = nil }) == .format)
        }
        #expect(error(try rewritten { $0["version"] = "2" }) == .version)
        #expect(error(try rewritten { $0["method"] = "svfit" }) == .format)
        #expect(error(try rewritten(values: { if $0.hasSuffix(".sigma") { $1[0] = 0 } })) == .format)
        #expect(error(try rewritten(values: { if $0.hasSuffix(".left") { $1[0] = .infinity } })) == .nonFinite)
        #expect(error(try rewritten(values: { if $0.hasSuffix(".right") { $1[0] = 2 } })) == .format)
    }
}
