import Glibc
import Tensor
import Testing

@testable import Adapters
@testable import Files

/// A folder of its own for a test, removed at the end.
final class Scratch {
    let path: String

    init() throws {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array((base + "/loragen-test-XXXXXX").utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// All names in a folder, sorted, "." and ".." left out.
    static func names(_ folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var result: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { result.append(name) }
        }
        return result.sorted()
    }

    var names: [String] { Self.names(path) }

    private static func remove(_ path: String) {
        chmod(path, 0o700)
        for name in names(path) { remove(path + "/" + name) }
        if unlink(path) != 0 { rmdir(path) }
    }

    deinit { Self.remove(path) }
}

/// The committed files that the reference implementations made, see Golden/make.py.
func golden(_ name: String) -> String { splitPath(#filePath).folder + "/Golden/" + name }

func contents(_ path: String) throws -> [UInt8] {
    let file = try MappedFile(path: path)
    return withExtendedLifetime(file) { Array(file.bytes) }
}

/// Writes a file in place and without flushing it to the disk, which would make up most of the tests' time.
func write(_ bytes: [UInt8], to path: String) throws {
    let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    try #require(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    try #require(ftruncate(descriptor, bytes.count) == 0)
}

func write(_ text: String, to path: String) throws { try write(Array(text.utf8), to: path) }

/// The error that a body throws; fails the test when it throws none.
func failure(
    _ location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> LoragenError {
    do {
        try body()
    } catch let error as LoragenError {
        return error
    } catch {
        Issue.record("threw \(error)", sourceLocation: location)
    }
    Issue.record("threw nothing", sourceLocation: location)
    return LoragenError(.internalError, "")
}

/// Whether a text has another inside; the standard library has this with Foundation only.
func contains(_ text: String, _ part: String) -> Bool {
    let (text, part) = (Array(text.utf8), Array(part.utf8))
    if part.count > text.count { return false }
    return (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
}

/// A small random number generator, so that tests repeat.
struct TestRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// About normal, mean 0, variance 1.
    mutating func normal() -> Float {
        (0..<12).reduce(Float(-6)) { sum, _ in sum + Float.random(in: 0..<1, using: &self) }
    }
}

/// `scale · B · A` of a module in double, row-major [out, columns].
func product(_ adapter: Adapter, _ index: Int) -> [Double] {
    let module = adapter.layout.modules[index]
    var result = [Double](repeating: 0, count: module.outputs * module.columns)
    for group in 0..<module.groups {
        let (a, b) = (
            adapter.factors(of: index, group: group).valuesA, adapter.factors(of: index, group: group).valuesB
        )
        for i in 0..<module.groupOutputs {
            for k in 0..<module.groupRank {
                let factor = module.scale * Double(b[i * module.groupRank + k])
                let row = (group * module.groupOutputs + i) * module.columns
                for j in 0..<module.columns { result[row + j] += factor * Double(a[k * module.columns + j]) }
            }
        }
    }
    return result
}

/// ‖a − b‖ / ‖b‖, or ‖a‖ when b is zero.
func relativeError(_ a: [Double], _ b: [Double]) -> Double {
    let difference = zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    let norm = b.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return a.count != b.count ? .infinity : norm == 0 ? difference : difference / norm
}

/// An adapter of two layers and three module kinds with random values.
func randomAdapter(
    seed: UInt64 = 1, rank: Int = 4, alpha: Double = 6, metadata: [String: String] = [:]
) throws -> Adapter {
    var modules: [ModuleShape] = []
    for layer in 0..<2 {
        for (name, inputs, outputs) in [("q_proj", 16, 12), ("v_proj", 16, 3), ("up_proj", 5, 30)] {
            modules.append(
                try ModuleShape(
                    name: "model.layers.\(layer).self_attn.\(name)", inputs: inputs, outputs: outputs, rank: rank,
                    alpha: alpha))
        }
    }
    let layout = try Layout(modules: modules, baseModel: "tiny")
    var random = TestRandom(state: seed)
    return try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() }, metadata: metadata)
}
