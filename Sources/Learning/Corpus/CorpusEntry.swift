import Conditions
import Files
import Tensor

/// Which part of a corpus an adapter belongs to. Splits are by task: no task is in two of them.
public enum Split: Int32, Sendable {
    /// Weights and statistics are fitted on these.
    case train = 0
    /// Early stopping and every other choice is made on these.
    case validation = 1
    /// Nothing is chosen on these; the report is measured on them.
    case test = 2

    public init?(name: String) {
        switch name {
        case "train": self = .train
        case "validation": self = .validation
        case "test": self = .test
        default: return nil
        }
    }

    public var name: String {
        switch self {
        case .train: "train"
        case .validation: "validation"
        case .test: "test"
        }
    }
}

/// One adapter of a corpus, as its manifest describes it.
public struct CorpusEntry: Sendable, Equatable {
    /// The adapter's folder, relative to the corpus; unique.
    public var path: String
    public var task: String
    /// The training run that the adapter comes from; several checkpoints of one run share it.
    public var run: String
    public var split = Split.train
    /// The task in words, for people.
    public var text: String?
    /// What a generator is to be asked for to make such an adapter.
    public private(set) var condition = Condition()
    /// The numbers of the condition, part after part; nil without one.
    public private(set) var numbers: [Float]?
    public var scores: [String: Double] = [:]
    /// The base model that the adapter is for, whatever its config calls it.
    public var baseModel: String?

    /// Label bits, where they are all of the condition.
    public var bits: String? { condition.bits }

    /// The manifest's field that gives the condition.
    var conditionField: String {
        guard let part = condition.parts.first, part.name == nil else { return "conditions" }
        return part.kind == BitsKind.name ? "bits" : "condition"
    }

    /// Parses one line of a manifest. `place` names file and line for messages.
    init(line: JSON, place: String) throws(LoragenError) {
        guard let object = line.object else {
            throw LoragenError(.format, "\(place): expected a JSON object, found \(line.kind)")
        }
        func text(_ field: String) throws(LoragenError) -> String? {
            guard let value = object[field], !value.isNull else { return nil }
            guard let text = value.string, !text.isEmpty else {
                throw LoragenError(.format, "\(place), field \"\(field)\": expected a text, found \(value.kind)")
            }
            return text
        }
        let known = ["path", "task", "run", "split", "bits", "condition", "conditions", "text", "scores", "base_model"]
        for member in object.members where !known.contains(member.name) {
            let list = known.map { "\"\($0)\"" }.joined(separator: ", ")
            throw LoragenError(.format, "\(place): unknown field \"\(member.name)\"; a line may have \(list)")
        }
        guard let path = try text("path") else {
            throw LoragenError(.format, "\(place): field \"path\" is missing; it names the adapter's folder")
        }
        guard !path.hasPrefix("/"), !path.split(separator: "/").contains("..") else {
            throw LoragenError(.format, "\(place), field \"path\": \"\(path)\" leaves the corpus")
        }
        guard !path.utf8.contains(0) else {
            throw LoragenError(.format, "\(place), field \"path\": it has a zero byte, which no file name can have")
        }
        self.path = path
        task = try text("task") ?? path
        run = try text("run") ?? path
        self.text = try text("text")
        if let name = try text("split") {
            guard let split = Split(name: name) else {
                throw LoragenError(
                    .format,
                    "\(place), field \"split\": \"\(name)\" is none of \"train\", \"validation\", \"test\"")
            }
            self.split = split
        }
        baseModel = try text("base_model")
        condition = try Self.condition(object, place)
        if !condition.parts.isEmpty { numbers = try Schema.plainNumbers(condition, place: place) }
        if let value = object["scores"], !value.isNull {
            guard let members = value.object?.members else {
                throw LoragenError(.format, "\(place), field \"scores\": expected an object, found \(value.kind)")
            }
            for member in members {
                guard let score = member.value.double else {
                    throw LoragenError(
                        .format,
                        "\(place), field \"scores.\(member.name)\": expected a number, found \(member.value.kind)")
                }
                scores[member.name] = score
            }
        }
    }

    /// An adapter that no manifest describes: its folder's name is its task.
    init(folder: String) {
        path = folder
        task = folder
        run = folder
    }

    /// `bits`, `condition`, or `conditions` of named parts.
    private static func condition(_ object: JSONObject, _ place: String) throws(LoragenError) -> Condition {
        let given = ["bits", "condition", "conditions"].filter { object[$0].map { !$0.isNull } ?? false }
        guard given.count < 2 else {
            throw LoragenError(
                .format, "\(place): \(given.map { "\"\($0)\"" }.joined(separator: " and ")) are both given; give one")
        }
        guard let field = given.first, let value = object[field] else { return Condition() }
        switch field {
        case "bits":
            guard let bits = value.string, !bits.isEmpty else {
                throw LoragenError(
                    .format,
                    "\(place), field \"bits\": found \(value.kind); expected a text of 0 and 1, such as \"0110\"")
            }
            guard bits.utf8.allSatisfy({ $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }) else {
                throw LoragenError(
                    .format, "\(place), field \"bits\": \"\(bits)\" has other characters than 0 and 1")
            }
            return .bits(bits)
        case "condition": return .vector(try vector(value, "\(place), field \"condition\""))
        default:
            guard let members = value.object?.members, !members.isEmpty else {
                throw LoragenError(
                    .format,
                    "\(place), field \"conditions\": found \(value.kind); expected parts by name, such as {\"style\": "
                        + "{\"bits\": \"01\"}, \"subject\": {\"vector\": [0.2, -1]}}")
            }
            var condition = Condition()
            for member in members.sorted(by: { precedes($0.name, $1.name) }) {
                condition.parts.append(
                    try part(member.name, member.value, "\(place), field \"conditions.\(member.name)\""))
            }
            return condition
        }
    }

    /// `{"bits": "01"}` or `{"vector": [0.2, -1]}`: a value under the name of its kind.
    private static func part(_ name: String, _ value: JSON, _ place: String) throws(LoragenError) -> Condition.Part {
        guard let members = value.object?.members, members.count == 1, let member = members.first else {
            let kinds = conditionKinds.names.map { "\"\($0)\"" }.joined(separator: ", ")
            throw LoragenError(
                .format, "\(place): found \(value.kind); expected an object with a value under one of \(kinds)")
        }
        do throws(LoragenError) { _ = try conditionKinds(member.name) } catch {
            throw LoragenError(.format, "\(place): \(error.message)")
        }
        if let text = member.value.string {
            return Condition.Part(name, kind: member.name, .bytes(Array(text.utf8)))
        }
        return Condition.Part(name, kind: member.name, .numbers(try vector(member.value, place)))
    }

    private static func vector(_ value: JSON, _ place: String) throws(LoragenError) -> [Float] {
        guard let list = value.array, !list.isEmpty else {
            throw LoragenError(
                .format,
                "\(place): expected numbers, such as [0.2, -1], found \(value.kind); a label becomes \"bits\" with a 1 for "
                    + "each that applies")
        }
        var result: [Float] = []
        for (i, item) in list.enumerated() {
            guard let number = item.double, Float(number).isFinite else {
                throw LoragenError(.format, "\(place), element \(i): expected a finite number, found \(item.kind)")
            }
            result.append(Float(number))
        }
        return result
    }

    /// The entry as a line of a manifest.
    var json: JSON {
        var object = JSONObject()
        object["path"] = .string(path)
        object["task"] = .string(task)
        object["run"] = .string(run)
        object["split"] = .string(split.name)
        var parts = JSONObject()
        for part in condition.parts {
            let value: JSON =
                switch part.value {
                case .numbers(let numbers): .array(numbers.map { .number(Double($0)) })
                case .bytes(let bytes): .string(String(decoding: bytes, as: UTF8.self))
                }
            if let name = part.name {
                parts[name] = .object([part.kind: value])
            } else {
                object[conditionField] = value
            }
        }
        if !parts.members.isEmpty { object["conditions"] = .object(parts) }
        if let text { object["text"] = .string(text) }
        if let baseModel { object["base_model"] = .string(baseModel) }
        if !scores.isEmpty {
            var values = JSONObject()
            for (name, score) in scores.sorted(by: { $0.key < $1.key }) { values[name] = .number(score) }
            object["scores"] = .object(values)
        }
        return .object(object)
    }
}
