import Files
import Tensor

extension Layout {
    /// The version of the JSON form that this library writes.
    static let jsonVersion: Int64 = 1

    /// The layout as it stands in the metadata of the files that this library writes: everything that `init(json:)`
    /// needs, in a fixed order.
    public var json: JSON {
        var object: JSONObject = ["version": .integer(Self.jsonVersion)]
        if let baseModel { object["base_model"] = .string(baseModel) }
        if let taskType { object["task_type"] = .string(taskType) }
        if !targetModules.isEmpty { object["target_modules"] = JSON(targetModules) }
        object["modules"] = .array(modules.map(\.json))
        return .object(object)
    }

    /// Reads what `json` gave. Throws `.version` for a later version, `.format` for anything missing, unknown or out of
    /// range; `source` names the file.
    public init(json: JSON, source: String) throws(LoragenError) {
        guard let object = json.object else {
            throw LoragenError(.format, "\(source): the layout is \(json.kind); expected an object")
        }
        guard let version = object["version"]?.integer else {
            throw LoragenError(.format, "\(source): the layout has no version")
        }
        if version != Int(Self.jsonVersion) {
            throw LoragenError(
                .version, "\(source): a layout of version \(version); this library knows \(Self.jsonVersion)")
        }
        for member in object.members
        where !["version", "base_model", "task_type", "target_modules", "modules"].contains(member.name) {
            throw LoragenError(.format, "\(source): the layout has an unknown member '\(shortened(member.name))'")
        }
        let base = object["base_model"]
        if let base, base.string == nil {
            throw LoragenError(.format, "\(source): the layout's base_model is \(base.kind); expected a string")
        }
        let task = object["task_type"]
        if let task, task.string == nil {
            throw LoragenError(.format, "\(source): the layout's task_type is \(task.kind); expected a string")
        }
        guard let list = object["modules"]?.array else {
            throw LoragenError(.format, "\(source): the layout has no array 'modules'")
        }
        var targets: [String] = []
        if let value = object["target_modules"] {
            guard let texts = value.array?.map(\.string), !texts.contains(nil) else {
                throw LoragenError(.format, "\(source): the layout's target_modules is not an array of strings")
            }
            targets = texts.compactMap { $0 }
        }
        do throws(LoragenError) {
            var modules: [ModuleShape] = []
            modules.reserveCapacity(min(list.count, Self.moduleLimit))
            for (i, entry) in list.enumerated() { modules.append(try ModuleShape(json: entry, place: i)) }
            try self.init(modules: modules, baseModel: base?.string, targetModules: targets, taskType: task?.string)
        } catch {
            throw LoragenError(.format, "\(source): \(error.message)")
        }
        for (given, sorted) in zip(list, modules) where given["name"]?.string != sorted.name {
            throw LoragenError(.format, "\(source): the layout's modules are not sorted at '\(sorted.name)'")
        }
    }
}

extension ModuleShape {
    var json: JSON {
        var object: JSONObject = [
            "name": .string(name), "kind": .string(kind.rawValue), "inputs": JSON(inputs), "outputs": JSON(outputs),
            "rank": JSON(rank), "alpha": alphaJSON(alpha),
        ]
        if scaling != .standard { object["scaling"] = .string(scaling.rawValue) }
        if !kernel.isEmpty { object["kernel"] = JSON(kernel) }
        if groups != 1 { object["groups"] = JSON(groups) }
        if hasMagnitude { object["dora"] = true }
        return .object(object)
    }

    fileprivate init(json: JSON, place: Int) throws(LoragenError) {
        func wrong(_ field: String) -> LoragenError {
            LoragenError(
                .format, "module \(place) of the layout: '\(field)' is \(json[field]?.kind ?? "missing")")
        }
        guard let object = json.object else {
            throw LoragenError(.format, "module \(place) of the layout is \(json.kind); expected an object")
        }
        for member in object.members
        where !["name", "kind", "inputs", "outputs", "rank", "alpha", "scaling", "kernel", "groups", "dora"]
            .contains(member.name)
        {
            throw LoragenError(
                .format, "module \(place) of the layout has an unknown member '\(shortened(member.name))'")
        }
        guard let name = json["name"]?.string else { throw wrong("name") }
        guard let kind = json["kind"]?.string.flatMap(ModuleKind.init) else { throw wrong("kind") }
        guard let inputs = json["inputs"]?.integer else { throw wrong("inputs") }
        guard let outputs = json["outputs"]?.integer else { throw wrong("outputs") }
        guard let rank = json["rank"]?.integer else { throw wrong("rank") }
        guard let alpha = json["alpha"]?.double else { throw wrong("alpha") }
        var scaling = ModuleScaling.standard
        if let value = json["scaling"] {
            guard let known = value.string.flatMap(ModuleScaling.init) else { throw wrong("scaling") }
            scaling = known
        }
        var kernel: [Int] = []
        if let value = json["kernel"] {
            guard let sizes = value.array?.map(\.integer), !sizes.contains(nil) else { throw wrong("kernel") }
            kernel = sizes.compactMap { $0 }
        }
        guard let groups = json["groups"].map(\.integer) ?? 1 else { throw wrong("groups") }
        guard let hasMagnitude = json["dora"].map(\.bool) ?? false else { throw wrong("dora") }
        try self.init(
            name: name, kind: kind, inputs: inputs, outputs: outputs, kernel: kernel, groups: groups, rank: rank,
            alpha: alpha, scaling: scaling, hasMagnitude: hasMagnitude)
    }
}

/// Alpha as Python would write it: 16, not 16.0, when it is whole.
public func alphaJSON(_ alpha: Double) -> JSON {
    Int64(exactly: alpha).map { .integer($0) } ?? .number(alpha)
}
