import Testing

@testable import Adapters
@testable import Files
@testable import Formats

@Suite(".onnx_adapter") struct ONNXAdapterTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test("A file of ONNX Runtime is read")
    func reference() throws {
        let adapter = try Adapter.read(path: golden("hosts/runtime.onnx_adapter"))
        #expect(adapter.layout.modules.map(\.name) == ["lm_head", "model.layers.0.self_attn.q_proj"])
        #expect(adapter.layout.modules.map(\.outputs) == [10, 32])
        #expect(adapter.layout.modules.allSatisfy { $0.scale == 1 && $0.inputs == 16 && $0.rank == 4 })
        let a = try #require(adapter["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"])
        let expected = pattern(0, 64).withUnsafeBufferPointer { transposed($0, rows: 16, columns: 4) }
        #expect(Array(a.values) == expected)
    }

    @Test("What is written comes back, sorted and the same each time", arguments: [ONNXNaming.olive, .peft])
    func roundTrip(naming: ONNXNaming) throws {
        let adapter = try randomAdapter()
        var options = WriteOptions()
        options.naming = naming
        for name in ["a", "b"] { try adapter.write(to: scratch(name), format: .onnxAdapter, options: options) }
        #expect(try contents(scratch("a")) == contents(scratch("b")))
        let back = try Adapter.read(path: scratch("a"))
        for i in adapter.layout.modules.indices {
            #expect(relativeError(product(back, i), product(adapter, i)) < 1e-6)
        }
        #expect(
            failure { try adapter.write(to: scratch("c"), format: .onnxAdapter, options: WriteOptions(form: .kept)) }
                .code == .unsupported)
    }

    @Test("Cut off and changed files are refused or read, and nothing else")
    func malformed() throws {
        let good = try contents(golden("hosts/runtime.onnx_adapter"))
        func read(_ bytes: [UInt8]) throws {
            let file = try bytes.withUnsafeBytes { try MappedFile(copying: $0, name: "m") }
            _ = try ONNXAdapter.read(file)
        }
        try read(good)
        for length in 0..<good.count - 64 {
            #expect(failure { try read(Array(good[..<length])) }.code == .format, "\(length)")
        }
        var version = good
        let root = Int(good[0]) | Int(good[1]) << 8
        let back = (0..<4).reduce(UInt32(0)) { $0 | UInt32(good[root + $1]) << (8 * $1) }
        let table = root - Int(Int32(bitPattern: back))
        version[root + (Int(good[table + 4]) | Int(good[table + 5]) << 8)] = 2
        #expect(failure { try read(version) }.code == .version)
        var random = TestRandom(state: 3)
        for _ in 0..<5000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            try? read(bytes)
        }
    }
}

@Suite(".npz") struct NumPyTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test("What is written comes back", arguments: [ElementType.f32, .f16])
    func roundTrip(type: ElementType) throws {
        let adapter = try randomAdapter(metadata: ["loragen.origin": "{}"])
        try adapter.write(to: scratch("a.npz"), format: .npz, options: WriteOptions(type: type, form: .kept))
        let back = try Adapter.read(path: scratch("a.npz"))
        #expect(back.layout == adapter.layout)
        #expect(back.metadata == adapter.metadata)
        let expected = adapter.values.map { type == .f32 ? $0 : Half.float(fromHalf: Half.half($0)) }
        #expect(back.copyValues() == expected)
        let refused = failure {
            try adapter.write(to: scratch("b.npz"), format: .npz, options: WriteOptions(type: .bf16))
        }
        #expect(refused.code == .unsupported && !scratch.names.contains("b.npz"))
    }

    @Test("Compressed, cut off and changed files are refused")
    func malformed() throws {
        #expect(failure { _ = try Adapter.read(path: golden("hosts/compressed.npz")) }.code == .unsupported)
        try randomAdapter().write(to: scratch("a.npz"), format: .npz)
        let good = try contents(scratch("a.npz"))
        func read(_ bytes: [UInt8]) throws {
            let file = try bytes.withUnsafeBytes { try MappedFile(copying: $0, name: "m") }
            _ = try NumPyArchive.read(file)
        }
        try read(good)
        for length in stride(from: 0, to: good.count, by: 7) {
            #expect(failure { try read(Array(good[..<length])) }.code == .format, "\(length)")
        }
        // One byte of an array: the checksum tells.
        var damaged = good
        damaged[good.count / 2] ^= 1
        #expect(failure { try read(damaged) }.code == .format)
        var random = TestRandom(state: 3)
        for _ in 0..<3000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                // The directory at the end, mostly.
                bytes[good.count - 1 - Int.random(in: 0..<1500, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            try? read(bytes)
        }
    }
}
