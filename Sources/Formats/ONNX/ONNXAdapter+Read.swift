import Adapters
import Files
import Tensor

extension ONNXAdapter {
    /// Whether a file begins as an `.onnx_adapter` does.
    public static func isOne(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count >= 8 && bytes[4..<8].elementsEqual("TORT".utf8)
    }

    /// Reads a file in either naming, told apart by "base_model.model." before the names and, where both are possible,
    /// by the shapes. The format carries neither base model nor alpha: the scale is 1. Throws `.io`; `.format` for what
    /// ONNX Runtime's own verifier refuses; `.version`; `.unsupported` for parameters that are not pairs of LoRA
    /// matrices; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter { try read(MappedFile(path: path)) }

    static func read(_ file: MappedFile) throws(LoragenError) -> Adapter {
        defer { withExtendedLifetime(file) {} }
        let root = try FlatBuffer(bytes: file.bytes, source: file.path).root(identifier: "TORT")
        let version = try root.int32(0)
        if version != 1 {
            throw LoragenError(.version, "\(file.path): format version \(version); this library reads 1")
        }
        var pairs: [ByteKey: Pair] = [:]
        for table in try root.tables(3) {
            let parameter = try Parameter(table, file)
            let name = parameter.name
            guard let side = [".lora_A.weight", ".lora_B.weight"].firstIndex(where: { name.hasSuffix($0) }) else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): parameter '\(shortened(name))' is not a LoRA matrix; expected names that end in "
                        + ".lora_A.weight or .lora_B.weight")
            }
            let module = ByteKey(String(name.dropLast(".lora_A.weight".count)))
            if (side == 0 ? pairs[module]?.a : pairs[module]?.b) != nil {
                throw LoragenError(.format, "\(file.path): parameter '\(shortened(name))' a second time")
            }
            if side == 0 { pairs[module, default: Pair()].a = parameter }
            if side == 1 { pairs[module, default: Pair()].b = parameter }
        }
        if pairs.isEmpty { throw LoragenError(.format, "\(file.path): there is no parameter in it") }
        return try adapter(of: pairs, file.path)
    }

    /// What ONNX Runtime looks at when it gives a parameter to a model.
    public struct Signature {
        public let name: String
        /// onnx.TensorProto.DataType.
        public let type: Int32
        public let shape: [Int]
    }

    /// The parameters of a file that `read` accepts.
    public static func signatures(path: String) throws(LoragenError) -> [Signature] {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        let root = try FlatBuffer(bytes: file.bytes, source: file.path).root(identifier: "TORT")
        return try root.tables(3).map { (table) throws(LoragenError) in
            let parameter = try Parameter(table, file)
            return Signature(
                name: parameter.name, type: parameter.type.onnx ?? 0, shape: [parameter.rows, parameter.columns])
        }
    }

    private struct Parameter {
        let name: String
        let type: ElementType
        let rows: Int
        let columns: Int
        let bytes: UnsafeRawBufferPointer

        init(_ table: FlatTable, _ file: MappedFile) throws(LoragenError) {
            guard let name = try table.string(0), !name.isEmpty else {
                throw table.buffer.error("a parameter without a name", at: table.place)
            }
            let shown = shortened(name)
            var shape: [Int] = []
            if let dims = try table.vector(1, width: 8) {
                if dims.count > 8 {
                    throw table.buffer.error("parameter '\(shown)' has too many dimensions", at: dims.start)
                }
                for i in 0..<dims.count {
                    shape.append(Int(try table.buffer.number(at: dims.start + 8 * i, Int64.self)))
                }
            }
            let code = try table.int32(2)
            guard let type = ElementType(onnx: code) else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): parameter '\(shown)' has the ONNX type \(code); expected FLOAT, FLOAT16, BFLOAT16 or "
                        + "DOUBLE")
            }
            guard shape.count == 2, shape.allSatisfy({ $0 > 0 }), let size = type.byteCount(shape: shape) else {
                throw LoragenError(
                    .unsupported, "\(file.path): parameter '\(shown)' has the shape \(shape); expected a matrix")
            }
            guard let raw = try table.vector(3, width: 1), raw.count == size.bytes else {
                throw table.buffer.error(
                    "parameter '\(shown)' has not the \(size.bytes) bytes of \(type.rawValue) \(shape)", at: table.place
                )
            }
            self.name = name
            self.type = type
            rows = shape[0]
            columns = shape[1]
            bytes = UnsafeRawBufferPointer(rebasing: file.bytes[raw.start..<(raw.start + raw.count)])
        }
    }

    private struct Pair {
        var a: Parameter?
        var b: Parameter?
    }

    private static func adapter(of pairs: [ByteKey: Pair], _ path: String) throws(LoragenError) -> Adapter {
        let complete = try pairs.map { name, pair throws(LoragenError) in
            guard let a = pair.a, let b = pair.b else {
                throw LoragenError(
                    .format,
                    "\(path): '\(shortened(name.text))' has no \(pair.a == nil ? "lora_A" : "lora_B")")
            }
            return (name: name.text, a: a, b: b)
        }
        // One naming for the file: Olive's unless all names are PEFT's and all shapes can be.
        let isPEFT = complete.allSatisfy { $0.name.hasPrefix(prefix) && $0.a.rows == $0.b.columns }
        var modules: [ModuleShape] = []
        var found: [ByteKey: (a: Parameter, b: Parameter)] = [:]
        for (name, a, b) in complete {
            let fits = isPEFT ? a.rows == b.columns : a.columns == b.rows
            if !fits {
                throw LoragenError(
                    .format,
                    "\(path): '\(shortened(name))' has lora_A [\(a.rows), \(a.columns)] and lora_B [\(b.rows), "
                        + "\(b.columns)], which have no rank in common")
            }
            let module = name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
            let (rank, inputs, outputs) = isPEFT ? (a.rows, a.columns, b.rows) : (a.columns, a.rows, b.columns)
            do throws(LoragenError) {
                modules.append(
                    try ModuleShape(
                        name: module, inputs: inputs, outputs: outputs, rank: rank, alpha: Double(rank)))
            } catch { throw LoragenError(.unsupported, "\(path): \(error.message)") }
            found[ByteKey(module)] = (a, b)
        }
        let layout: Layout
        do throws(LoragenError) {
            layout = try Layout(modules: modules)
        } catch { throw LoragenError(.unsupported, "\(path): \(error.message)") }
        let adapter = try Adapter(layout: layout) { (target) throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                guard let pair = found[ByteKey(module.name)] else { continue }
                for (side, parameter) in [pair.a, pair.b].enumerated() {
                    let range = layout.tensors[layout.parts[i].a + side].range
                    let values = UnsafeMutableBufferPointer(rebasing: target[range])
                    parameter.type.convert(parameter.bytes, to: values)
                    if isPEFT { continue }
                    _ = values.update(
                        fromContentsOf: transposed(
                            UnsafeBufferPointer(values), rows: parameter.rows, columns: parameter.columns))
                }
            }
        }
        try adapter.checkFinite(source: path)
        return adapter
    }
}
