import Adapters
import Files
import Formats
import Tensor

/// The draft of a manifest from what people hold: adapters in any format, with cards, metadata and pictures beside them.
/// Adapters that can be trained together are a group; one group is drafted.
public struct CorpusImport {
    public struct Options: Sendable {
        /// Which tasks are held out.
        public var seed: UInt64 = 0
        /// From 1, as the summary numbers them; 0: the largest.
        public var group = 0
        /// Adapters of other ranks are left out; 0: none.
        public var rank = 0
        /// Whether earlier checkpoints of a run are lines too.
        public var keepsCheckpoints = false
        /// Pairs of names of one base model; the first becomes the second.
        public var sameBase: [(name: String, base: String)] = []
        /// Writes nothing.
        public var isTrial = false

        public init() {}
    }

    /// Adapters of one base model with the same modules.
    struct Group {
        /// nil where none is named.
        var base: String?
        let layout: Layout
        var members: [ImportedAdapter] = []
        /// Members that name no base model, though others do.
        var unnamed = 0
    }

    /// A line of the manifest, and where each of its fields comes from.
    struct Line {
        let adapter: ImportedAdapter
        let split: Split
        let base: Inferred?
        let texts: [Inferred]
        let images: [Inferred]
        let bits: String?
    }

    let path: String
    let groups: [Group]
    /// The index of the one that is drafted.
    let chosen: Int
    let lines: [Line]
    /// Paths that are not in the draft, and why.
    let left: [(path: String, why: String)]
    let remarks: [String]
    /// nil for a trial.
    let manifest: String?

    /// Reads headers and what lies beside, and writes `corpus.jsonl`. Throws `.io` when there is one; `.format` when
    /// there is no adapter; `.invalidArgument` for a group or rank that there is not.
    public init(path: String, options: Options = Options()) throws(LoragenError) {
        let manifest = options.isTrial ? nil : try Corpus.freshManifest(path)
        let walk = try FolderWalk(path)
        let folder = try ImportFolder(walk)
        var left = folder.left
        let kept = Self.lastOfRuns(folder.adapters, options, &left)
        let groups = Self.groups(kept, options)
        guard !groups.isEmpty else {
            let why = left.prefix(4).map { "; \($0.path): \($0.why)" }.joined()
            throw LoragenError(
                .format,
                "\(path): there is no adapter that can be read in it\(why.isEmpty ? FolderSource.nothing(walk) : why)")
        }
        guard options.group <= groups.count, options.group >= 0 else {
            throw LoragenError(
                .invalidArgument, "there is no group \(options.group); \(path) has \(counted(groups.count, "group"))")
        }
        chosen = max(0, options.group - 1)
        for (i, group) in groups.enumerated() where i != chosen {
            left += group.members.map { ($0.path, "of group \(i + 1)") }
        }
        let members = groups[chosen].members.filter { member in
            options.rank == 0 || member.layout.modules.allSatisfy { $0.rank == options.rank }
        }
        if members.isEmpty {
            throw LoragenError(.invalidArgument, "no adapter of group \(chosen + 1) has rank \(options.rank)")
        }
        if members.count < groups[chosen].members.count {
            let paths = Set(members.map(\.path))
            left += groups[chosen].members.filter { !paths.contains($0.path) }.map { ($0.path, "of another rank") }
        }
        self.path = path
        self.groups = groups
        self.manifest = manifest
        self.left = left
        lines = Self.lines(members, options)
        remarks =
            walk.remarks.map { "\($0.message). \($0.advice)" } + Self.disagreements(members, options)
            + Self.identities(kept)
            + members.flatMap { member in member.remarks.map { "\(member.path): \($0)" } }
        guard let manifest else { return }
        let file = try AtomicFile(path: manifest)
        for line in lines { try file.append(try line.json.text() + "\n") }
        try file.commit()
    }

    // MARK: What is taken

    /// A run's last adapter stands for it, unless all are asked for.
    private static func lastOfRuns(
        _ adapters: [ImportedAdapter], _ options: Options, _ left: inout [(path: String, why: String)]
    ) -> [ImportedAdapter] {
        if options.keepsCheckpoints { return adapters }
        var last: [String: Int] = [:]
        for adapter in adapters {
            last[adapter.name.run] = max(last[adapter.name.run] ?? 0, adapter.name.step ?? Int.max)
        }
        return adapters.filter { adapter in
            if adapter.name.step ?? Int.max == last[adapter.name.run] { return true }
            left.append((adapter.path, "an earlier checkpoint of \(adapter.name.run); --checkpoints keeps it"))
            return false
        }
    }

    /// The largest first.
    private static func groups(_ adapters: [ImportedAdapter], _ options: Options) -> [Group] {
        var groups: [Group] = []
        var unnamed: [ImportedAdapter] = []
        func add(_ adapter: ImportedAdapter, _ base: String?, to place: Int?) {
            if place == nil { groups.append(Group(base: base, layout: adapter.layout)) }
            groups[place ?? groups.count - 1].members.append(adapter)
        }
        func fits(_ adapter: ImportedAdapter, _ group: Group) -> Bool {
            adapter.layout.difference(from: group.layout, ignoringRank: true) == nil
        }
        for adapter in adapters {
            guard let base = Self.base(adapter, options)?.value else {
                unnamed.append(adapter)
                continue
            }
            add(
                adapter, base,
                to: groups.firstIndex { group in BaseName.agree(group.base, base) && fits(adapter, group) })
        }
        // Without a name an adapter goes with the one base model that has its modules; among several it is not guessed.
        let named = groups
        for adapter in unnamed {
            let places = named.indices.filter { fits(adapter, named[$0]) }
            let own = places.count == 1 ? places[0] : groups.firstIndex { $0.base == nil && fits(adapter, $0) }
            if places.count == 1 { groups[places[0]].unnamed += 1 }
            add(adapter, nil, to: own)
        }
        return groups.enumerated().sorted { a, b in
            a.element.members.count == b.element.members.count
                ? a.offset < b.offset : a.element.members.count > b.element.members.count
        }.map(\.element)
    }

    private static func base(_ adapter: ImportedAdapter, _ options: Options) -> Inferred? {
        adapter.bases.first.map { renamed($0, options) }
    }

    private static func renamed(_ base: Inferred, _ options: Options) -> Inferred {
        var result = base
        for (name, other) in options.sameBase where BaseName.canonical(result.value) == BaseName.canonical(name) {
            result = Inferred(value: other, origin: "\(result.origin), by --same-base")
        }
        return result
    }

    /// Where files beside an adapter name another base model than the one that is taken, a line for each such pair.
    private static func disagreements(_ members: [ImportedAdapter], _ options: Options) -> [String] {
        var counts: [(text: String, count: Int)] = []
        for member in members {
            let bases = member.bases.map { renamed($0, options) }
            for other in bases.dropFirst() where !BaseName.agree(other.value, bases[0].value) {
                let text =
                    "base model \"\(shortened(bases[0].value))\" (\(bases[0].origin)) is taken where \(other.origin) "
                    + "says \"\(shortened(other.value))\""
                if let place = counts.firstIndex(where: { $0.text == text }) {
                    counts[place].count += 1
                } else {
                    counts.append((text, 1))
                }
            }
        }
        return counts.map { "\($0.text): \(counted($0.count, "adapter"))" }
    }

    /// What the hashes of base models tell of their names.
    private static func identities(_ adapters: [ImportedAdapter]) -> [String] {
        var (names, hashes): ([String: Set<String>], [String: Set<String>]) = ([:], [:])
        for (name, hash) in adapters.compactMap(\.baseFile) {
            names[hash, default: []].insert(name)
            hashes[name, default: []].insert(hash)
        }
        func quoted(_ names: Set<String>) -> String {
            listed(names.sorted(by: precedes).map { "\"\(shortened($0))\"" }, limit: 8)
        }
        let one = names.filter { $0.value.count > 1 }.map { "base models \(quoted($0.value)) are one file by its hash" }
        let several = hashes.filter { $0.value.count > 1 }.map {
            "base model \"\(shortened($0.key))\" is the name of \($0.value.count) different files by their hashes"
        }
        return one.sorted(by: precedes) + several.sorted(by: precedes)
    }

    // MARK: Lines

    private static func lines(_ members: [ImportedAdapter], _ options: Options) -> [Line] {
        let tasks = Set(members.map(\.name.task))
        let splits = Corpus.splits(of: tasks, seed: options.seed)
        let common = common(members)
        let hasTexts = members.contains { !$0.texts.isEmpty || !$0.tags.isEmpty || !$0.images.isEmpty }
        let areBits = !hasTexts && Corpus.areBits(members.map(\.name.task))
        return members.map { member in
            var texts = member.texts.filter { !common.contains([$0.origin, $0.value]) }
            for (words, origin) in member.tags {
                let text = words.filter { !common.contains([origin, $0]) }.joined(separator: ", ")
                let isNew = !texts.contains { ByteKey($0.value) == ByteKey(text) }
                if !text.isEmpty, isNew { texts.append(Inferred(value: text, origin: origin)) }
            }
            return Line(
                adapter: member, split: splits[member.name.task] ?? .train, base: base(member, options), texts: texts,
                images: member.images, bits: areBits ? member.name.task : nil)
        }
    }

    /// Descriptions and tags, after their origin, that all of three or more tasks have from there: they tell none from
    /// another.
    private static func common(_ members: [ImportedAdapter]) -> Set<[String]> {
        var tasks: [String: Set<String>] = [:]
        var having: [[String]: Set<String>] = [:]
        func add(_ origin: String, _ words: [String], of task: String) {
            tasks[origin, default: []].insert(task)
            for word in words { having[[origin, word], default: []].insert(task) }
        }
        for member in members {
            for text in member.texts { add(text.origin, [text.value], of: member.name.task) }
            for (words, origin) in member.tags { add(origin, words, of: member.name.task) }
        }
        return Set(having.filter { $0.value.count > 2 && $0.value.count == tasks[$0.key[0]]?.count }.keys)
    }
}

extension CorpusImport.Line {
    var json: JSON {
        var line: JSONObject = [
            "path": .string(adapter.path), "task": .string(adapter.name.task), "run": .string(adapter.name.run),
            "split": .string(split.name),
        ]
        line["bits"] = bits.map { .string($0) }
        line["text"] = texts.count == 1 ? .string(texts[0].value) : texts.isEmpty ? .null : JSON(texts.map(\.value))
        if !images.isEmpty { line["images"] = JSON(images.map(\.value)) }
        line["base_model"] = base.map { .string($0.value) }
        if !adapter.scores.isEmpty {
            line["scores"] = .object(JSONObject(adapter.scores.map { ($0.name, .number($0.value)) }))
        }
        return .object(line)
    }
}
