import Foundation
import Tensor
import Testing

@testable import Adapters
@testable import Conditions
@testable import Files
@testable import Formats
@testable import Generators
@testable import Learning
@testable import Reports

/// The settings of a space and its statistics.
func spaceSettings(
    _ space: String = "product", factors: String = "raw", normaliser: String = "global", frames: (Int, Int) = (8, 4)
) -> Settings {
    Settings([
        "space": .string(space), "factors": .string(factors), "normaliser": .string(normaliser),
        "outputFrame": JSON(frames.0), "inputFrame": JSON(frames.1),
    ])
}

/// The root of the repository.
let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

/// A folder of its own for a test, removed at the end.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/loragen-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// All names in the folder, sorted.
    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

func contents(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

/// Writes in place, without flushing to the disk.
func write(_ data: Data, to path: String) throws { try data.write(to: URL(fileURLWithPath: path)) }
func write(_ text: String, to path: String) throws { try write(Data(text.utf8), to: path) }

/// The error that a body throws; fails the test when it throws none.
@discardableResult
func failure(_ location: SourceLocation = #_sourceLocation, _ body: () throws -> Void) -> LoragenError {
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

/// Checks code and message of the error that a body throws.
func expectFailure(
    _ code: LoragenError.Code, _ parts: String..., location: SourceLocation = #_sourceLocation, body: () throws -> Void
) {
    let error = failure(location, body)
    #expect(error.code == code, "\(error.code): \(error.message)", sourceLocation: location)
    for part in parts {
        #expect(error.message.contains(part), "no \"\(part)\" in: \(error.message)", sourceLocation: location)
    }
}

func norm(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }

/// ‖a − b‖ / ‖b‖, or ‖a‖ when b is zero.
func relativeError(_ a: [Double], _ b: [Double]) -> Double {
    guard a.count == b.count else { return .infinity }
    let difference = norm(zip(a, b).map { $0 - $1 })
    return norm(b) == 0 ? difference : difference / norm(b)
}

func relativeError(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Double {
    a.shape == b.shape ? relativeError(a.values.map(Double.init), b.values.map(Double.init)) : .infinity
}

/// Dense matrices in double, row-major: the plain arithmetic that fast paths are compared with.
struct Dense {
    var rows: Int
    var columns: Int
    var values: [Double]

    init(_ rows: Int, _ columns: Int, _ values: [Double]? = nil) {
        (self.rows, self.columns) = (rows, columns)
        self.values = values ?? [Double](repeating: 0, count: rows * columns)
    }

    init(_ tensor: Tensor<Float>) { self.init(tensor.shape[0], tensor.shape[1], tensor.values.map(Double.init)) }

    subscript(i: Int, j: Int) -> Double {
        get { values[i * columns + j] }
        set { values[i * columns + j] = newValue }
    }

    static func * (a: Dense, b: Dense) -> Dense {
        var result = Dense(a.rows, b.columns)
        for i in 0..<a.rows {
            for k in 0..<a.columns {
                for j in 0..<b.columns { result[i, j] += a[i, k] * b[k, j] }
            }
        }
        return result
    }

    static func * (a: Dense, factor: Double) -> Dense { Dense(a.rows, a.columns, a.values.map { $0 * factor }) }

    var transposed: Dense {
        var result = Dense(columns, rows)
        for i in 0..<rows {
            for j in 0..<columns { result[j, i] = self[i, j] }
        }
        return result
    }

    /// `self⁻¹ · b` by Gauss-Jordan elimination with pivots.
    func solving(_ b: Dense) -> Dense {
        var a = self
        var x = b
        for k in 0..<rows {
            let pivot = (k..<rows).max { abs(a[$0, k]) < abs(a[$1, k]) } ?? k
            for j in 0..<columns { (a[k, j], a[pivot, j]) = pivot == k ? (a[k, j], a[k, j]) : (a[pivot, j], a[k, j]) }
            if pivot != k { for j in 0..<x.columns { (x[k, j], x[pivot, j]) = (x[pivot, j], x[k, j]) } }
            for i in 0..<rows where i != k {
                let factor = a[i, k] / a[k, k]
                for j in 0..<columns { a[i, j] -= factor * a[k, j] }
                for j in 0..<x.columns { x[i, j] -= factor * x[k, j] }
            }
        }
        for i in 0..<rows { for j in 0..<x.columns { x[i, j] /= a[i, i] } }
        return x
    }
}

/// `scale · B · A` of a module.
func product(_ adapter: Adapter, _ index: Int) -> Dense {
    let module = adapter.layout.modules[index]
    let factors = adapter.factors(of: index, group: 0)
    let a = Dense(module.rank, module.columns, factors.valuesA.map(Double.init))
    let b = Dense(module.outputs, module.rank, factors.valuesB.map(Double.init))
    return withExtendedLifetime(adapter) { b * a * module.scale }
}

func products(_ adapter: Adapter) -> [Double] { adapter.layout.modules.indices.flatMap { product(adapter, $0).values } }

/// A small adapter with random factors; layers of different shapes.
func randomAdapter(seed: UInt64, rank: Int = 2, alpha: Double = 3, base: String? = "tiny") throws -> Adapter {
    let layout = try Synthetic.layout(rank: rank, alpha: alpha, base: base)
    var random = Random(seed: seed)
    let values: Tensor<Float> = random.normal([layout.valueCount])
    return try Adapter(layout: layout, values: values.values)
}

/// A corpus whose adapters' factors are smooth functions of five bits.
enum Synthetic {
    static let bitCount = 5

    static func layout(rank: Int = 2, alpha: Double = 3, base: String? = "tiny") throws -> Layout {
        let shapes = [("layers.0.q", 6, 8), ("layers.0.v", 6, 5), ("layers.1.q", 4, 8)]
        return try Layout(
            modules: shapes.map { try ModuleShape(name: $0, inputs: $1, outputs: $2, rank: rank, alpha: alpha) },
            baseModel: base)
    }

    static func bits(_ task: Int) -> [Int] { (0..<bitCount).map { task >> $0 & 1 } }
    static func text(_ bits: [Int]) -> String { bits.map(String.init).joined() }

    static func split(_ task: Int) -> String {
        switch task % 5 {
        case 3: "validation"
        case 4: "test"
        default: "train"
        }
    }

    static func adapter(_ bits: [Int], rank: Int = 2) throws -> Adapter {
        let layout = try layout(rank: rank)
        var values = [Float](repeating: 0, count: layout.valueCount)
        for (place, strength) in [(0, Float(1))] + bits.enumerated().map({ ($0 + 1, Float($1) * 0.5) }) {
            var random = Random(seed: 77, stream: UInt64(place))
            let part: Tensor<Float> = random.normal([layout.valueCount])
            for (i, value) in part.values.enumerated() { values[i] += strength * value }
        }
        return try Adapter(layout: layout, values: values)
    }

    /// A line of the manifest.
    static func line(_ task: Int, _ changes: [String: Any] = [:]) -> [String: Any] {
        let bits = text(bits(task))
        return ["path": "t\(task)", "task": "t\(task)", "split": split(task), "bits": bits].merging(changes) { $1 }
    }

    static func write(_ adapter: Adapter, to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let layout = adapter.layout
        var config: [String: Any] = [
            "peft_type": "LORA", "r": layout.modules[0].rank, "lora_alpha": layout.modules[0].alpha,
            "target_modules": ["q", "v"],
        ]
        config["base_model_name_or_path"] = layout.baseModel
        try save(config, to: folder + "/adapter_config.json")
        var header: [String: Any] = [:]
        for tensor in layout.tensors {
            header[tensor.name] = [
                "dtype": "F32", "shape": tensor.shape,
                "data_offsets": [4 * tensor.offset, 4 * (tensor.offset + tensor.count)],
            ]
        }
        try SafetensorsBytes(header: header, data: Data(buffer: adapter.values))
            .save(to: folder + "/adapter_model.safetensors")
        withExtendedLifetime(adapter) {}
    }

    static func manifest(_ lines: [[String: Any]]) throws -> String {
        try lines.map {
            String(decoding: try JSONSerialization.data(withJSONObject: $0, options: .sortedKeys), as: UTF8.self) + "\n"
        }.joined()
    }

    /// Writes a corpus folder.
    static func folder(_ path: String, tasks: Range<Int> = 0..<32, lines: [[String: Any]]? = nil) throws {
        for task in tasks { try write(try adapter(bits(task)), to: "\(path)/t\(task)") }
        try save(try manifest(lines ?? tasks.map { line($0) }), to: "\(path)/corpus.jsonl")
    }

    /// All 32 tasks, made once for all tests.
    static let shared: Result<(scratch: Scratch, corpus: Corpus), any Error> = Result {
        let scratch = try Scratch()
        try folder(scratch.path)
        return (scratch, try Corpus(path: scratch.path))
    }
}

private func save(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
}

private func save(_ json: [String: Any], to path: String) throws {
    try JSONSerialization.data(withJSONObject: json, options: .sortedKeys).write(to: URL(fileURLWithPath: path))
}

/// A safetensors file taken apart, to be changed and put together again.
struct SafetensorsBytes {
    var header: [String: Any]
    var data: Data

    init(header: [String: Any], data: Data) { (self.header, self.data) = (header, data) }

    init(path: String) throws {
        let file = try contents(path)
        let length = file.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
        let json = try JSONSerialization.jsonObject(with: file[8..<(8 + length)])
        header = try #require(json as? [String: Any])
        data = Data(file[(8 + length)...])
    }

    var metadata: [String: String] {
        get { header["__metadata__"] as? [String: String] ?? [:] }
        set { header["__metadata__"] = newValue }
    }

    /// A JSON text in the metadata, as an object.
    subscript(json key: String) -> [String: Any] {
        get { (try? JSONSerialization.jsonObject(with: Data((metadata[key] ?? "").utf8))) as? [String: Any] ?? [:] }
        set {
            let text = (try? JSONSerialization.data(withJSONObject: newValue)).map {
                String(decoding: $0, as: UTF8.self)
            }
            metadata[key] = text
        }
    }

    /// Overwrites the floats of a tensor.
    mutating func fill(_ name: String, _ value: (Int) -> Float) {
        guard let range = (header[name] as? [String: Any])?["data_offsets"] as? [Int] else { return }
        for i in 0..<((range[1] - range[0]) / 4) {
            withUnsafeBytes(of: value(i)) {
                data.replaceSubrange((range[0] + 4 * i)..<(range[0] + 4 * i + 4), with: $0)
            }
        }
    }

    func save(to path: String) throws {
        var text = try JSONSerialization.data(withJSONObject: header, options: .sortedKeys)
        while text.count % 8 != 0 { text.append(0x20) }
        var file = Data()
        for shift in stride(from: 0, to: 64, by: 8) { file.append(UInt8(truncatingIfNeeded: text.count >> shift)) }
        try (file + text + data).write(to: URL(fileURLWithPath: path))
    }
}

/// Settings of the default preset at a size that a test trains in a second.
let tinySettings = """
    {"latents": 8, "width": 16, "blocks": 1, "steps": 60, "batch": 8, "validationInterval": 10, "timesteps": 50, \
    "samplingSteps": 5, "patience": 1000}
    """

/// Baselines on the factors as they were trained, in which the synthetic corpus is linear.
let factorSettings = #"{"space": "factors", "normaliser": "per-tensor"}"#

func tinyOptions(method: String = "cond-pdiff", seed: UInt64 = 3, settings: String? = nil) -> TrainingOptions {
    var options = TrainingOptions()
    options.method = method
    options.settings = settings ?? (method == "cond-pdiff" ? tinySettings : nil)
    options.seed = seed
    return options
}

/// A trained generator of the synthetic corpus, made once for all tests of one method.
enum Trained {
    private static let scratch = Result { try Scratch() }
    private static let lock = NSLock()
    private nonisolated(unsafe) static var made: [String: String] = [:]

    static func path(_ method: String = "cond-pdiff", settings: String? = nil) throws -> String {
        try lock.withLock {
            let key = method + (settings ?? "")
            if let path = made[key] { return path }
            let path = try scratch.get()("\(made.count).safetensors")
            try trainGenerator(
                corpus: try Synthetic.shared.get().corpus, path: path,
                options: tinyOptions(method: method, settings: settings))
            made[key] = path
            return path
        }
    }
}

func request(bits: String? = nil, _ change: (inout GenerationRequest) -> Void = { _ in }) -> GenerationRequest {
    var request = GenerationRequest()
    request.bits = bits
    change(&request)
    return request
}

// Whole adapters at once, for tests; the library goes module by module.

extension ProductSpace {
    func encode(_ adapter: Adapter) throws -> [Float] {
        try layout.modules.indices.flatMap { try encode(adapter.module($0), module: $0) }
    }

    func decode(_ cores: [Float]) throws -> Adapter {
        try assembled(layout) { try decode(Tensor(Array(cores[frames[$0].range])), module: $0) }
    }
}

extension FactorSpace {
    func encode(_ adapter: Adapter) throws -> Adapter {
        try assembled(layout) { try chosen(adapter.module($0), module: $0) }
    }
}

private func assembled(_ layout: Layout, _ module: (Int) throws -> Adapter) throws -> Adapter {
    try Adapter(layout: layout, values: layout.modules.indices.flatMap { try module($0).copyValues() })
}

/// Validation tasks that a closure judges.
private struct Judged: ValidationTasks {
    let conditions: Tensor<Float>
    let width: Int
    let judge: (Tensor<Float>) throws(LoragenError) -> Double?

    func skill(_ predicted: (Int) throws(LoragenError) -> any VectorStream) throws(LoragenError) -> Double? {
        var rows: [Tensor<Float>] = []
        for i in 0..<conditions.shape[0] {
            var pieces: [Tensor<Float>] = []
            let stream = try predicted(i)
            while let piece = try stream.next() { pieces.append(piece.flattened()) }
            rows.append(.concatenate(pieces, axis: 0))
        }
        return try judge(rows.isEmpty ? .zeros([0, width]) : .stack(rows))
    }
}

extension TrainingData {
    /// Vectors in memory.
    init(
        vectors: Tensor<Float>, conditions: Tensor<Float>, validationConditions: Tensor<Float>,
        skill: @escaping (Tensor<Float>) throws(LoragenError) -> Double?, seed: UInt64, runs: [Int32] = [],
        tasks: [Int32] = []
    ) {
        self.init(
            rows: TensorRows(vectors), conditions: conditions,
            validation: Judged(conditions: validationConditions, width: vectors.shape[1], judge: skill), seed: seed,
            runs: runs, tasks: tasks)
    }
}

extension GenerationRequest {
    /// The condition, where it is bits or a vector alone.
    var bits: String? {
        get { condition?.bits }
        set { condition = newValue.map(Condition.bits) }
    }
    var vector: [Float]? {
        get {
            guard case .numbers(let numbers) = condition?.parts.first?.value else { return nil }
            return numbers
        }
        set { condition = newValue.map(Condition.vector) }
    }
}
