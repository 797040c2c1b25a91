import Files
import Tensor

/// A kind of file beside an adapter, and its fields that say something of it. A field is a path of names, "model/name";
/// lists on the way are gone through. Of bases the first that is given counts.
struct Sidecar {
    enum Syntax { case json, yaml, frontMatter, text }

    /// What follows the adapter's name without suffix, or the name of a file in its folder.
    let name: String
    let syntax: Syntax
    var bases: [String] = []
    /// Each is one description.
    var texts: [String] = []
    /// Words that describe together, but for those that all adapters have.
    var tags: [String] = []
    /// Paths of pictures, relative to the file.
    var images: [String] = []

    /// More is no description.
    static let sizeLimit = 4 << 20

    /// "cat.civitai.info" beside "cat.safetensors": of Civitai's helpers, LoRA-Manager and the web UIs.
    static let ofAdapter = [
        Sidecar(
            name: ".civitai.info", syntax: .json, bases: ["baseModel"],
            texts: ["trainedWords", "description", "model/name", "model/description"], tags: ["model/tags"]),
        Sidecar(
            name: ".metadata.json", syntax: .json, bases: ["base_model", "civitai/baseModel"],
            texts: [
                "civitai/trainedWords", "modelDescription", "civitai/description", "model_name", "civitai/model/name",
                "notes",
            ],
            tags: ["tags", "civitai/model/tags"]),
        Sidecar(
            name: ".json", syntax: .json, bases: ["base_model", "baseModel", "sd version"],
            texts: ["activation text", "trainedWords", "description", "model/name", "notes"],
            tags: ["tags", "model/tags"]),
        Sidecar(name: ".txt", syntax: .text),
    ]

    /// In the folder of an adapter or of its run.
    static let ofFolder = [
        Sidecar(
            name: "README.md", syntax: .frontMatter, bases: ["base_model"],
            texts: ["description", "instance_prompt", "widget/text", "widget/prompt"], tags: ["tags"],
            images: ["widget/output/url"]),
        configuration("config.yaml"), configuration("config.yml"),
        Sidecar(
            name: "meta.json", syntax: .json, bases: ["base_model"], texts: ["description"], tags: ["tags"]),
    ]

    /// Of a trainer: flat, or ai-toolkit's.
    private static func configuration(_ name: String) -> Sidecar {
        Sidecar(
            name: name, syntax: .yaml,
            bases: [
                "base_model", "base_model_name_or_path", "pretrained_model_name_or_path", "model_name_or_path",
                "config/process/model/name_or_path",
            ],
            texts: ["description", "instance_prompt", "trigger_word", "config/process/trigger_word"])
    }

    /// The metadata of a safetensors file, as kohya's scripts and others write them.
    static let metadata = Sidecar(
        name: "the file's metadata", syntax: .json,
        bases: ["ss_sd_model_name", "ss_base_model_version", "modelspec.architecture", "base_model"],
        texts: ["modelspec.trigger_phrase", "modelspec.description", "ss_datasets/subsets/class_tokens"],
        tags: ["modelspec.tags"])

    static let pictures = [".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp"] + suffixes
    static let suffixes = [".png", ".jpg", ".jpeg", ".webp"]

    /// Reads a file. Throws `.io`, and `.format` for one that is too large, no UTF-8 or not what its name says.
    func read(_ path: String) throws(LoragenError) -> JSON {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        if file.size > Self.sizeLimit {
            throw LoragenError(.format, "\(path): \(file.size) bytes; expected at most \(Self.sizeLimit)")
        }
        guard let text = String(validating: file.bytes, as: UTF8.self) else {
            throw LoragenError(.format, "\(path): not UTF-8 text; save it as UTF-8")
        }
        let plain = text.unicodeScalars.first == "\u{feff}" ? String(text.unicodeScalars.dropFirst()) : text
        switch syntax {
        case .text: return .string(plain)
        case .json: return try JSON.parse(plain, source: path)
        case .yaml: return try YAML.parse(plain, source: path)
        case .frontMatter:
            guard let card = Self.frontMatter(plain) else { return .null }
            return try YAML.parse(card, source: path)
        }
    }

    /// What stands between the first line "---" and the next one; nil without them.
    private static func frontMatter(_ text: String) -> String? {
        let lines = text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false)
        func isMark(_ line: Substring.UTF8View) -> Bool {
            line.starts(with: "---".utf8) && line.dropFirst(3).allSatisfy { $0 == 0x20 || $0 == 0x0d }
        }
        guard let first = lines.first, isMark(first), let end = lines.dropFirst().firstIndex(where: isMark) else {
            return nil
        }
        return lines[1..<end].map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
    }

    /// The values of a field.
    static func values(_ field: String, in json: JSON) -> [JSON] {
        field.split(separator: "/").reduce([json]) { found, name in
            found.flatMap { value in (value.array ?? [value]).compactMap { $0[String(name)] } }
        }.filter { !$0.isNull }
    }

    /// A text, or a list of texts.
    static func strings(_ value: JSON) -> [String] {
        value.string.map { [$0] } ?? value.array?.compactMap(\.string) ?? []
    }
}
