import Adapters
import Files
import Tensor

extension PEFTFolder {
    /// Writes an adapter as a PEFT folder: weights first, config last. A folder that exists keeps its other files, see
    /// `AtomicFolder`. Keys of `adapter.metadata` that start with "peft." go into the config, all others into the
    /// metadata of the weights. Throws `.io`, `.nonFinite` (also for values beyond the range of F16), and
    /// `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        let adapter = try adapter.ofOneModel()
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        let config = try PEFTConfig.text(for: image.layout, metadata: adapter.metadata)
        let writer = try image.writer(metadata: metadata(adapter.metadata))
        let folder = try AtomicFolder(path: path)
        try folder.add(weightsName, expectedSize: writer.size()) { (file) throws(LoragenError) in
            try writer.write(into: file)
        }
        try folder.add(PEFTConfig.fileName) { (file) throws(LoragenError) in try file.append(config) }
        try folder.commit()
    }

    /// What the metadata of the weights holds.
    static func metadata(_ own: [String: String]) -> [String: String] {
        var metadata = own.filter { !$0.key.hasPrefix("peft.") }
        metadata["format"] = "pt"
        return metadata
    }
}

extension Adapter {
    /// PEFT wraps one model, so the modules of a pipeline lose the component before their names. Throws `.unsupported` when
    /// there are several.
    fileprivate func ofOneModel() throws(LoragenError) -> Adapter {
        let names = layout.modules.map { module in
            DiffusionName(module.name).flatMap { module.name.hasPrefix($0.component.rawValue + ".") ? $0 : nil }
        }
        let components = Set(names.map { $0?.component })
        guard let component = names.lazy.compactMap({ $0?.component }).first else { return self }
        if components.count > 1 {
            throw LoragenError(
                .unsupported,
                "a PEFT folder is for one model, and the adapter is for several: "
                    + "\(components.map { $0?.rawValue ?? "others" }.sorted().joined(separator: ", ")). Write the diffusers or "
                    + "kohya format, or one component at a time")
        }
        var modules: [ModuleShape] = []
        for module in layout.modules {
            modules.append(try module.named(String(module.name.dropFirst(component.rawValue.count + 1))))
        }
        let renamed = try layout.holding(modules)
        // The order of the keys is the same.
        return try Adapter(layout: renamed, metadata: metadata) { target in _ = target.update(fromContentsOf: values) }
    }
}

extension PEFTConfig {
    /// The config of a layout, as PEFT writes it: sorted keys, two spaces. Every key that some host needs or reads with
    /// another default is there.
    static func text(for layout: Layout, metadata: [String: String]) throws(LoragenError) -> String {
        try json(for: layout, metadata: metadata).text(indent: 2) + "\n"
    }

    public static func json(for layout: Layout, metadata: [String: String]) throws(LoragenError) -> JSON {
        let linear = layout.modules.filter { $0.kind == .linear || $0.kind == .transposedLinear }
        // Older adapters of this library say it here alone.
        let isTransposed =
            linear.contains { $0.kind == .transposedLinear } || metadata["peft.fan_in_fan_out"] == "true"
        // PEFT resets the flag at a layer that keeps its weight as [out, in], so a mixture needs no second adapter; but this
        // library tells the two by their names.
        if isTransposed, let odd = linear.first(where: { ($0.kind == .transposedLinear) != isConv1D($0.name) }),
            linear.contains(where: { $0.kind != odd.kind })
        {
            throw LoragenError(
                .unsupported,
                "a PEFT config has one fan_in_fan_out for all linear layers, and module '\(odd.name)' keeps its weight as "
                    + "\(odd.kind == .linear ? "[out, in] where others keep it transposed" : "[in, out] where others do not")"
                    + "; write them as two adapters")
        }
        let hasMagnitudes = layout.modules.contains(where: \.hasMagnitude)
        if hasMagnitudes, let plain = layout.modules.first(where: { !$0.hasMagnitude }) {
            throw LoragenError(
                .unsupported,
                "a PEFT config has one use_dora for all modules, and module '\(plain.name)' is without magnitudes while "
                    + "others have them; write them as two adapters")
        }
        // One PEFT config has one rule for all modules; where the layout mixes them, alpha / r says the same.
        let isStabilised = layout.modules.allSatisfy { $0.scaling == .rankStabilised }
        let alphas = layout.modules.map { module in
            isStabilised || module.scaling == .standard ? module.alpha : module.scale * Double(module.rank)
        }
        let ranks = layout.modules.map(\.rank)
        let rank = ranks.max() ?? 1
        let alpha = alphas.first ?? 1
        // PEFT takes the first key that fits, also the end of a name: the longer name must come first.
        let order = layout.modules.indices.sorted {
            let (a, b) = (layout.modules[$0].name, layout.modules[$1].name)
            return a.utf8.count == b.utf8.count ? precedes(a, b) : a.utf8.count > b.utf8.count
        }
        var rankPattern = JSONObject()
        var alphaPattern = JSONObject()
        let hasOddRank = ranks.contains { $0 != rank }
        let hasOddAlpha = alphas.contains { $0 != alpha }
        for i in order {
            let key = escaped(layout.modules[i].name)
            if hasOddRank { rankPattern[key] = JSON(ranks[i]) }
            if hasOddAlpha { alphaPattern[key] = alphaJSON(alphas[i]) }
        }
        let members: [(String, JSON)] = [
            ("alpha_pattern", .object(alphaPattern)),
            ("auto_mapping", nil),
            ("base_model_name_or_path", layout.baseModel.map { .string($0) } ?? .null),
            ("bias", "none"),
            ("exclude_modules", nil),
            ("fan_in_fan_out", .bool(isTransposed)),
            ("inference_mode", true),
            ("init_lora_weights", true),
            ("layers_pattern", nil),
            ("layers_to_transform", nil),
            ("lora_alpha", alphaJSON(alpha)),
            ("lora_bias", false),
            ("lora_dropout", 0.0),
            ("modules_to_save", nil),
            ("peft_type", "LORA"),
            ("r", JSON(rank)),
            ("rank_pattern", .object(rankPattern)),
            ("revision", metadata["peft.revision"].map { .string($0) } ?? .null),
            ("target_modules", JSON(targetModules(of: layout))),
            // Older files of this library have it in their metadata alone.
            ("task_type", (layout.taskType ?? metadata["peft.task_type"]).map { .string($0) } ?? .null),
            ("use_dora", .bool(hasMagnitudes)),
            ("use_rslora", .bool(isStabilised)),
        ]
        return .object(JSONObject(members))
    }

    /// A module's name as a regular expression for itself; PEFT's own patterns leave '.' as it is.
    private static func escaped(_ name: String) -> String {
        var result = ""
        for scalar in name.unicodeScalars {
            if "^$*+?{}[]()|\\".unicodeScalars.contains(scalar) { result += "\\" }
            result.unicodeScalars.append(scalar)
        }
        return result
    }

    /// The names by which PEFT finds the modules: those of the config that the layout came from if they still name every
    /// module; else the distinct last components ("q_proj"), if each is a name and occurs in the same layers 0, 1, 2, ... without a
    /// gap; else full paths, because a short name would also pick modules that the adapter leaves alone.
    static func targetModules(of layout: Layout) -> [String] {
        let given = layout.targetModules
        let coversAll = layout.modules.allSatisfy { module in
            given.contains { module.name == $0 || module.name.hasSuffix("." + $0) }
        }
        if !given.isEmpty && coversAll { return given }
        var layers: [String: Set<Int>] = [:]
        var hasModuleOutsideLayers = false
        for module in layout.modules {
            let last = module.name.split(separator: ".").last.map(String.init) ?? module.name
            // A number, as in "to_out.0", would also pick the layers themselves.
            if let layer = module.layerIndex, Int(last) == nil {
                layers[last, default: []].insert(layer)
            } else {
                hasModuleOutsideLayers = true
            }
        }
        let count = layers.values.first?.count ?? 0
        if !hasModuleOutsideLayers, layers.values.allSatisfy({ $0 == Set(0..<count) }) {
            return layers.keys.sorted(by: precedes)
        }
        return layout.modules.map(\.name).sorted(by: precedes)
    }
}
