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
        let layout: Layout
        do throws(LoragenError) {
            layout = try Layout(modules: modules, baseModel: baseModel, taskType: taskType)
        } catch {
            throw LoragenError(.unsupported, "\(file.path): \(error.message)")
        }
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (module, parts) in zip(layout.modules, layout.parts) {
                guard let entry = entries[ByteKey(module.name)] else { continue }
                for (source, place) in [(entry.a, parts.a), (entry.b, parts.b)] {
                    let part = UnsafeMutableBufferPointer(rebasing: target[layout.tensors[place].range])
                    switch source {
                    case .tensor(let tensor): try file.read(tensor, into: part)
                    case .values(let values): _ = part.update(fromContentsOf: values)
                    }
                }
            }
        }
        try adapter.checkFinite(source: file.path)
        return adapter
    }
}
