import Testing

@testable import Files

/// A hundred odd files and the reference reader's verdict on each (Golden/torture.py).
@Suite("Safetensors files under torture")
struct TortureTests {
    /// What the reference takes and this reader does not: all of them can mean two things, or nothing.
    static let stricter: Set<String> = [
        "same name twice", "same name by an escape", "same name, another type", "empty name", "name with NUL",
        "name of 5000 bytes", "entry is an array", "unknown field", "dtype an object", "shape zero first", "rank 9",
        "metadata null", "metadata same key twice", "empty object", "metadata alone", "leading space",
        "newline padding",
    ]

    @Test("None that the reference rejects passes, and of the others all that mean one thing")
    func verdicts() throws {
        let cases = try #require(try JSON.read(path: golden("torture.json")).array)
        #expect(cases.count >= 100)
        var refused: Set<String> = []
        for item in cases {
            let name = try #require(item["name"]?.string)
            let bytes = try bytes(of: #require(item["hex"]?.string))
            let isAccepted = try #require(item["accepted"]?.bool)
            do {
                let file = try open(bytes)
                #expect(isAccepted, "\(name): accepted, though the reference rejects it")
                for tensor in file.tensors { #expect(file.bytes(of: tensor).count == tensor.byteCount) }
            } catch {
                #expect(error.code == .format, "\(name)")
                #expect(error.message.hasPrefix("x.safetensors: "), "\(name): \(error.message)")
                if isAccepted { refused.insert(name) }
            }
        }
        #expect(refused.subtracting(Self.stricter) == [], "refused without need")
        #expect(Self.stricter.subtracting(refused) == [], "taken after all, or rejected by the reference too")
    }

    private func bytes(of hex: String) throws -> [UInt8] {
        let digits = Array(hex.utf8)
        return try stride(from: 0, to: digits.count, by: 2).map { i in
            try #require(UInt8(String(decoding: digits[i...(i + 1)], as: UTF8.self), radix: 16))
        }
    }
}
