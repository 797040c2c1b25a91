import Adapters
import Files
import Tensor

extension GGUFAdapter {
    /// Reads an adapter for llama.cpp. `base` names the base model as `BaseModel.init` takes it; it is needed where the
    /// architecture has the rows of q_proj and k_proj in another order and the file does not say how many heads there
    /// are. Throws `.io`; `.format` for a file that is not a GGUF adapter or that llama.cpp would refuse, abort at or
    /// silently misread; `.unsupported` for what is more than LoRA; `.nonFinite`.
    public static func read(path: String, base: String? = nil) throws(LoragenError) -> Adapter {
        try read(GGUFFile(path: path), base: base)
    }

    static func read(_ file: GGUFFile, base text: String?) throws(LoragenError) -> Adapter {
        let path = file.path
        for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
            let value = try file.text(key)
            if value != expected {
                throw LoragenError(
                    .format,
                    "\(path): key '\(key)' is '\(shortened(value))'; expected '\(expected)'. Is it an adapter?")
            }
        }
        if file.values["adapter.alora.invocation_tokens"] != nil {
            throw LoragenError(.unsupported, "\(path): an activated LoRA; this library reads LoRA")
        }
        let base = try base(of: file, text)
        let pairs = try pairs(in: file)
        let named = try names(of: pairs.keys.sorted(by: precedes), pairs, file, base)
        let alpha = try alpha(of: file)
        var modules: [ModuleShape] = []
        for (name, place) in named {
            guard let pair = pairs[place.tensor] else { continue }
            do throws(LoragenError) {
                modules.append(
                    try ModuleShape(
                        name: name, kind: pair.isTable ? .embedding : .linear, inputs: pair.inputs,
                        outputs: pair.outputs, rank: pair.rank, alpha: alpha ?? Double(pair.rank)))
            } catch { throw LoragenError(.unsupported, "\(path): \(error.message)") }
        }
        let layout: Layout
        do throws(LoragenError) {
            layout = try Layout(
                modules: modules, baseModel: file.values["general.base_model.0.name"]?.string,
                targetModules: storedLayout(file)?.targetModules ?? [], taskType: storedLayout(file)?.taskType)
        } catch { throw LoragenError(.unsupported, "\(path): \(error.message)") }
        let places = Dictionary(named.map { (ByteKey($0.name), $0.place) }) { first, _ in first }
        var metadata: [String: String] = [:]
        for (key, value) in file.values where key.hasPrefix("loragen.") || key.hasPrefix("peft.") {
            if key != AdapterFile.layoutKey, let text = value.string { metadata[key] = text }
        }
        var heads: [Int?] = []
        for module in layout.modules {
            heads.append(try base.permutedHeads(of: module.name, rows: module.outputs))
        }
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (i, module) in layout.modules.enumerated() {
                guard let place = places[ByteKey(module.name)], let pair = pairs[place.tensor] else { continue }
                for (side, tensor) in [pair.a, pair.b].enumerated() {
                    let range = layout.tensors[layout.parts[i].a + side].range
                    let values = UnsafeMutableBufferPointer(rebasing: target[range])
                    try decode(tensor, part: place.expert ?? 0, of: file, into: values)
                    if side == 1, let heads = heads[i] {
                        _ = values.update(
                            fromContentsOf: HeadOrder.fromGGUF(
                                UnsafeBufferPointer(values), columns: module.rank, heads: heads))
                    } else if side == 0, pair.isTable {
                        _ = values.update(
                            fromContentsOf: transposed(
                                UnsafeBufferPointer(values), rows: module.inputs, columns: module.rank))
                    }
                }
            }
        }
        try adapter.checkFinite(source: path)
        return adapter
    }

    /// The base model that the caller names, or what the file itself says of it.
    private static func base(of file: GGUFFile, _ text: String?) throws(LoragenError) -> BaseModel {
        let architecture = try file.text("general.architecture")
        let base: BaseModel
        if let text {
            base = try BaseModel(text)
        } else {
            let heads = file.values[headsKey]?.integer ?? 0
            let keyValueHeads = file.values[keyValueHeadsKey]?.integer ?? 0
            let isOurs = file.values[AdapterFile.layoutKey] != nil
            let permutes = isOurs ? (heads > 0 ? ",permute=yes" : ",permute=no") : ""
            let experts = file.tensors.contains { $0.shape.count == 3 } ? ",experts=1" : ""
            do throws(LoragenError) {
                base = try BaseModel(
                    "architecture=\(architecture),heads=\(heads),kv-heads=\(keyValueHeads)\(permutes)\(experts)")
            } catch { throw LoragenError(.unsupported, "\(file.path): \(error.message)") }
            if base.permutesHeads && heads == 0,
                file.tensors.contains(where: { contains($0.name, ".attn_q.") || contains($0.name, ".attn_k.") })
            {
                throw LoragenError(
                    .invalidArgument,
                    "\(file.path): an adapter of the architecture '\(architecture)', whose rows of q_proj and k_proj are in "
                        + "another order in GGUF; name the base model, so that the number of heads is known")
            }
        }
        if base.architecture != architecture {
            throw LoragenError(
                .mismatch,
                "\(file.path): an adapter of the architecture '\(shortened(architecture))', but \(base.source) is "
                    + "'\(base.architecture)'")
        }
        return base
    }

    private static func contains(_ text: String, _ part: String) -> Bool {
        let (text, part) = (Array(text.utf8), Array(part.utf8))
        return text.count >= part.count
            && (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
    }

    /// `nil` stands for "no division by the rank", as llama.cpp takes 0 or no alpha.
    private static func alpha(of file: GGUFFile) throws(LoragenError) -> Double? {
        guard let value = file.values["adapter.lora.alpha"] else { return nil }
        guard case .float(let alpha, .f32) = value, alpha.isFinite else {
            throw LoragenError(
                .format,
                "\(file.path): 'adapter.lora.alpha' is of type \(value.kind) or not finite; expected an f32 (llama.cpp "
                    + "aborts at any other type)")
        }
        return alpha == 0 ? nil : alpha
    }

    private struct Pair {
        let a: GGUFTensor
        let b: GGUFTensor

        /// Of an embedding, whose A is transposed.
        let isTable: Bool

        var rank: Int { b.shape[b.shape.count - 1] }
        var inputs: Int { a.shape[a.shape.count - (isTable ? 2 : 1)] }
        var outputs: Int { b.shape[b.shape.count - 2] }
        var experts: Int? { a.shape.count == 3 ? a.shape[0] : nil }
    }

    private static func pairs(in file: GGUFFile) throws(LoragenError) -> [String: Pair] {
        var sides: [String: (a: GGUFTensor?, b: GGUFTensor?)] = [:]
        for tensor in file.tensors {
            guard tensor.name.hasSuffix(".weight.lora_a") || tensor.name.hasSuffix(".weight.lora_b") else {
                throw LoragenError(
                    .format,
                    "\(file.path): tensor '\(shortened(tensor.name))' is no lora_a or lora_b of a weight")
            }
            guard tensor.type.element != nil || tensor.type == .q8 else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): tensor '\(tensor.name)' is \(tensor.type.name); expected F32, F16, BF16 or Q8_0")
            }
            let base = String(tensor.name.dropLast(".lora_a".count))
            if tensor.name.hasSuffix("a") { sides[base, default: (nil, nil)].a = tensor }
            if tensor.name.hasSuffix("b") { sides[base, default: (nil, nil)].b = tensor }
        }
        if sides.isEmpty { throw LoragenError(.format, "\(file.path): there is no tensor in it") }
        var pairs: [String: Pair] = [:]
        for (name, side) in sides.sorted(by: { precedes($0.key, $1.key) }) {
            guard let a = side.a, let b = side.b else {
                throw LoragenError(
                    .format, "\(file.path): '\(name)' has no \(side.a == nil ? "lora_a" : "lora_b")")
            }
            let (x, y) = (a.shape, b.shape)
            let isTable = name == "token_embd.weight"
            guard (2...3).contains(x.count), x.count == y.count,
                x[x.count - (isTable ? 1 : 2)] == y[y.count - 1], x.count == 2 || x[0] == y[0] && !isTable,
                !x.contains(0), !y.contains(0)
            else {
                throw LoragenError(
                    .format,
                    "\(file.path): '\(name)' has lora_a \(x) and lora_b \(y); expected "
                        + (isTable ? "[tokens, r]" : "[r, in]")
                        + " and [out, r], for experts with their number before, and a rank of 1 or more (llama.cpp aborts "
                        + "at others)")
            }
            pairs[name] = Pair(a: a, b: b, isTable: isTable)
        }
        return pairs
    }

    private static func storedLayout(_ file: GGUFFile) throws(LoragenError) -> Layout? {
        guard let text = file.values[AdapterFile.layoutKey]?.string else { return nil }
        let source = "\(file.path): key '\(AdapterFile.layoutKey)'"
        return try Layout(json: JSON.parse(text, source: source), source: source)
    }

    /// The modules of the tensors: by the layout that this library left in the file, else by the architecture's names.
    private static func names(
        of tensors: [String], _ pairs: [String: Pair], _ file: GGUFFile, _ base: BaseModel
    ) throws(LoragenError) -> [(name: String, place: GGUFNames.Place)] {
        var expected: Set<GGUFNames.Place> = []
        for tensor in tensors {
            guard let pair = pairs[tensor] else { continue }
            let isStack = tensor.hasSuffix("_exps.weight")
            if isStack != (pair.experts != nil) {
                throw LoragenError(
                    .format,
                    "\(file.path): '\(tensor)' has \(pair.a.shape.count) dimensions; llama.cpp takes 3 for experts and 2 "
                        + "for all else")
            }
            guard let experts = pair.experts else {
                expected.insert(GGUFNames.Place(tensor: tensor, expert: nil))
                continue
            }
            if experts > Layout.moduleLimit - expected.count {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): '\(tensor)' has \(experts) experts; expected at most \(Layout.moduleLimit) "
                        + "modules in all")
            }
            for expert in 0..<experts { expected.insert(GGUFNames.Place(tensor: tensor, expert: expert)) }
        }
        var named: [(name: String, place: GGUFNames.Place)] = []
        if let layout = try storedLayout(file) {
            for module in layout.modules {
                let place = try GGUFNames.place(of: module.name)
                guard expected.remove(place) != nil else {
                    throw LoragenError(
                        .format, "\(file.path): its layout has module '\(module.name)', but the tensors do not")
                }
                named.append((module.name, place))
            }
            if let rest = expected.min(by: { precedes($0.tensor, $1.tensor) }) {
                throw LoragenError(.format, "\(file.path): tensor '\(rest.tensor)' is not in the file's layout")
            }
            return named
        }
        for place in expected.sorted(by: { ($0.tensor, $0.expert ?? 0) < ($1.tensor, $1.expert ?? 0) }) {
            guard let name = GGUFNames.module(of: place.tensor, expert: place.expert, base: base) else {
                throw LoragenError(
                    .unsupported,
                    "\(file.path): no module of Hugging Face's '\(base.architecture)' is known for tensor '\(place.tensor)'"
                )
            }
            named.append((name, place))
        }
        return named
    }

    /// Reads a tensor of two dimensions, or one slice of three.
    private static func decode(
        _ tensor: GGUFTensor, part: Int, of file: GGUFFile, into target: UnsafeMutableBufferPointer<Float>
    ) throws(LoragenError) {
        let bytes = file.bytes(of: tensor)
        let parts = tensor.shape.count == 3 ? tensor.shape[0] : 1
        let size = bytes.count / max(parts, 1)
        guard part < parts, target.count * parts == tensor.count, size * parts == bytes.count else {
            throw LoragenError(.internalError, "\(file.path): tensor '\(tensor.name)' was lost")
        }
        let slice = UnsafeRawBufferPointer(rebasing: bytes[(part * size)..<((part + 1) * size)])
        if let type = tensor.type.element {
            type.convert(slice, to: target)
        } else {
            GGUFBlocks.decode(slice, into: target)
        }
        withExtendedLifetime(file) {}
    }
}
