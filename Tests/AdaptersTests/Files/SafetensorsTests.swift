import Tensor
import Testing

@testable import Files

/// A file image from a header text and data.
func image(_ header: String, data: Int = 0, length: UInt64? = nil) -> [UInt8] {
    let text = Array(header.utf8)
    var bytes = withUnsafeBytes(of: (length ?? UInt64(text.count)).littleEndian, Array.init)
    bytes += text
    bytes += [UInt8](repeating: 0, count: data)
    return bytes
}

func open(_ bytes: [UInt8]) throws(LoragenError) -> SafetensorsFile {
    try bytes.withUnsafeBytes { raw in
        Result { () throws(LoragenError) in
            try SafetensorsFile(file: MappedFile(copying: raw, name: "x.safetensors"))
        }
    }.get()
}

@Suite("safetensors") struct SafetensorsTests {
    /// The tensors of Golden/make.py.
    static let reference: [(name: String, type: ElementType, shape: [Int])] = [
        ("b.weight", .f32, [3, 5]), ("a.weight", .f32, [2]), ("scalar", .f64, []), ("empty", .f16, [0, 4]),
        ("codes", .i8, [7]), ("brain", .bf16, [3]), ("steps", .i64, [2, 1]), ("flags", .bool, [5]),
        ("quote \" slash \\ tab \t", .u8, [1]), ("grüße/日本", .i16, [3]),
    ]

    static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: 7 * $0 + 3) } }

    @Test("The writer's bytes are those of the reference writer", arguments: [true, false])
    func identical(hasMetadata: Bool) throws {
        var writer = SafetensorsWriter(metadata: hasMetadata ? ["format": "pt"] : [:])
        for (name, type, shape) in Self.reference {
            let bytes = Self.pattern(shape.reduce(1, *) * type.bits / 8)
            try writer.add(name, type: type, shape: shape) { sink throws(LoragenError) in
                try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        let expected = try contents(golden(hasMetadata ? "reference.safetensors" : "reference-no-metadata.safetensors"))
        #expect(try writer.bytes() == expected)
        #expect(try writer.size() == expected.count)
        let scratch = try Scratch()
        try writer.write(to: scratch("a"))
        #expect(try contents(scratch("a")) == expected)
        #expect(scratch.names == ["a"])
    }

    @Test("The reader finds what the reference wrote") func read() throws {
        let file = try SafetensorsFile(path: golden("reference.safetensors"))
        #expect(file.metadata == ["format": "pt"])
        #expect(file.tensors.count == Self.reference.count)
        for (name, type, shape) in Self.reference {
            let tensor = try file.require(name, type: type, shape: shape)
            #expect(Array(file.bytes(of: tensor)) == Self.pattern(tensor.byteCount))
        }
        #expect(try file.elements("codes", of: Int8.self) == Self.pattern(7).map { Int8(bitPattern: $0) })
        #expect(try file.elements("grüße/日本", of: Int16.self) == [0x0a03, 0x1811, 0x261f])
        #expect(try file.floats("empty") == [])
        let message = failure { _ = try file.floats("codes") }.message
        #expect(message.contains("'codes' is I8; expected F32, F16, BF16, F64,"))
        #expect(failure { _ = try file.elements("codes", of: Int16.self) }.code == .format)
        #expect(contains(failure { _ = try file.require("none") }.message, "'none' is missing"))
        #expect(
            contains(
                failure { _ = try file.require("codes", type: .i8, shape: [8]) }.message, "I8 [7]; expected I8 [8]"))
        // A tensor that is not of this file gives no bytes, never others'.
        let foreign = SafetensorsTensor(name: "x", type: .f32, shape: [1], count: 1, begin: 1 << 40, end: (1 << 40) + 4)
        #expect(file.bytes(of: foreign).isEmpty)
    }

    static let entry = #""dtype":"F32","shape":[1],"data_offsets":[0,4]"#

    static let malformed: [(bytes: [UInt8], says: String)] = [
        ([], "0 bytes; a safetensors file has at least 8"), ([1, 0, 0, 0, 0, 0, 0], "7 bytes"),
        (image("{}", length: 100_000_001), "allows 100000000"),
        (image("{}", length: 1 << 63), "a header of 9223372036854775808"),
        (image("{}", length: .max), "a header of 18446744073709551615"), (image("{}", length: 3), "only 2 follow"),
        (image(""), "byte 8: found the end of the text, expected '{'"), (image("{}"), "no tensor"),
        (image(#"{"__metadata__":{}}"#), "no tensor"), (image("[]"), "byte 8: found '['"), (image("null"), "found 'n'"),
        (image(" {\"a\":{\(entry)}}", data: 4), "byte 8: found the byte 0x20"), (image("\u{feff}{}"), "byte 0xef"),
        (image("{\"a\":{\(entry)}}\0", data: 4), "byte 0x00, expected spaces"),
        (image("{\"a\":{\(entry)}}\n", data: 4), "expected spaces"),
        (image("{\"a\":{\(entry)}}{}", data: 4), "found '{', expected spaces"),
        (image("{\"a\":{\(entry)},}", data: 4), "expected '\"'"),
        (image("{'a':{\(entry)}}", data: 4), "found '''"), (image("{/**/\"a\":{\(entry)}}", data: 4), "found '/'"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,NaN]}}"#, data: 4), "found 'N'"),
        (image(#"{"a\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "surrogate"),
        (image("{\"a\nb\":{\(entry)}}", data: 4), "control character"),
        (image(#"{"a":[["F32"]]}"#), "found '[', expected '{'"),
        (image(#"{"a":["F32",[1],[0,4]]}"#, data: 4), "found '['"), (image(#"{"a":1}"#), "found '1', expected '{'"),
        (image(#"{"a":{}}"#), "expected '\"'"),
        (image(#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, data: 4), "no 'dtype'"),
        (image(#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, data: 4), "no 'shape'"),
        (image(#"{"a":{"dtype":"F32","shape":[1]}}"#, data: 4), "no 'data_offsets'"),
        (image("{\"a\":{\(entry),\"dtype\":\"F32\"}}", data: 4), "has 'dtype' twice"),
        (image("{\"a\":{\(entry),\"shape\":[1]}}", data: 4), "has 'shape' twice"),
        (image("{\"a\":{\(entry),\"data_offsets\":[0,4]}}", data: 4), "has 'data_offsets' twice"),
        (image("{\"a\":{\(entry),\"extra\":1}}", data: 4), "has a field 'extra'"),
        (image(#"{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "unknown dtype 'f32'"),
        (image(#"{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "unknown dtype 'F128'"),
        (image(#"{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}"#, data: 4), "expected '\"'"),
        (image(#"{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}"#, data: 4), "expected '\"'"),
        (image(#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, data: 4), "without '.'"),
        (image(#"{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}"#, data: 4), "without '.' or exponent"),
        (image(#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, data: 4), "whole number from 0"),
        (image(#"{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,4]}}"#, data: 4), "whole number from 0"),
        (image(#"{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}"#, data: 4), "whole number from 0"),
        (image(#"{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}"#, data: 4), "leading zero"),
        (image(#"{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}"#, data: 4), "found '1', expected '['"),
        (image(#"{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}"#, data: 4), "expected '['"),
        (image(#"{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}"#, data: 4), "beyond 2^63"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}"#, data: 4), "beyond 2^63"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}"#, data: 4), "expected ','"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}"#, data: 4), "expected ']'"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, data: 4), "its offsets are [4, 0]"),
        (image(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 8), "leaves a hole"),
        (image(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, data: 4), "F32 [2] takes 8 bytes"),
        (image(#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,4]}}"#, data: 4), "takes 0 bytes"),
        (
            image(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
                data: 12), "'b' begins at 8 and leaves a hole before it; expected 4"
        ),
        (
            image(
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                data: 8), "'b' begins at 4 and overlaps"
        ),
        (
            image(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                data: 4), "overlaps"
        ),
        (
            image(
                #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}"#,
                data: 8), "overlaps"
        ),
        (image("{\"a\":{\(entry)}}", data: 5), "take 4 bytes, but 5 follow"),
        (image("{\"a\":{\(entry)}}", data: 3), "Is the file cut off?"),
        (image("{\"a\":{\(entry)},\"a\":{\(entry)}}", data: 4), "'a' a second time"),
        (image("{\"a\":{\(entry)},\"\\u0061\":{\(entry)}}", data: 4), "'a' a second time"),
        (image("{\"\":{\(entry)}}", data: 4), "a tensor name of 0 bytes"),
        (image("{\"a\\u0000b\":{\(entry)}}", data: 4), "with a NUL"),
        (image("{\"\(String(repeating: "n", count: 4097))\":{\(entry)}}", data: 4), "a tensor name of 4097"),
        (image(#"{"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}}"#), "2^48"),
        (image(#"{"a":{"dtype":"F32","shape":[281474976710656,281474976710656],"data_offsets":[0,0]}}"#), "overflows"),
        (
            image(#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, data: 4),
            "more than 8 dimensions"
        ), (image(#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, data: 2), "fill whole bytes"),
        (image("{\"__metadata__\":null,\"a\":{\(entry)}}", data: 4), "found 'n', expected '{'"),
        (image("{\"__metadata__\":[],\"a\":{\(entry)}}", data: 4), "found '['"),
        (image("{\"__metadata__\":{\"a\":1},\"a\":{\(entry)}}", data: 4), "metadata 'a' must be text"),
        (image("{\"__metadata__\":{\"a\":{}},\"a\":{\(entry)}}", data: 4), "must be text"),
        (image("{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"},\"a\":{\(entry)}}", data: 4), "metadata 'a' a second time"),
        (image("{\"__metadata__\":{},\"a\":{\(entry)},\"__metadata__\":{}}", data: 4), "'__metadata__' a second time"),
        (image(String(repeating: "{\"a\":", count: 1000)), "expected"),
    ]

    @Test("What the reference rejects is rejected, and what it lets pass silently", arguments: malformed.indices)
    func refused(index: Int) {
        let (bytes, says) = Self.malformed[index]
        let error = failure { _ = try open(bytes) }
        #expect(error.code == .format)
        #expect(contains(error.message, says) && error.message.hasPrefix("x.safetensors: "), "\(error.message)")
    }

    @Test("What is odd but clear is accepted") func accepted() throws {
        // Metadata last, another order of fields and tensors, spaces in JSON and at its end, misaligned, zero-size.
        let header = """
            {"b" : {"shape":[1], "data_offsets":[1,5], "dtype":"F32"}, "z":{"dtype":"F64","shape":[0,9],"data_offsets":[5,5]},
            "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"k":"v"}}
            """ + "   "
        let file = try open(image(header, data: 5))
        #expect(file.tensors.map(\.name) == ["a", "b", "z"] && file.metadata == ["k": "v"])
        #expect(try file.floats("b") == [0])
        #expect(
            try open(image(#"{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#, data: 2)).tensors[0].type == .f4)
    }

    @Test("Every file cut short is refused") func truncated() throws {
        let whole = try contents(golden("reference.safetensors"))
        for count in 0..<whole.count { #expect(failure { _ = try open(Array(whole[..<count])) }.code == .format) }
        #expect(failure { _ = try open(whole + [0]) }.code == .format)
    }

    @Test("10,000 random changes to a file never trap") func mutations() throws {
        let whole = try contents(golden("reference.safetensors"))
        let header = 8 + Int(whole[0]) + 256 * Int(whole[1])
        var random = TestRandom(state: 7)
        let alphabet = Array("\"{}[]:,0129-.eE\\u tF4\0".utf8)
        var opened = 0
        for _ in 0..<10_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<min(header, bytes.count), using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes[place] = alphabet.randomElement(using: &random) ?? 0
                case 2: bytes.remove(at: place)
                default: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: place)
                }
            }
            guard let file = try? open(bytes) else { continue }
            opened += 1
            for tensor in file.tensors {
                #expect(file.bytes(of: tensor).count == tensor.byteCount)
                _ = try? file.floats(tensor.name)
            }
        }
        #expect(opened > 0)
    }

    @Test("The writer refuses what no reader would take") func writerRefuses() throws {
        var writer = SafetensorsWriter()
        #expect(failure { try writer.add("__metadata__", shape: [1], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(failure { try writer.add("", shape: [1], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(failure { try writer.add("a\0", shape: [1], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(failure { try writer.add("a", shape: [-1], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(failure { try writer.add("a", shape: [.max, 2], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(
            failure { try writer.add("a", shape: [1 << 40, 1 << 40], elements: [Float(1)]) }.code == .invalidArgument)
        #expect(failure { _ = try writer.bytes() }.code == .invalidArgument)
        try writer.add("a", shape: [1], elements: [Float(1)])
        #expect(failure { try writer.add("a", shape: [1], elements: [Float(1)]) }.code == .invalidArgument)
        try writer.add("short", shape: [3], elements: [Float(1)])
        let scratch = try Scratch()
        #expect(failure { try writer.write(to: scratch("a")) }.code == .internalError)
        #expect(scratch.names.isEmpty)
        let values: [Float] = [1, 70000, 2]
        try values.withUnsafeBufferPointer { values in
            var halves = SafetensorsWriter()
            try halves.add("h", shape: [3], floats: values, as: .f16)
            let error = failure { try halves.write(to: scratch("a")) }
            #expect(
                error.code == .nonFinite && contains(error.message, "element 1 is 70000.0")
                    && contains(error.message, "65504"))
        }
        #expect(scratch.names.isEmpty)
    }

    @Test("Metadata keys are sorted by their bytes") func metadata() throws {
        var writer = SafetensorsWriter(metadata: ["b": "2", "a": "1", "é": "4", "z": "3"])
        try writer.add("t", shape: [0], elements: [Float]())
        let text = String(decoding: try writer.bytes()[8...], as: UTF8.self)
        #expect(text.hasPrefix(#"{"__metadata__":{"a":"1","b":"2","z":"3","é":"4"},"t""#))
    }
}

@Suite("16-bit floats") struct HalfTests {
    @Test("All 65,536 halves convert as the hardware type does, and back") func halves() {
        for bits in UInt16.min...UInt16.max {
            let expected = Float(Float16(bitPattern: bits))
            let value = Half.float(fromHalf: bits)
            if expected.isNaN {
                #expect(value.isNaN)
                continue
            }
            #expect(value.bitPattern == expected.bitPattern)
            #expect(Half.half(value) == bits)
            #expect(Half.brain(Half.float(fromBrain: bits)) == bits || Half.float(fromBrain: bits).isNaN)
        }
    }

    @Test("Rounding agrees with PyTorch on random bits and near every exponent") func torch() throws {
        let file = try SafetensorsFile(path: golden("halves.safetensors"))
        let x = try file.floats("x")
        let half = try #require(file.tensor("half"))
        let brain = try #require(file.tensor("brain"))
        #expect(x.count > 8000)
        for (i, value) in x.enumerated() {
            #expect(Half.half(value) == file.bytes(of: half).loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            #expect(Half.brain(value) == file.bytes(of: brain).loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
        }
    }

    @Test("A million random floats round as the hardware type does") func random() {
        var random = TestRandom(state: 9)
        for _ in 0..<1_000_000 {
            let value = Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
            let (own, expected) = (Half.half(value), Float16(value).bitPattern)
            if own != expected { #expect(value.isNaN && Float16(bitPattern: own).isNaN) }
        }
        #expect(Half.brain(.nan) & 0x7fff > 0x7f80 && Half.half(.nan) & 0x7fff > 0x7c00)
    }
}
