import Glibc
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

@Suite("ONNX") struct ONNXTests {
    @Test("What is written reads back", arguments: [ElementType.f32, .f16, .bf16]) func roundTrip(type: ElementType)
        throws
    {
        let scratch = try Scratch()
        let adapter = try randomAdapter(metadata: ["loragen.origin": "grüße"])
        try adapter.write(to: scratch("a.onnx"), format: .onnx, options: WriteOptions(type: type, form: .kept))
        try adapter.write(
            to: scratch("a.safetensors"), format: .safetensors, options: WriteOptions(type: type, form: .kept))
        let back = try Adapter.read(path: scratch("a.onnx"))
        #expect(back.layout == adapter.layout && back.metadata == adapter.metadata)
        #expect(try back.copyValues() == Adapter.read(path: scratch("a.safetensors")).copyValues())
        try adapter.write(to: scratch("b.onnx"), format: .onnx, options: WriteOptions(type: type, form: .kept))
        #expect(try contents(scratch("a.onnx")) == contents(scratch("b.onnx")))
        #expect(scratch.names == ["a.onnx", "a.safetensors", "b.onnx"])
    }

    @Test("The portable form has the scale inside B") func portable() throws {
        let scratch = try Scratch()
        let adapter = try randomAdapter()
        try adapter.write(to: scratch("a.onnx"), format: .onnx)
        let back = try ONNX.read(path: scratch("a.onnx"))
        for i in adapter.layout.modules.indices {
            #expect(relativeError(product(back, i), product(adapter, i)) < 1e-6)
            #expect(back.layout.modules[i].scale == 1)
        }
    }

    @Test("Broken files are errors, never exceptions") func broken() throws {
        let scratch = try Scratch()
        let adapter = try randomAdapter()
        try adapter.write(to: scratch("a.onnx"), format: .onnx)
        let whole = try contents(scratch("a.onnx"))
        var random = TestRandom(state: 11)
        for _ in 0..<2000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            try write(bytes, to: scratch("b.onnx"))
            _ = try? ONNX.read(path: scratch("b.onnx"))
        }
        try write("", to: scratch("b.onnx"))
        #expect(failure { _ = try ONNX.read(path: scratch("b.onnx")) }.code == .format)
        try write("not a model", to: scratch("b.onnx"))
        #expect(failure { _ = try ONNX.read(path: scratch("b.onnx")) }.code == .format)
        #expect(failure { _ = try ONNX.read(path: scratch("none.onnx")) }.code == .io)
        #expect(failure { try adapter.write(to: scratch("none/a.onnx"), format: .onnx) }.code == .io)
        #expect(scratch.names == ["a.onnx", "b.onnx"])
    }

    @Test("Without the library the error says what to install") func missing() {
        let error = failure { _ = try ONNXLibrary.load(["/nowhere/libloragen_onnx.so.0"]) }
        #expect(error.code == .unsupported && contains(error.message, "apt install libonnx1"))
    }

    @Test("The library is looked for by absolute paths alone: where this code's file is") func places() throws {
        let candidates = ONNXLibrary.candidates()
        #expect(!candidates.isEmpty && candidates.allSatisfy { $0.hasPrefix("/") })
        #expect(candidates.contains { access($0, F_OK) == 0 })
        let maps = """
            55d0a000-55d0b000 r--p 00000000 08:01 12 /home/me/bin/loragen
            7f0a0000-7f0b0000 r-xp 00001000 08:01 1234                      /usr/my lib/libloragen.so.0.1.0 (deleted)
            7ffc0000-7ffd0000 rw-p 00000000 00:00 0                          [stack]
            7ffe0000-7fff0000 rw-p 00000000 00:00 0
            """
        #expect(ONNXLibrary.file(at: 0x55d0_a010, inMaps: maps) == "/home/me/bin/loragen")
        #expect(ONNXLibrary.file(at: 0x7f0a_0000, inMaps: maps) == "/usr/my lib/libloragen.so.0.1.0 (deleted)")
        for address: UInt in [0x7ffc_0000, 0x7ffe_0000, 0x7f0b_0000, 0] {
            #expect(ONNXLibrary.file(at: address, inMaps: maps) == nil)
        }
    }
}
