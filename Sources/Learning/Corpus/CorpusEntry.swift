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
    /// The condition as the manifest gives it: label bits, or a vector.
    public var bits: String?
    public var vector: [Float]?
    public var scores: [String: Double] = [:]
    /// The base model that the adapter is for, whatever its config calls it.
    public var baseModel: String?

    /// The condition as numbers: bits become 0 and 1.
    public var condition: [Float]? {
        bits.map { $0.utf8.map { $0 == UInt8(ascii: "1") ? 1 : 0 } } ?? vector
    }

    public var conditionKind: ConditionKind {
        bits != nil ? .bits : vector != nil ? .vector : .none
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
        let known = ["path", "task", "run", "split", "bits", "condition", "text", "scores", "base_model"]
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
        if let value = object["bits"], !value.isNull, value.string == nil {
            throw LoragenError(
                .format, "\(place), field \"bits\": found \(value.kind); expected a text of 0 and 1, such as \"0110\"")
        }
        bits = try text("bits")
        if let bits, !bits.utf8.allSatisfy({ $0 == UInt8(ascii: "0") || $0 == UInt8(ascii: "1") }) {
            throw LoragenError(.format, "\(place), field \"bits\": \"\(bits)\" has other characters than 0 and 1")
        }
        if let value = object["condition"], !value.isNull {
            guard bits == nil else {
                throw LoragenError(.format, "\(place): \"bits\" and \"condition\" are both given; give one")
            }
            vector = try Self.numbers(value, place: place)
        }
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

    private static func numbers(_ value: JSON, place: String) throws(LoragenError) -> [Float] {
        guard let list = value.array, !list.isEmpty else {
            throw LoragenError(
                .format,
                "\(place), field \"condition\": expected numbers, such as [0.2, -1], found \(value.kind); a label becomes "
                    + "\"bits\" with a 1 for each that applies")
        }
        var result: [Float] = []
        for (i, item) in list.enumerated() {
            guard let number = item.double, Float(number).isFinite else {
                throw LoragenError(
                    .format, "\(place), field \"condition\", element \(i): expected a finite number, found \(item.kind)"
                )
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
        if let bits { object["bits"] = .string(bits) }
        if let vector { object["condition"] = .array(vector.map { .number(Double($0)) }) }
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
