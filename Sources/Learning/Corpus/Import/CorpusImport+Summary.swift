import Files
import Tensor

extension CorpusImport.Group {
    /// The distinct last components of the modules' names.
    var targets: [String] {
        Set(layout.modules.map { $0.name.split(separator: ".").last.map(String.init) ?? $0.name }).sorted(by: precedes)
    }

    /// How many members have which ranks.
    var ranks: [(rank: String, count: Int)] {
        var counts: [String: Int] = [:]
        for member in members {
            let ranks = Set(member.layout.modules.map(\.rank)).sorted()
            counts[ranks.map(String.init).joined(separator: "/"), default: 0] += 1
        }
        return counts.sorted { $0.value == $1.value ? precedes($0.key, $1.key) : $0.value > $1.value }
            .map { ($0.key, $0.value) }
    }
}

extension CorpusImport.Line {
    /// Each inferred field with its value and where it comes from.
    var fields: [(name: String, value: String, origin: String)] {
        var fields = [
            ("task", adapter.name.task, "the path"), ("run", adapter.name.run, "the path"),
            ("split", split.name, "a hash of seed and task"),
        ]
        if let bits { fields.append(("bits", bits, "the path")) }
        if let base { fields.append(("base_model", base.value, base.origin)) }
        fields += texts.map { ("text", $0.value, $0.origin) } + images.map { ("images", $0.value, $0.origin) }
        return fields + adapter.scores.map { ("scores", "\($0.name) \($0.value)", "README.md: model-index") }
    }
}

extension CorpusImport {
    public var json: JSON {
        func field(_ field: (name: String, value: String, origin: String)) -> JSON {
            ["field": .string(field.name), "value": .string(field.value), "from": .string(field.origin)]
        }
        let groups = groups.enumerated().map { i, group -> JSON in
            [
                "group": JSON(i + 1), "base_model": group.base.map { .string($0) } ?? .null,
                "ranks": .object(JSONObject(group.ranks.map { ($0.rank, JSON($0.count)) })),
                "modules": JSON(group.layout.modules.count), "targets": JSON(group.targets),
                "adapters": JSON(group.members.map(\.path)),
            ]
        }
        return [
            "manifest": manifest.map { .string($0) } ?? .null, "group": JSON(chosen + 1), "groups": .array(groups),
            "lines": .array(
                lines.map { ["path": .string($0.adapter.path), "fields": .array($0.fields.map(field))] }),
            "without_text": JSON(withoutText), "without_images": JSON(withoutImages),
            "left_out": .array(left.map { ["path": .string($0.path), "why": .string($0.why)] }),
            "remarks": JSON(remarks),
        ]
    }

    /// The same for people.
    public var text: String {
        let tasks = Set(lines.map(\.adapter.name.task))
        let splits = [Split.train, .validation, .test].map { split in
            "\(Set(lines.filter { $0.split == split }.map(\.adapter.name.task)).count) \(split.name)"
        }
        var text =
            "\(path): \(counted(groups.reduce(0) { $0 + $1.members.count }, "adapter")) in "
            + "\(counted(groups.count, "group")) by base model and modules\n"
        for (i, group) in groups.enumerated() {
            let ranks = group.ranks.map { group.ranks.count > 1 ? "\($0.rank) (\($0.count))" : $0.rank }
            text +=
                "  group \(i + 1): \(counted(group.members.count, "adapter")) of "
                + (group.base.map(shortened) ?? "an unnamed base model")
                + ", rank \(ranks.joined(separator: ", ")), \(counted(group.layout.modules.count, "module")) "
                + "(\(listed(group.targets, limit: 8)))\n"
        }
        text +=
            (manifest.map { "Drafted group \(chosen + 1) into \($0): " } ?? "Would draft group \(chosen + 1): ")
            + "\(counted(lines.count, "adapter")), \(counted(tasks.count, "task")) (\(splits.joined(separator: ", ")))\n"
        if groups.count > 1 { text += "  --group N drafts another\n" }
        for name in namesakes {
            text += "  if its base model is the same: --same-base \"\(name)=\(groups[chosen].base ?? "")\"\n"
        }
        if groups[chosen].unnamed > 0 {
            text +=
                "  \(counted(groups[chosen].unnamed, "adapter")) of it without a base model's name: the modules fit no other\n"
        }
        text += "\nWhere the fields come from:\n"
        for (name, origin, count) in origins { text += "  \(name): \(origin) (\(counted(count, "adapter")))\n" }
        if !withoutText.isEmpty {
            text +=
                "\nWithout a text (\(withoutText.count) of \(lines.count)): \(listed(withoutText, limit: 8))\n"
                + "  a generator that is asked in words needs one in each line: write \"text\", or remove the line\n"
        }
        if !withoutImages.isEmpty, withoutImages.count < lines.count {
            text +=
                "\nWithout a picture (\(withoutImages.count) of \(lines.count)): \(listed(withoutImages, limit: 8))\n"
                + "  a generator that is asked by pictures needs one in each line\n"
        }
        var reasons: [(why: String, paths: [String])] = []
        for (path, why) in left {
            if let place = reasons.firstIndex(where: { $0.why == why }) {
                reasons[place].paths.append(path)
            } else {
                reasons.append((why, [path]))
            }
        }
        if !left.isEmpty { text += "\nLeft out (\(left.count)):\n" }
        for (why, paths) in reasons { text += "  \(listed(paths, limit: 8)): \(why)\n" }
        if !remarks.isEmpty { text += "\nTo know:\n" }
        for remark in remarks.prefix(20) { text += "  \(remark)\n" }
        if remarks.count > 20 { text += "  and \(remarks.count - 20) more\n" }
        return text
    }

    /// Paths of lines that have neither bits nor words, and of those without a picture.
    private var withoutText: [String] { lines.filter { $0.texts.isEmpty && $0.bits == nil }.map(\.adapter.path) }
    private var withoutImages: [String] { lines.filter(\.images.isEmpty).map(\.adapter.path) }

    /// Base models of other groups that have the modules of the one that is drafted.
    private var namesakes: [String] {
        guard groups[chosen].base != nil else { return [] }
        return groups.filter { $0.layout.difference(from: groups[chosen].layout, ignoringRank: true) == nil }
            .compactMap(\.base).filter { $0 != groups[chosen].base }.map(shortened)
    }

    /// How many lines have a field from where.
    private var origins: [(name: String, origin: String, count: Int)] {
        var counts: [(name: String, origin: String, count: Int)] = []
        for line in lines {
            var seen: Set<[String]> = []
            for field in line.fields where seen.insert([field.name, field.origin]).inserted {
                let place = counts.firstIndex { $0.name == field.name && $0.origin == field.origin }
                if let place { counts[place].count += 1 } else { counts.append((field.name, field.origin, 1)) }
            }
        }
        let order = lines.flatMap(\.fields).map(\.name)
        return counts.sorted { a, b in
            (order.firstIndex(of: a.name) ?? 0, -a.count) < (order.firstIndex(of: b.name) ?? 0, -b.count)
        }
    }
}
