import Adapters
import Files
import Tensor

/// Modules collected from a file whose names are not PEFT's, and where the values of each come from.
struct GatheredModules {
    enum Source {
        case tensor(SafetensorsTensor)
        case values([Float])
    }

    private struct Entry {
        let shape: ModuleShape
        let a: Source
        let b: Source
    }

    let file: SafetensorsFile
    private var entries: [ByteKey: Entry] = [:]

    init(_ file: SafetensorsFile) { self.file = file }

    /// In the order of their names.
    var modules: [ModuleShape] { entries.values.map(\.shape).sorted { precedes($0.name, $1.name) } }

    /// Throws `.format` for a module that is there already.
    mutating func add(_ shape: ModuleShape, a: Source, b: Source) throws(LoragenError) {
        if entries.updateValue(Entry(shape: shape, a: a, b: b), forKey: ByteKey(shape.name)) != nil {
            throw LoragenError(.format, "\(file.path): module '\(shape.name)' is there twice, under two names")
        }
    }

    /// Adds a pair of tensors whose shapes say what they are: linear, or a convolution. Alpha is the rank unless given.
    mutating func add(
        _ name: String, a: SafetensorsTensor, b: SafetensorsTensor, alpha: Double? = nil
    ) throws(LoragenError) {
        let shape = try Self.module(name, a: a, b: b, alpha: alpha, source: file.path)
        try add(shape, a: .tensor(a), b: .tensor(b))
    }

    static func module(
        _ name: String, a: SafetensorsTensor, b: SafetensorsTensor, alpha: Double?, source: String
    ) throws(LoragenError) -> ModuleShape {
        for tensor in [a, b] where !tensor.type.isReadable {
            throw LoragenError(
                .unsupported,
                "\(source): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue); expected F32, F16, BF16, F64, F8_E4M3 or F8_E5M2"
            )
        }
        guard (2...5).contains(a.shape.count), b.shape.count == a.shape.count, a.shape[0] == b.shape[1],
            b.shape.dropFirst(2).allSatisfy({ $0 == 1 })
        else {
            throw LoragenError(
                .mismatch,
                "\(source): '\(shortened(a.name))' is \(a.shape) and '\(shortened(b.name))' is \(b.shape); expected "
                    + "[rank, in, kernel...] and [out, rank, 1...]")
        }
        let kernel = Array(a.shape.dropFirst(2))
        do throws(LoragenError) {
            return try ModuleShape(
                name: name, kind: kernel.isEmpty ? .linear : .convolution, inputs: a.shape[1], outputs: b.shape[0],
                kernel: kernel, rank: a.shape[0], alpha: alpha ?? Double(a.shape[0]))
        } catch {
            throw LoragenError(.unsupported, "\(source): \(error.message)")
        }
    }

    /// Reads the values. Throws `.memory`, `.nonFinite`, and what the layout refuses.
    func adapter(
        baseModel: String? = nil, taskType: String? = nil, metadata: [String: String]
    ) throws(LoragenError) -> Adapter {
        let reader = try reader(baseModel: baseModel, taskType: taskType)
        let adapter = try Adapter(layout: reader.layout, metadata: metadata) { (target) throws(LoragenError) in
            guard let base = target.baseAddress else { return }
            for (i, place) in reader.layout.tensors.enumerated() {
                try reader.read(i, 0..<place.count, into: base + place.offset)
            }
        }
        try adapter.checkFinite(source: file.path)
        return adapter
    }

    /// The modules to be read in parts; the file's values are not looked at. Throws what the layout refuses.
    func reader(baseModel: String? = nil, taskType: String? = nil) throws(LoragenError) -> any AdapterReader {
        let layout: Layout
        do throws(LoragenError) {
            layout = try Layout(modules: modules, baseModel: baseModel, taskType: taskType)
        } catch {
            throw LoragenError(.unsupported, "\(file.path): \(error.message)")
        }
        let sources = layout.modules.flatMap { module in
            entries[ByteKey(module.name)].map { [$0.a, $0.b] } ?? []
        }
        guard sources.count == layout.tensors.count else {
            throw LoragenError(.internalError, "\(file.path): tensors of a module were lost")
        }
        return GatheredAdapter(layout: layout, file: file, sources: sources)
    }
}

/// An adapter of gathered modules.
private struct GatheredAdapter: AdapterReader {
    let layout: Layout
    let file: SafetensorsFile
    /// Of each tensor of the layout.
    let sources: [GatheredModules.Source]

    func sharing(_ layout: Layout) -> any AdapterReader {
        layout.difference(from: self.layout) == nil
            ? GatheredAdapter(layout: layout, file: file.unlisted, sources: sources) : self
    }

    var heldValues: Int {
        sources.reduce(0) { sum, source in
            if case .values(let values) = source { return sum + values.count }
            return sum
        }
    }

    func read(
        _ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        switch sources[tensor] {
        case .tensor(let stored): try file.read(stored, range: range, into: target)
        case .values(let values): for (i, value) in values[range].enumerated() { target[i] = value }
        }
    }
}
