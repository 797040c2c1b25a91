import Adapters
import Files
import Formats
import Tensor

/// A value that was found, and where.
struct Inferred {
    var value: String
    let origin: String
}

/// One adapter of a folder, with what lies beside it.
struct ImportedAdapter {
    let name: AdapterName
    let layout: Layout
    /// What the adapter and the files beside it call the base model, the most trustworthy first.
    private(set) var bases: [Inferred] = []
    private(set) var texts: [Inferred] = []
    private(set) var tags: [(words: [String], origin: String)] = []
    private(set) var images: [Inferred] = []
    private(set) var scores: [(name: String, value: Double)] = []
    /// Name and hash of the base model's file, where kohya's scripts wrote them.
    private(set) var baseFile: (name: String, hash: String)?
    /// Of files that could not be used.
    private(set) var remarks: [String] = []

    /// The longest description that is kept, in characters.
    static let textLimit = 1000
    /// Of the tags that the training pictures had.
    static let tagLimit = 12

    var path: String { name.path }

    init(_ name: AdapterName, _ layout: Layout) {
        (self.name, self.layout) = (name, layout)
        addBase(layout.baseModel, "the adapter itself")
    }

    /// - Parameter folder: where the sidecar lies, relative to the corpus.
    mutating func add(_ sidecar: Sidecar, _ json: JSON, in folder: String, _ isPicture: (String) -> Bool) {
        if let text = json.string { addText(text, sidecar.name) }
        for field in sidecar.bases {
            let found = Sidecar.values(field, in: json).flatMap(Sidecar.strings)
            if addBase(found.first, "\(sidecar.name): \(field)") { break }
        }
        for field in sidecar.texts {
            for value in Sidecar.values(field, in: json) {
                addText(Sidecar.strings(value).joined(separator: ", "), "\(sidecar.name): \(field)")
            }
        }
        for field in sidecar.tags {
            let words = Sidecar.values(field, in: json).flatMap(Sidecar.strings).flatMap { $0.split(separator: ",") }
            addTags(words.map(String.init), "\(sidecar.name): \(field)")
        }
        for field in sidecar.images {
            for name in Sidecar.values(field, in: json).flatMap(Sidecar.strings) {
                let path = folder.isEmpty ? name : "\(folder)/\(name)"
                if isPicture(path) { addImage(path, "\(sidecar.name): \(field)") }
            }
        }
        for metric in Sidecar.values("model-index/results/metrics", in: json).flatMap({ $0.array ?? [$0] }) {
            guard let name = (metric["name"] ?? metric["type"])?.string, !scores.contains(where: { $0.name == name }),
                let value = metric["value"]?.string.flatMap(Double.init), value.isFinite
            else { continue }
            scores.append((name, value))
        }
    }

    /// What kohya's scripts and others wrote into a safetensors file. Throws `.memory`.
    mutating func add(metadata: [String: String]) throws(LoragenError) {
        var json = JSONObject(metadata.map { ($0.key, .string($0.value)) })
        // Of these the text is JSON again.
        for name in ["ss_tag_frequency", "ss_dataset_dirs", "ss_datasets"] {
            guard let text = metadata[name], text.utf8.count <= Sidecar.sizeLimit else { continue }
            do throws(LoragenError) { json[name] = try JSON.parse(text, source: name) } catch {
                if error.code == .memory { throw error }
                addRemark("not read: \(error.message)")
            }
        }
        add(Sidecar.metadata, .object(json), in: "") { _ in false }
        if let hash = metadata["ss_new_sd_model_hash"], let name = metadata["ss_sd_model_name"].flatMap(Self.plain) {
            baseFile = (Self.fileName(name), hash)
        }
        // "10_sks dog": pictures of that folder were repeated ten times.
        let folders = json["ss_dataset_dirs"]?.object?.members.map { member in
            let rest = member.name.drop { $0.isASCII && $0.isNumber }
            return rest.count < member.name.count && rest.hasPrefix("_") ? String(rest.dropFirst()) : member.name
        }
        addText(folders?.joined(separator: ", ") ?? "", "\(Sidecar.metadata.name): ss_dataset_dirs")
        var counts: [String: Double] = [:]
        let frequencies =
            [json["ss_tag_frequency"]].compactMap { $0 }
            + Sidecar.values("ss_datasets/tag_frequency", in: .object(json))
        for folder in frequencies.flatMap({ $0.object?.members ?? [] }) {
            for tag in folder.value.object?.members ?? [] {
                counts[tag.name.split(separator: " ").joined(separator: " "), default: 0] += tag.value.double ?? 0
            }
        }
        let order = counts.sorted { $0.value == $1.value ? precedes($0.key, $1.key) : $0.value > $1.value }
        addTags(order.prefix(Self.tagLimit).map(\.key), "\(Sidecar.metadata.name): ss_tag_frequency")
    }

    /// Whether it names one.
    @discardableResult private mutating func addBase(_ name: String?, _ origin: String) -> Bool {
        guard let name = name.flatMap(Self.plain), BaseName.canonical(name) != nil,
            !["none", "unknown", "other"].contains(name.lowercased())
        else { return false }
        bases.append(Inferred(value: Self.fileName(name), origin: origin))
        return true
    }

    /// Without a checkpoint's place on the trainer's machine.
    private static func fileName(_ name: String) -> String {
        [".safetensors", ".ckpt"].contains(where: name.hasSuffix) ? splitPath(name).name : name
    }

    private mutating func addText(_ text: String, _ origin: String) {
        guard let plain = Self.plain(text), !texts.contains(where: { ByteKey($0.value) == ByteKey(plain) }) else {
            return
        }
        var kept = String(plain.unicodeScalars.prefix(Self.textLimit))
        if kept.utf8.count < plain.utf8.count, let space = kept.lastIndex(of: " ") { kept = String(kept[..<space]) }
        let cut = kept.utf8.count < plain.utf8.count ? ", its first \(Self.textLimit) characters" : ""
        texts.append(Inferred(value: kept, origin: origin + cut))
    }

    /// Those with a colon, "base_model:adapter:gpt2", are for a hub's search.
    private mutating func addTags(_ words: [String], _ origin: String) {
        let plain = words.compactMap(Self.plain).filter { !$0.utf8.contains(UInt8(ascii: ":")) }
        if !plain.isEmpty { tags.append((plain, origin)) }
    }

    mutating func addImage(_ path: String, _ origin: String) {
        let known = images.contains { ByteKey($0.value) == ByteKey(path) }
        if !known { images.append(Inferred(value: path, origin: origin)) }
    }

    mutating func addRemark(_ remark: String) { remarks.append(remark) }

    /// One line without HTML; nil for nothing.
    private static func plain(_ text: String) -> String? {
        let scalars = Array(text.unicodeScalars.prefix(1 << 16))
        func begins(_ word: String, at place: Int) -> Bool { scalars[place...].starts(with: word.unicodeScalars) }
        let isHTML = scalars.indices.contains { place in
            scalars[place] == "<" && ["</", "<br", "<p>"].contains { begins($0, at: place) }
        }
        var plain = String.UnicodeScalarView()
        var place = 0
        while place < scalars.count {
            if isHTML, scalars[place] == "<", let end = scalars[place...].firstIndex(of: ">") {
                plain.append(" ")
                place = end + 1
            } else if isHTML, scalars[place] == "&", let entity = entities.first(where: { begins($0.0, at: place) }) {
                plain.append(entity.1)
                place += entity.0.unicodeScalars.count
            } else {
                plain.append(scalars[place])
                place += 1
            }
        }
        let words = plain.split { $0.value <= 0x20 || $0.value == 0x7f || $0.value == 0xa0 }
        return words.isEmpty ? nil : words.map { String($0) }.joined(separator: " ")
    }

    private static let entities: [(String, Unicode.Scalar)] = [
        ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "),
    ]
}
