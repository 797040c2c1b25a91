import Adapters
import Files
import Formats
import Tensor

/// Adapters put into an ONNX model beside its weights. A layer `y = x · W` becomes `y = x · W + (x · A) · B`, A and B being
/// initializers or, for adapters that are given to a run, inputs with an empty default. All bytes of the model that this
/// does not concern stay, and `remove` gives back the ones from before.
enum ONNXInjection {
    /// Of the nodes' names, and of what a layer's own output is called then.
    private static let nodePrefix = "loragen/"
    private static let baseSuffix = "/loragen_base"
    private static let property = "loragen.injected"
    /// Protobuf counts in 31 bits.
    private static let sizeLimit = (1 << 31) - 1

    static func run(
        model: String, adapter: Adapter, to target: String, scale: Double, asInputs: Bool
    ) throws(LoragenError) {
        let graph = try ONNXGraph(path: model)
        if graph.properties.contains(where: { $0.key == property }) {
            throw LoragenError(
                .unsupported, "\(model): it has an adapter put in already; take that out first (--undo)")
        }
        let layers = try graph.layers()
        var edit = Edit(graph)
        for (i, module) in adapter.layout.modules.enumerated() {
            if !module.isMatrix || module.hasMagnitude {
                throw LoragenError(
                    .unsupported,
                    "module '\(module.name)' is \(module.hasMagnitude ? "DoRA" : "of the kind \(module.kind.rawValue)"); "
                        + "only LoRA of linear layers can be put in beside the weights. Merge it instead")
            }
            let found = try graph.layers(for: module, in: layers)
            let names = ["A", "B"].map { "\(module.name).lora_\($0).weight" }
            guard let type = ElementType(onnx: found[0].type), type != .f64 else {
                throw LoragenError(
                    .unsupported,
                    "\(model): layer '\(module.name)' computes with ONNX type \(found[0].type); expected FLOAT, FLOAT16 or "
                        + "BFLOAT16")
            }
            for (side, name) in names.enumerated() {
                let shape = side == 0 ? [module.inputs, module.rank] : [module.rank, module.outputs]
                try edit.addTensor(
                    name, shape: shape, type: type, isInput: asInputs,
                    values: asInputs
                        ? nil : (adapter, adapter.layout.parts[i].a + side, side == 1 ? scale * module.scale : 1))
            }
            for (k, layer) in found.enumerated() {
                try edit.addNodes(after: layer.node, k == 0 ? module.name : "\(module.name)#\(k)", names)
            }
        }
        var entry = ProtoWriter()
        entry.add(1, text: property)
        entry.add(2, text: asInputs ? "inputs" : "initializers")
        try edit.write(to: target, property: entry, copying: model)
    }

    static func remove(from model: String, to target: String) throws(LoragenError) {
        let graph = try ONNXGraph(path: model)
        guard let property = graph.properties.first(where: { $0.key == property }) else {
            throw LoragenError(.unsupported, "\(model): no adapter was put in by this library")
        }
        var edit = Edit(graph)
        var names: Set<String> = []
        for node in graph.nodes where node.name.hasPrefix(nodePrefix) {
            edit.replace(node.field, with: [])
            for name in node.inputs where name.hasSuffix(".lora_A.weight") || name.hasSuffix(".lora_B.weight") {
                names.insert(name)
            }
        }
        for node in graph.nodes {
            for (name, field) in zip(node.outputs, node.outputFields) where name.hasSuffix(baseSuffix) {
                try edit.rename(node, field, to: String(name.dropLast(baseSuffix.count)))
            }
        }
        for field in graph.graphFields where field.isMessage && (field.number == 5 || field.number == 11) {
            let name = field.number == 5 ? 8 : 1
            for part in try graph.reader.fields(in: field.body)
            where part.number == name {
                if names.contains(try graph.reader.text(part)) { edit.replace(field, with: []) }
            }
        }
        edit.replace(property.field, with: [])
        try edit.write(to: target, property: nil, copying: model)
    }

    /// Changes to a model: fields replaced or followed by others, and fields added at the graph's end.
    private struct Edit {
        let graph: ONNXGraph
        /// By where the field begins.
        private var replaced: [Int: [UInt8]] = [:]
        private var after: [Int: [UInt8]] = [:]
        private var added = ProtoWriter()
        private var taken: Set<String>

        init(_ graph: ONNXGraph) {
            self.graph = graph
            taken = Set(graph.initializers.keys.map(\.text))
            for node in graph.nodes { taken.formUnion(node.outputs) }
        }

        mutating func replace(_ field: ProtoField, with bytes: [UInt8]) { replaced[field.whole.lowerBound] = bytes }

        mutating func addTensor(
            _ name: String, shape: [Int], type: ElementType, isInput: Bool,
            values: (adapter: Adapter, tensor: Int, scale: Double)?
        ) throws(LoragenError) {
            if !taken.insert(name).inserted {
                throw LoragenError(
                    .unsupported, "\(graph.reader.source): it has a tensor '\(shortened(name))' already")
            }
            guard let code = type.onnx else { return }
            // In a model with inputs the rank is open, and 0 without an adapter.
            let open = name.hasSuffix(".lora_A.weight") ? 1 : 0
            var tensor = ProtoWriter()
            for (i, dimension) in shape.enumerated() {
                tensor.add(1, varint: UInt64(isInput && i == open ? 0 : dimension))
            }
            tensor.add(2, varint: UInt64(code))
            tensor.add(8, text: name)
            if let (adapter, index, scale) = values {
                let source = adapter.tensor(at: index)
                let turned = transposed(source.values, rows: source.shape[0], columns: source.shape[1])
                withExtendedLifetime(adapter) {}
                var bytes: [UInt8] = []
                bytes.reserveCapacity(turned.count * (type.bits / 8))
                try turned.withUnsafeBufferPointer { turned in
                    Result { () throws(LoragenError) in
                        try FloatEncoder(type: type, scale: scale, name: source.name).encode(turned) {
                            (raw) throws(LoragenError) in bytes.append(contentsOf: raw)
                        }
                    }
                }.get()
                tensor.add(9, bytes: bytes)
            }
            added.add(5, message: tensor)
            guard isInput else { return }
            var dimensions = ProtoWriter()
            for (i, dimension) in shape.enumerated() {
                var size = ProtoWriter()
                if i != open { size.add(1, varint: UInt64(dimension)) }
                dimensions.add(1, message: size)
            }
            var tensorType = ProtoWriter()
            tensorType.add(1, varint: UInt64(code))
            tensorType.add(2, message: dimensions)
            var valueType = ProtoWriter()
            valueType.add(1, message: tensorType)
            var info = ProtoWriter()
            info.add(1, text: name)
            info.add(2, message: valueType)
            added.add(11, message: info)
        }

        /// Renames the layer's output and puts the nodes that make it anew after the layer.
        mutating func addNodes(after index: Int, _ name: String, _ tensors: [String]) throws(LoragenError) {
            let node = graph.nodes[index]
            guard let input = node.inputs.first, node.outputs.count == 1, after[node.field.whole.lowerBound] == nil
            else {
                throw LoragenError(
                    .mismatch,
                    "\(graph.reader.source): the layer of module '\(name)' has \(node.outputs.count) outputs, or is that of "
                        + "another module too")
            }
            let output = node.outputs[0]
            try rename(node, node.outputFields[0], to: output + ONNXInjection.baseSuffix)
            var nodes = ProtoWriter()
            let start = ONNXInjection.nodePrefix + name
            for (type, suffix, inputs, output) in [
                ("MatMul", "/A", [input, tensors[0]], start + "/A"),
                ("MatMul", "/B", [start + "/A", tensors[1]], start + "/B"),
                ("Add", "/Add", [output + ONNXInjection.baseSuffix, start + "/B"], output),
            ] {
                var message = ProtoWriter()
                for input in inputs { message.add(1, text: input) }
                message.add(2, text: output)
                message.add(3, text: start + suffix)
                message.add(4, text: type)
                nodes.add(1, message: message)
            }
            after[node.field.whole.lowerBound] = nodes.bytes
        }

        mutating func rename(_ node: ONNXGraph.Node, _ output: ProtoField, to name: String) throws(LoragenError) {
            var body = ProtoWriter()
            body.add(2, text: name)
            let bytes = graph.reader.bytes
            let changed =
                Array(bytes[node.field.body.lowerBound..<output.whole.lowerBound]) + body.bytes
                + Array(bytes[output.whole.upperBound..<node.field.body.upperBound])
            var field = ProtoWriter()
            field.add(1, bytes: changed)
            replace(node.field, with: field.bytes)
        }

        /// Writes the model, and the files of its external data where it goes to another folder.
        func write(to target: String, property: ProtoWriter?, copying model: String) throws(LoragenError) {
            let bytes = graph.reader.bytes
            var size = added.bytes.count
            for field in graph.graphFields {
                let start = field.whole.lowerBound
                size += (replaced[start]?.count ?? field.whole.count) + (after[start]?.count ?? 0)
            }
            var head = ProtoWriter()
            head.start(7, size: size)
            if graph.file.size - graph.graph.whole.count + head.bytes.count + size > ONNXInjection.sizeLimit {
                throw LoragenError(
                    .unsupported,
                    "\(target): the model would pass 2 GiB, which an ONNX file cannot; keep its weights as external data"
                )
            }
            var written: [AtomicFile] = []
            for location in graph.locations {
                let file = try MappedFile(path: joinPath(splitPath(model).folder, location))
                written += try ONNXFiles.copy(file, location, [], beside: target)
            }
            let file = try AtomicFile(path: target)
            func append(_ range: Range<Int>) throws(LoragenError) {
                try file.append(UnsafeRawBufferPointer(rebasing: bytes[range]))
            }
            for field in graph.modelFields {
                if field.whole != graph.graph.whole {
                    if let other = replaced[field.whole.lowerBound] {
                        try file.append(other)
                    } else {
                        try append(field.whole)
                    }
                    continue
                }
                try file.append(head.bytes)
                for field in graph.graphFields {
                    let start = field.whole.lowerBound
                    if let other = replaced[start] { try file.append(other) } else { try append(field.whole) }
                    if let other = after[start] { try file.append(other) }
                }
                try file.append(added.bytes)
            }
            if let property {
                var entry = ProtoWriter()
                entry.add(14, message: property)
                try file.append(entry.bytes)
            }
            withExtendedLifetime(graph.file) {}
            try AtomicFile.commit(written + [file])
        }
    }
}
