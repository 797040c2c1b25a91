import Adapters
import Files
import Tensor

/// The layers of an ONNX model that have a weight, and how modules of an adapter are found among them.
///
/// PyTorch's exporters rename and transpose weights, but leave the module's path in the node: the older one in its name,
/// "/model/layers.0/mlp/up_proj/MatMul", the newer one in its notes. Models of ONNX Runtime GenAI's builder keep it in
/// the weight's name.
public struct ONNXLayer {
    public let node: Int
    /// What the layer may be called.
    let names: [String]
    /// The weight; of a quantised layer its codes.
    public let weight: ONNXGraph.Initializer
    public let order: WeightUpdate.Order
    /// The ONNX type of what the layer computes with.
    public let type: Int32
    let kind: ModuleKind
    let inputs: Int
    let outputs: Int
    let kernel: [Int]
    public let isQuantised: Bool

    func fits(_ module: ModuleShape) -> Bool {
        let isMatrix = kind == .linear && module.isMatrix
        return (isMatrix || kind == module.kind) && inputs == module.inputs && outputs == module.outputs
            && kernel == module.kernel && module.groups == 1
    }
}

extension ONNXGraph {
    /// All layers whose weight is an initializer, maybe behind a Transpose or DequantizeLinear.
    public func layers() throws(LoragenError) -> [ONNXLayer] {
        var layers: [ONNXLayer] = []
        for i in nodes.indices {
            if let layer = try layer(of: i) { layers.append(layer) }
        }
        return layers
    }

    /// The layers of a module: all that have exactly its name, else the one whose name is the longest ending of it or
    /// ends with it. Throws `.mismatch` when there is none, or when it cannot be told which.
    public func layers(for module: ModuleShape, in layers: [ONNXLayer]) throws(LoragenError) -> [ONNXLayer] {
        let path = reader.source
        let fitting = layers.filter { $0.fits(module) }
        // GenAI's builder says "attn" where Hugging Face says "self_attn".
        let names = [module.name, replaced(module.name, "self_attn", by: "attn")]
        for name in names {
            let found = fitting.filter { $0.names.contains(name) }
            if !found.isEmpty { return found }
        }
        for name in names {
            var best: (length: Int, layers: [ONNXLayer]) = (0, [])
            for layer in fitting {
                let length = layer.names.filter { name.hasSuffix("." + $0) || $0.hasSuffix("." + name) }
                    .map { min($0.utf8.count, name.utf8.count) }.max()
                guard let length, length >= best.length else { continue }
                best = (length, length == best.length ? best.layers + [layer] : [layer])
            }
            if best.layers.count == 1 { return best.layers }
            if let first = best.layers.first {
                throw LoragenError(
                    .mismatch,
                    "\(path): module '\(module.name)' can be the layer '\(first.names[0])' or "
                        + "\(best.layers.count - 1) others; the model's names do not tell them apart")
            }
        }
        let other = layers.first { layer in names.contains { layer.names.contains($0) } }
        if let other {
            throw LoragenError(
                .mismatch,
                "\(path): layer '\(other.names[0])' is \(other.kind.rawValue) \([other.outputs, other.inputs] + other.kernel);"
                    + " module '\(module.name)' of the adapter is \(module.kind.rawValue) "
                    + "\([module.outputs, module.inputs] + module.kernel). Is it the adapter's base model?")
        }
        throw LoragenError(
            .mismatch,
            "\(path): no layer of the model is module '\(module.name)' [\(module.outputs), \(module.inputs)]; layers of "
                + "that size are: \(fitting.isEmpty ? "none" : fitting.prefix(5).map { $0.names[0] }.joined(separator: ", "))"
        )
    }

    private func layer(of index: Int) throws(LoragenError) -> ONNXLayer? {
        let node = nodes[index]
        switch (node.domain, node.type) {
        case ("", "MatMul"), ("", "Gemm"):
            guard node.inputs.count >= 2, let found = try weight(node.inputs[1], depth: 0),
                found.initializer.shape.count == 2
            else { return nil }
            var isFlipped = found.isFlipped
            if node.type == "Gemm" {
                let attributes = try attributes(of: node)
                if attributes["transA", default: [0]] != [0] || attributes["alpha"] != nil { return nil }
                if attributes["transB", default: [0]] != [0] { isFlipped.toggle() }
            }
            let shape = found.initializer.shape
            return ONNXLayer(
                node: index, names: names(of: node, found.initializer), weight: found.initializer,
                order: isFlipped ? .outputsFirst : .inputsFirst, type: found.type, kind: .linear,
                inputs: shape[isFlipped ? 1 : 0], outputs: shape[isFlipped ? 0 : 1], kernel: [],
                isQuantised: found.isQuantised)
        case ("com.microsoft", "MatMulNBits"):
            let attributes = try attributes(of: node)
            guard node.inputs.count >= 3, let weight = initializers[ByteKey(node.inputs[1])],
                let scales = initializers[ByteKey(node.inputs[2])], let inputs = attributes["K"]?.first,
                let outputs = attributes["N"]?.first
            else { return nil }
            return ONNXLayer(
                node: index, names: names(of: node, weight), weight: weight, order: .outputsFirst, type: scales.type,
                kind: .linear, inputs: inputs, outputs: outputs, kernel: [], isQuantised: true)
        case ("", "Conv"):
            guard node.inputs.count >= 2, let weight = initializers[ByteKey(node.inputs[1])],
                (3...5).contains(weight.shape.count), try attributes(of: node)["group", default: [1]] == [1]
            else { return nil }
            return ONNXLayer(
                node: index, names: names(of: node, weight), weight: weight, order: .outputsFirst, type: weight.type,
                kind: .convolution, inputs: weight.shape[1], outputs: weight.shape[0],
                kernel: Array(weight.shape[2...]), isQuantised: false)
        case ("", "Gather"):
            guard let name = node.inputs.first, let weight = initializers[ByteKey(name)], weight.shape.count == 2,
                ElementType(onnx: weight.type) != nil
            else { return nil }
            return ONNXLayer(
                node: index, names: names(of: node, weight), weight: weight, order: .inputsFirst, type: weight.type,
                kind: .embedding, inputs: weight.shape[0], outputs: weight.shape[1], kernel: [], isQuantised: false)
        default: return nil
        }
    }

    private func weight(
        _ name: String, depth: Int
    ) throws(LoragenError) -> (initializer: Initializer, isFlipped: Bool, type: Int32, isQuantised: Bool)? {
        if let initializer = initializers[ByteKey(name)] { return (initializer, false, initializer.type, false) }
        guard depth < 4, let producer = producers[ByteKey(name)] else { return nil }
        let node = nodes[producer]
        guard node.domain.isEmpty, let input = node.inputs.first else { return nil }
        switch node.type {
        case "Identity": return try weight(input, depth: depth + 1)
        case "Transpose":
            guard try attributes(of: node)["perm", default: [1, 0]] == [1, 0],
                let found = try weight(input, depth: depth + 1)
            else { return nil }
            return (found.initializer, !found.isFlipped, found.type, found.isQuantised)
        case "DequantizeLinear":
            guard let codes = initializers[ByteKey(input)], node.inputs.count >= 2,
                let scales = initializers[ByteKey(node.inputs[1])]
            else { return nil }
            return (codes, false, scales.type, true)
        default: return nil
        }
    }

    /// Whole numbers among a node's attributes; a float other than 1 as an empty list.
    private func attributes(of node: Node) throws(LoragenError) -> [String: [Int]] {
        var attributes: [String: [Int]] = [:]
        for field in try reader.fields(in: node.field.body) where field.number == 5 && field.isMessage {
            var (name, values, isNumber): (String, [Int], Bool) = ("", [], false)
            for part in try reader.fields(in: field.body) {
                switch part.number {
                case 1: name = try reader.text(part)
                case 2:
                    let raw = UnsafeRawBufferPointer(rebasing: reader.bytes[part.body])
                    isNumber = raw.count != 4 || raw.loadUnaligned(as: UInt32.self).littleEndian != 0x3f80_0000
                case 3, 8:
                    values += try reader.integers(part)
                    isNumber = true
                default: break
                }
            }
            if isNumber { attributes[name] = values }
        }
        return attributes
    }

    private func names(of node: Node, _ weight: Initializer) -> [String] {
        var names: [String] = []
        if !node.scope.isEmpty { names.append(node.scope) }
        if node.name.hasPrefix("/") {
            let parts = node.name.split(separator: "/").dropLast()
            if !parts.isEmpty { names.append(parts.joined(separator: ".")) }
        }
        for suffix in [".MatMul.weight", ".weight"] where weight.name.hasSuffix(suffix) {
            names.append(String(weight.name.dropLast(suffix.count)))
            break
        }
        return names.isEmpty ? [weight.name] : names
    }

    private func replaced(_ name: String, _ part: String, by other: String) -> String {
        name.split(separator: ".", omittingEmptySubsequences: false).map { $0 == part ? Substring(other) : $0 }
            .joined(separator: ".")
    }
}
