import Files
import Tensor

/// The parts of an ONNX model that adapters touch, in place: nodes, initializers, inputs. Subgraphs and functions are
/// not looked into. Field numbers are those of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
public struct ONNXGraph {
    public struct Node {
        public let field: ProtoField
        public let inputs: [String]
        public let outputs: [String]
        public let name: String
        public let type: String
        public let domain: String
        /// Path of the module by the exporters' notes, or "".
        public let scope: String
        /// The fields of the outputs.
        public let outputFields: [ProtoField]
    }

    public struct Initializer {
        let field: ProtoField
        public let name: String
        public let shape: [Int]
        public let type: Int32
        /// Where its bytes are: in the model, or in a file beside it.
        public let data: Data

        public enum Data {
            case inside(Range<Int>)
            case outside(location: String, offset: Int, length: Int?)
            /// Numbers of a kind that this library does not take apart, or none.
            case other
        }
    }

    public let file: MappedFile
    public let reader: ProtoReader
    /// Of the model, and of its graph.
    public let modelFields: [ProtoField]
    public let graphFields: [ProtoField]
    public let graph: ProtoField
    public let nodes: [Node]
    public let initializers: [ByteKey: Initializer]
    /// Node by the name of an output.
    public let producers: [ByteKey: Int]
    public let properties: [(field: ProtoField, key: String, value: String)]

    public init(path: String) throws(LoragenError) {
        let file = try MappedFile(path: path)
        self.file = file
        let reader = ProtoReader(bytes: file.bytes, source: path)
        self.reader = reader
        modelFields = try reader.fields(in: 0..<file.size)
        let graphs = modelFields.filter { $0.number == 7 && $0.isMessage }
        guard graphs.count == 1 else {
            throw LoragenError(.format, "\(path): \(graphs.count) graphs; expected an ONNX model with one")
        }
        graph = graphs[0]
        graphFields = try reader.fields(in: graph.body)
        var nodes: [Node] = []
        var initializers: [ByteKey: Initializer] = [:]
        for field in graphFields where field.isMessage {
            if field.number == 1 { nodes.append(try Node(field, reader)) }
            if field.number == 5 {
                let initializer = try Initializer(field, reader)
                if initializers.updateValue(initializer, forKey: ByteKey(initializer.name)) != nil {
                    throw reader.error(
                        "initializer '\(shortened(initializer.name))' a second time", field.whole.lowerBound)
                }
            }
        }
        var producers: [ByteKey: Int] = [:]
        for (i, node) in nodes.enumerated() {
            for output in node.outputs where !output.isEmpty { producers[ByteKey(output)] = i }
        }
        self.nodes = nodes
        self.initializers = initializers
        self.producers = producers
        var properties: [(ProtoField, String, String)] = []
        for field in modelFields where field.number == 14 && field.isMessage {
            let entry = try Self.entry(field, reader)
            properties.append((field, entry.key, entry.value))
        }
        self.properties = properties
    }

    /// Names of the files beside the model that hold initializers.
    public var locations: [String] {
        var names: Set<String> = []
        for initializer in initializers.values {
            if case .outside(let location, _, _) = initializer.data { names.insert(location) }
        }
        return names.sorted(by: precedes)
    }

    /// Type and shape of each input that is a tensor; a dimension that is open is `nil`.
    public func inputs() throws(LoragenError) -> [ByteKey: (type: Int32, shape: [Int?])] {
        var inputs: [ByteKey: (type: Int32, shape: [Int?])] = [:]
        // ValueInfoProto.type, TypeProto.tensor_type, its elem_type and shape, TensorShapeProto.dim, its dim_value.
        for field in graphFields where field.number == 11 && field.isMessage {
            var name = ""
            var tensor: ProtoField?
            for part in try reader.fields(in: field.body) where part.isMessage {
                if part.number == 1 { name = try reader.text(part) }
                if part.number == 2 {
                    tensor = try reader.fields(in: part.body).last { $0.number == 1 && $0.isMessage }
                }
            }
            guard let tensor else { continue }
            var (type, shape): (Int32, [Int?]) = (0, [])
            for part in try reader.fields(in: tensor.body) {
                if part.number == 1 && !part.isMessage { type = Int32(truncatingIfNeeded: part.value) }
                if part.number != 2 || !part.isMessage { continue }
                for dimension in try reader.fields(in: part.body) where dimension.number == 1 && dimension.isMessage {
                    let value = try reader.fields(in: dimension.body).last { $0.number == 1 && !$0.isMessage }
                    shape.append(value.flatMap { Int(exactly: $0.value) })
                }
            }
            inputs[ByteKey(name)] = (type, shape)
        }
        return inputs
    }

    /// Key and value of a StringStringEntryProto.
    fileprivate static func entry(
        _ field: ProtoField, _ reader: ProtoReader
    ) throws(LoragenError) -> (key: String, value: String) {
        var (key, value) = ("", "")
        for part in try reader.fields(in: field.body) {
            if part.number == 1 { key = try reader.text(part) }
            if part.number == 2 { value = try reader.text(part) }
        }
        return (key, value)
    }

    /// A file beside the model that its initializers may name: no folder above it.
    static func check(location: String, _ source: String) throws(LoragenError) {
        let parts = location.split(separator: "/", omittingEmptySubsequences: false)
        if location.isEmpty || hasNUL(location) || parts.contains("..") || parts.first == "" {
            throw LoragenError(
                .format,
                "\(source): external data in '\(shortened(location))'; expected a path inside the model's folder")
        }
    }
}

extension ONNXGraph.Node {
    fileprivate init(_ field: ProtoField, _ reader: ProtoReader) throws(LoragenError) {
        var (inputs, outputs): ([String], [String]) = ([], [])
        var (name, type, domain, scope) = ("", "", "", "")
        var outputFields: [ProtoField] = []
        for part in try reader.fields(in: field.body) {
            switch part.number {
            case 1: inputs.append(try reader.text(part))
            case 2:
                outputs.append(try reader.text(part))
                outputFields.append(part)
            case 3: name = try reader.text(part)
            case 4: type = try reader.text(part)
            case 7: domain = try reader.text(part)
            case 9:
                let entry = try ONNXGraph.entry(part, reader)
                if entry.key == "pkg.torch.onnx.name_scopes" { scope = Self.module(inScopes: entry.value) }
            default: break
            }
        }
        self.init(
            field: field, inputs: inputs, outputs: outputs, name: name, type: type, domain: domain, scope: scope,
            outputFields: outputFields)
    }

    /// Of "['', 'model', 'model.q_proj', 'linear']" the module, the last but one.
    private static func module(inScopes text: String) -> String {
        var names: [String] = []
        var name: String?
        for character in text {
            if character == "'" {
                if let found = name { names.append(found) }
                name = name == nil ? "" : nil
            } else {
                name?.append(character)
            }
        }
        return names.count > 1 ? names[names.count - 2] : ""
    }
}

extension ONNXGraph.Initializer {
    fileprivate init(_ field: ProtoField, _ reader: ProtoReader) throws(LoragenError) {
        var (name, shape, type): (String, [Int], Int32) = ("", [], 0)
        var raw: Range<Int>?
        var entries: [String: String] = [:]
        var isOutside = false
        for part in try reader.fields(in: field.body) {
            switch part.number {
            case 1: shape += try reader.integers(part)
            case 2: type = Int32(truncatingIfNeeded: part.value)
            case 4, 9: if part.isMessage { raw = part.body }
            case 8: name = try reader.text(part)
            case 13:
                let entry = try ONNXGraph.entry(part, reader)
                entries[entry.key] = entry.value
            case 14: isOutside = part.value == 1
            default: break
            }
        }
        var data = Data.other
        if isOutside, let location = entries["location"] {
            try ONNXGraph.check(location: location, reader.source)
            let offset = Int(entries["offset"] ?? "0")
            let length = entries["length"].map { Int($0) ?? -1 }
            guard let offset, offset >= 0, (length ?? 0) >= 0 else {
                throw reader.error(
                    "initializer '\(shortened(name))' has an offset or length that is no number", field.whole.lowerBound
                )
            }
            data = .outside(location: location, offset: offset, length: length)
        } else if let raw {
            data = .inside(raw)
        }
        self.init(field: field, name: name, shape: shape, type: type, data: data)
    }
}
