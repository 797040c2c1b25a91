import Adapters
import Files
import Tensor

extension KohyaFile {
    /// Whether a file's names are kohya's.
    public static func recognises(_ file: SafetensorsFile) -> Bool {
        file.tensors.contains { tensor in
            ["lora_unet_", "lora_te", "lora_transformer_", "lycoris_"].contains { tensor.name.hasPrefix($0) }
        }
    }

    /// Reads a file of kohya's. Modules get the names of diffusers' pipelines, "unet.down_blocks.0...". Throws `.io`;
    /// `.format` for a file that is not what it should be, `.unsupported` for what this library or its hosts do not
    /// apply; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        try read(SafetensorsFile(path: path))
    }

    private static let endings: [String: WritableKeyPath<Group, SafetensorsTensor?> & Sendable] = [
        ".lora_down.weight": \.down, ".lora_up.weight": \.up, ".alpha": \.alpha,
    ]

    private struct Group {
        var down: SafetensorsTensor?
        var up: SafetensorsTensor?
        var alpha: SafetensorsTensor?
    }

    static func read(
        _ file: SafetensorsFile, part: LoRAPart = LoRAPart(),
        note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> Adapter {
        let (modules, metadata) = try gather(file, part: part, note: note)
        return try modules.adapter(metadata: metadata)
    }

    static func gather(
        _ file: SafetensorsFile, part: LoRAPart = LoRAPart(), note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> (modules: GatheredModules, metadata: [String: String]) {
        var groups: [ByteKey: Group] = [:]
        let tensors = try part.tensors(of: file, note: note) { (name) throws(LoragenError) in
            name.firstIndex(of: ".").map { endings[String(name[$0...])] != nil } ?? false
        } refusal: {
            unknown($0, file)
        }
        for tensor in tensors {
            guard let dot = tensor.name.firstIndex(of: "."), let side = endings[String(tensor.name[dot...])] else {
                continue
            }
            groups[ByteKey(String(tensor.name[..<dot])), default: Group()][keyPath: side] = tensor
        }
        var gathered = GatheredModules(file)
        for (key, group) in groups.sorted(by: { precedes($0.key.text, $1.key.text) }) {
            guard let down = group.down, let up = group.up else {
                throw LoragenError(
                    .format,
                    "\(file.path): '\(shortened(key.text))' has no \(group.down == nil ? "lora_down" : "lora_up").weight"
                )
            }
            let alpha = try group.alpha.map { (tensor) throws(LoragenError) in try scalar(tensor, file) }
            if key.text.hasPrefix("lora_unet_"), let place = FluxNames.parse(key.text.dropFirst("lora_unet_".count)) {
                try addFlux(place, down: down, up: up, alpha: alpha, to: &gathered)
            } else {
                let name = try name(of: key.text, file)
                try gathered.add(name.text, a: down, b: up, alpha: alpha)
            }
        }
        if !groups.values.contains(where: { $0.alpha != nil }) { try noteAlpha(in: file, gathered.modules, note) }
        var metadata = file.metadata
        metadata["format"] = nil
        return (gathered, metadata)
    }

    /// Trainers that say alpha in the metadata alone are not heard by hosts: without a tensor the scale is 1.
    static func noteAlpha(
        in file: SafetensorsFile, _ modules: [ModuleShape], _ note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        for key in ["ss_network_alpha", "network_alpha", "lora_alpha", "alpha"] {
            guard let text = file.metadata[key], let alpha = Double(text),
                modules.contains(where: { Double($0.rank) != alpha })
            else { continue }
            return try note(
                "'\(key)' in the metadata of \(file.path), \(shortened(text)): no tensor says alpha, and hosts then apply "
                    + "the scale 1, which is what is read")
        }
    }

    private static func unknown(_ name: String, _ file: SafetensorsFile) -> LoragenError {
        LoragenError(
            .unsupported,
            "\(file.path): tensor '\(shortened(name))' is \(ForeignTensor.meaning(of: name) ?? "none of kohya's"); expected "
                + "names that begin with lora_unet_, lora_transformer_, lora_te_, lora_te1_ or lora_te2_ and end in "
                + ".lora_down.weight, .lora_up.weight or .alpha"
                + (ForeignTensor.isBeside(name) ? ". \(LoRAPart.advice)" : ""))
    }

    private static func name(of flat: String, _ file: SafetensorsFile) throws(LoragenError) -> DiffusionName {
        let prefixes: [(String, DiffusionName.Component)] = [
            ("lora_unet_", .unet), ("lora_transformer_", .transformer), ("lora_te_", .textEncoder),
            ("lora_te1_", .textEncoder),
            ("lora_te2_", .textEncoder2),
        ]
        for (prefix, component) in prefixes where flat.hasPrefix(prefix) {
            guard var path = FlatName.path(flat.dropFirst(prefix.count)) else { break }
            if component == .unet, UNetNames.isOriginal(path) {
                guard let mapped = UNetNames.diffusers(path) else { break }
                path = mapped
            }
            // The path must be one of that model's; SimpleTuner calls a transformer "unet" too.
            for own in component == .unet ? [.unet, .transformer] : [component] {
                let name = DiffusionName(own, path)
                if DiffusionName(name.text) == name { return name }
            }
        }
        throw LoragenError(
            .unsupported,
            "\(file.path): '\(shortened(flat))' is no module that is known of Stable Diffusion 1, SDXL, or a transformer of "
                + "diffusers (Flux and others)"
        )
    }

    static func scalar(_ tensor: SafetensorsTensor, _ file: SafetensorsFile) throws(LoragenError) -> Double {
        if tensor.count == 1 {
            switch tensor.type {
            case .i64: return try file.elements(tensor.name, of: Int64.self).first.map { Double($0) } ?? 0
            case .i32: return try file.elements(tensor.name, of: Int32.self).first.map { Double($0) } ?? 0
            case let type where type.isFloat: return try file.floats(tensor.name).first.map { Double($0) } ?? 0
            default: break
            }
        }
        throw LoragenError(
            .format,
            "\(file.path): '\(shortened(tensor.name))' is \(tensor.type.rawValue) \(tensor.shape); expected one number")
    }

    /// A fused matrix becomes one module for each part: block by block if lora_up is block-diagonal, as diffusers decides
    /// it, else with the whole of lora_down for each.
    static func addFlux(
        _ place: (prefix: String, fusion: FluxNames.Fusion), down: SafetensorsTensor, up: SafetensorsTensor,
        alpha: Double?, to gathered: inout GatheredModules
    ) throws(LoragenError) {
        let file = gathered.file
        let count = place.fusion.paths.count
        if count == 1 {
            return try gathered.add("transformer." + place.prefix + place.fusion.paths[0], a: down, b: up, alpha: alpha)
        }
        let whole = try GatheredModules.module("x", a: down, b: up, alpha: alpha, source: file.path)
        let width = whole.inputs
        let sizes = place.fusion.paths.map { FluxNames.rows($0, width: width) }
        guard whole.kind == .linear, sizes.reduce(0, +) == whole.outputs else {
            throw LoragenError(
                .mismatch,
                "\(file.path): '\(shortened(up.name))' is \(up.shape) for an input of \(width); expected \(sizes.reduce(0, +)) "
                    + "rows, those of \(place.fusion.paths.joined(separator: ", "))")
        }
        let rank = whole.rank
        try Memory.require(3 * (down.count + up.count), of: Float.self, for: "\(file.path): '\(shortened(up.name))'")
        let (a, b) = (try file.floats(down.name), try file.floats(up.name))
        let block = rank / count
        var isBlockDiagonal = rank % count == 0
        var row = 0
        for (part, size) in sizes.enumerated() where isBlockDiagonal {
            let own = (part * block)..<((part + 1) * block)
            isBlockDiagonal = (row..<(row + size)).allSatisfy { i in
                (0..<rank).allSatisfy { own.contains($0) || b[i * rank + $0] == 0 }
            }
            row += size
        }
        row = 0
        for (part, size) in sizes.enumerated() {
            let columns = isBlockDiagonal ? (part * block)..<((part + 1) * block) : 0..<rank
            let ownA = Array(a[(columns.lowerBound * width)..<(columns.upperBound * width)])
            let ownB = (row..<(row + size)).flatMap {
                b[($0 * rank + columns.lowerBound)..<($0 * rank + columns.upperBound)]
            }
            row += size
            // What a writer put in for a part that the adapter does not have.
            if isBlockDiagonal, ownA.allSatisfy({ $0 == 0 }), ownB.allSatisfy({ $0 == 0 }) { continue }
            let shape: ModuleShape
            do throws(LoragenError) {
                shape = try ModuleShape(
                    name: "transformer." + place.prefix + place.fusion.paths[part], inputs: width, outputs: size,
                    rank: columns.count, alpha: whole.scale * Double(columns.count))
            } catch {
                throw LoragenError(.unsupported, "\(file.path): \(error.message)")
            }
            try gathered.add(shape, a: .values(ownA), b: .values(ownB))
        }
    }
}
