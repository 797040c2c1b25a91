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
    /// The task in words: ways to say it.
    public private(set) var texts: [String] = []
    /// Pictures of what the adapter makes, relative to the corpus.
    public private(set) var images: [String] = []
    /// Ways to ask for such an adapter by `bits`, `condition` or `conditions`; none where there is no such field.
    public private(set) var ways: [Condition] = []
    /// The numbers of the first, part after part; nil without one, and where an encoder has to make them.
    public private(set) var numbers: [Float]?
    public var scores: [String: Double] = [:]
    /// The base model that the adapter is for, whatever its config calls it.
    public var baseModel: String?

    /// The first way to ask for it.
    public var condition: Condition { ways.first ?? Condition() }
    /// The first way to say it.
    public var text: String? { texts.first }
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
        let known = [
            "path", "task", "run", "split", "bits", "condition", "conditions", "text", "images", "scores", "base_model",
        ]
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
        texts = try Self.list(object["text"], "\(place), field \"text\"")
        images = try Self.list(object["images"], "\(place), field \"images\"")
        for image in images { try Self.check(file: image, "\(place), field \"images\"") }
        if let name = try text("split") {
            guard let split = Split(name: name) else {
                throw LoragenError(
                    .format,
                    "\(place), field \"split\": \"\(name)\" is none of \"train\", \"validation\", \"test\"")
            }
            self.split = split
        }
        baseModel = try text("base_model")
        ways = try Self.ways(object, place)
        for (i, way) in ways.enumerated() {
            let found = try way.plainNumbers(place: place)
            if i == 0 { numbers = found }
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

    /// A text or a list of texts, none of them empty.
    private static func list(_ value: JSON?, _ place: String) throws(LoragenError) -> [String] {
        guard let value, !value.isNull else { return [] }
        let items = value.array ?? [value]
        let texts = items.compactMap(\.string)
        guard texts.count == items.count, !texts.isEmpty, !texts.contains("") else {
            throw LoragenError(
                .format, "\(place): expected a text or a list of texts, none of them empty; found \(value.kind)")
        }
        return texts
    }

    /// Throws for a path that leaves the corpus.
    private static func check(file: String, _ place: String) throws(LoragenError) {
        guard !file.hasPrefix("/"), !file.split(separator: "/").contains(".."), !file.utf8.contains(0) else {
            throw LoragenError(.format, "\(place): \"\(shortened(file))\" leaves the corpus")
        }
    }

    /// `bits`, `condition`, or `conditions`: named parts, or a list of ways to give them.
    private static func ways(_ object: JSONObject, _ place: String) throws(LoragenError) -> [Condition] {
        let given = ["bits", "condition", "conditions"].filter { object[$0].map { !$0.isNull } ?? false }
        guard given.count < 2 else {
            throw LoragenError(
                .format, "\(place): \(given.map { "\"\($0)\"" }.joined(separator: " and ")) are both given; give one")
        }
        guard let field = given.first, let value = object[field] else { return [] }
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
            return [.bits(bits)]
        case "condition": return [.vector(try vector(value, "\(place), field \"condition\""))]
        default:
            guard let list = value.array else { return [try parts(value, "\(place), field \"conditions\"")] }
            var ways: [Condition] = []
            for (i, way) in list.enumerated() {
                ways.append(try parts(way, "\(place), field \"conditions\", element \(i)"))
            }
            guard !ways.isEmpty else { throw LoragenError(.format, "\(place), field \"conditions\": an empty list") }
            return ways
        }
    }

    /// Parts by name.
    private static func parts(_ value: JSON, _ place: String) throws(LoragenError) -> Condition {
        guard let members = value.object?.members, !members.isEmpty else {
            throw LoragenError(
                .format,
                "\(place): found \(value.kind); expected parts by name, such as {\"style\": {\"bits\": \"01\"}, \"subject\": "
                    + "{\"vector\": [0.2, -1]}}")
        }
        var condition = Condition()
        for member in members.sorted(by: { precedes($0.name, $1.name) }) {
            condition.parts += try part(member.name, member.value, "\(place), part \"\(member.name)\"")
        }
        return condition
    }

    /// `{"bits": "01"}`, `{"vector": [0.2, -1]}`, `{"text": ["a cat", "cats"]}`: one value, or several, under the name of
    /// its kind.
    private static func part(_ name: String, _ value: JSON, _ place: String) throws(LoragenError) -> [Condition.Part] {
        guard let members = value.object?.members, members.count == 1, let member = members.first else {
            let kinds = conditionKinds.names.map { "\"\($0)\"" }.joined(separator: ", ")
            throw LoragenError(
                .format, "\(place): found \(value.kind); expected an object with a value under one of \(kinds)")
        }
        let kind: any ConditionKind
        do throws(LoragenError) { kind = try conditionKinds(member.name) } catch {
            throw LoragenError(.format, "\(place): \(error.message)")
        }
        func part(_ value: ConditionValue) -> Condition.Part { Condition.Part(name, kind: kind.name, value) }
        let list = member.value.array ?? []
        if kind.name == ImagesKind.name {
            let files = try self.list(member.value, place)
            for file in files { try check(file: file, place) }
            return files.map { part(.file($0)) }
        }
        if member.value.string != nil || list.first?.string != nil {
            return try self.list(member.value, place).map { part(.text($0)) }
        }
        guard list.first?.array != nil else { return [part(.numbers(try vector(member.value, place)))] }
        var found: [Condition.Part] = []
        for item in list { found.append(part(.numbers(try vector(item, place)))) }
        return found
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
        if conditionField != "conditions" {
            object[conditionField] = condition.parts.first.map { Self.json($0.value) }
        } else if ways.count > 1 {
            object["conditions"] = .array(ways.map(Self.json))
        } else if let way = ways.first {
            object["conditions"] = Self.json(way)
        }
        if !texts.isEmpty { object["text"] = texts.count == 1 ? .string(texts[0]) : JSON(texts) }
        if !images.isEmpty { object["images"] = JSON(images) }
        if let baseModel { object["base_model"] = .string(baseModel) }
        if !scores.isEmpty {
            var values = JSONObject()
            for (name, score) in scores.sorted(by: { $0.key < $1.key }) { values[name] = .number(score) }
            object["scores"] = .object(values)
        }
        return .object(object)
    }

    private static func json(_ way: Condition) -> JSON {
        var parts = JSONObject()
        for part in way.parts where parts[part.name ?? ""] == nil {
            let values = way.parts.filter { $0.name == part.name }.map { json($0.value) }
            parts[part.name ?? ""] = .object([part.kind: values.count == 1 ? values[0] : .array(values)])
        }
        return .object(parts)
    }

    private static func json(_ value: ConditionValue) -> JSON {
        switch value {
        case .numbers(let numbers): .array(numbers.map { .number(Double($0)) })
        case .bytes(let bytes): .string(String(decoding: bytes, as: UTF8.self))
        case .file(let path): .string(path)
        }
    }
}
