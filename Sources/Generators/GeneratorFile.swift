import Adapters
import Conditions
import Files
import Learning
import Methods
import Tensor

/// What a generator file says of its training corpus, so that every generated adapter can say what it is near to.
package struct TrainingIndex: Sendable {
    var tasks: [String]
    /// Standardised, `[tasks, C]`.
    var conditions: Tensor<Float>
    /// `Sketch` of the normalised vector of one adapter of each task, `[tasks, Sketch.width]`.
    var sketches: Tensor<Float>
    /// The median over tasks of the distance to the nearest other task.
    var medianDistance: Double
    /// The smallest and the largest norm of a training adapter's updates, `√Σ‖ΔW‖²`; nil in older files.
    var norms: ClosedRange<Double>?

    package init(
        tasks: [String], conditions: Tensor<Float>, sketches: Tensor<Float>, medianDistance: Double,
        norms: ClosedRange<Double>? = nil
    ) {
        self.tasks = tasks
        self.conditions = conditions
        self.sketches = sketches
        self.medianDistance = medianDistance
        self.norms = norms
    }
}

/// A trained generator as one safetensors file: weights as tensors, everything else as JSON in its metadata.
package struct GeneratorFile {
    static let format = "loragen.generator"
    static let version = "2"

    var method: String
    var preset: String
    var settings: Settings
    var size: ProblemSize
    var schema: Schema
    /// Of a generator whose schema has a reader.
    var reading: ReaderSettings?
    var representation: Representation
    var index: TrainingIndex
    var report: JSON
    var seed: UInt64
    var hash = ""

    package init(
        method: String, preset: String, settings: Settings, size: ProblemSize, schema: Schema,
        reading: ReaderSettings? = nil, representation: Representation, index: TrainingIndex, report: JSON,
        seed: UInt64, hash: String = ""
    ) {
        self.method = method
        self.preset = preset
        self.settings = settings
        self.size = size
        self.schema = schema
        self.reading = reading
        self.representation = representation
        self.index = index
        self.report = report
        self.seed = seed
        self.hash = hash
    }

    // MARK: Writing

    func write(to path: String, model: any Method) throws(LoragenError) {
        var writer = SafetensorsWriter()
        var digest = SHA256()
        for entry in tensors(of: model) {
            digest.update("\(entry.name) \(entry.tensor.shape)\n")
            guard let half = entry.half else {
                entry.tensor.withUnsafeBytes { digest.update($0) }
                try writer.add(entry.name, entry.tensor)
                continue
            }
            half.withUnsafeBytes { digest.update($0) }
            try writer.add(entry.name, type: .bf16, shape: half.shape) { (sink) throws(LoragenError) in
                try half.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        writer.metadata = try metadata(hash: &digest)
        try writer.write(to: path)
    }

    /// Reads everything that the hash is of. Throws `.format` when it is not the hash that the file says.
    func checkHash(_ model: any Method) throws(LoragenError) {
        var digest = SHA256()
        for entry in tensors(of: model) {
            digest.update("\(entry.name) \(entry.tensor.shape)\n")
            if let half = entry.half {
                half.withUnsafeBytes { digest.update($0) }
            } else {
                entry.tensor.withUnsafeBytes { digest.update($0) }
            }
        }
        let about = try JSON.parse(try metadata(hash: &digest)["generator"] ?? "", source: "generator")
        guard let found = about["hash"]?.string, found == hash else {
            throw LoragenError(
                .format,
                "its numbers or settings are not those that were written: their hash is \(about["hash"]?.string ?? ""), the "
                    + "file says \(hash); copy or train it again")
        }
    }

    /// All tensors of the file in their order; `half` instead of the numbers where they are bf16.
    private func tensors(of model: any Method) -> [(name: String, tensor: Tensor<Float>, half: HalfMatrix?)] {
        var tensors = [
            ("condition.shift", Tensor(schema.scale.shift)), ("condition.scale", Tensor(schema.scale.scale)),
            ("normaliser.shift", representation.normaliser.shift),
            ("normaliser.scale", representation.normaliser.scale),
            ("training.conditions", index.conditions), ("training.sketches", index.sketches),
        ]
        if let reader = schema.reader as? ConditionReader {
            tensors += reader.namedTensors().map { ("reader." + $0.name, $0.tensor) }
        }
        tensors += representation.space.state
        let halves = Dictionary(
            model.module.namedFactors.compactMap { entry in
                entry.parameter.half.map { ("model." + entry.name, $0.matrix) }
            }, uniquingKeysWith: { first, _ in first })
        tensors += model.module.namedTensors().map { ("model." + $0.name, $0.tensor) }
        return tensors.map { ($0.0, $0.1, halves[$0.0]) }
    }

    /// Everything but the tensors. `digest` has seen the tensors and gives the hash.
    package func metadata(hash digest: inout SHA256) throws(LoragenError) -> [String: String] {
        var about: JSONObject = [
            "method": .string(method), "preset": .string(preset), "settings": .object(settings.values),
            "seed": .string(String(seed)), "layout": representation.layout.json,
            "schema": schema.json, "values": JSON(size.values), "examples": JSON(size.examples),
            "runs": JSON(size.runs), "tasks": JSON(index.tasks), "medianDistance": .number(index.medianDistance),
        ]
        if let notes = try representation.space.notes { about["space"] = .object(notes) }
        about["reader"] = reading?.json
        if let norms = index.norms { about["norms"] = JSON([norms.lowerBound, norms.upperBound]) }
        digest.update(try JSON.object(about).text())
        about["hash"] = .string(digest.finish())
        return [
            "format": Self.format, "version": Self.version, "generator": try JSON.object(about).text(),
            "report": try report.text(),
        ]
    }

    // MARK: Reading

    /// Opens a file and builds its method on the mapped memory. Throws `.version` for a later version, `.format` for
    /// anything that this library would not have written.
    static func read(path: String) throws(LoragenError) -> (file: GeneratorFile, model: any Method) {
        do throws(LoragenError) { return try readChecked(path) } catch {
            // What would be the caller's mistake elsewhere (a method, a setting, a size) is the file's here.
            let code = [.io, .version, .memory, .nonFinite].contains(error.code) ? error.code : .format
            throw LoragenError(code, error.message.hasPrefix(path) ? error.message : "\(path): \(error.message)")
        }
    }

    private static func readChecked(_ path: String) throws(LoragenError) -> (file: GeneratorFile, model: any Method) {
        let file = try SafetensorsFile(path: path)
        let about = try About(file)
        let layout = try Layout(json: about.json["layout"] ?? .null, source: path)
        try checkLayout(file, layout)
        let reader = TensorReader(file)
        let parts = try Schema.parts(about.json["schema"] ?? .null, source: path)
        let width = parts.reduce(0) { $0 + $1.length }
        var schema = try Schema(
            parts,
            ConditionScale(
                shift: reader.tensor("condition.shift", [width]).values,
                scale: reader.tensor("condition.scale", [width]).values))
        let reading = try reading(about, parts)
        if let reading { schema.reader = try conditionReader(reading, parts, file, reader) }
        let settings = Settings(about.json["settings"]?.object ?? JSONObject())
        let index = try index(about, reader, schema.featureWidth)
        let representation = try representation(reader, settings, layout, tasks: index.tasks.count)
        let size = ProblemSize(
            values: representation.count, conditions: schema.featureWidth,
            examples: try about.count("examples", 1...(1 << 28)),
            tensors: representation.space.tensors.map(\.shape), runs: try about.count("runs", 1...(1 << 28)))
        guard try about.count("values", 1...Layout.valueLimit) == size.values else { throw about.wrong("values") }
        guard let seed = UInt64(try about.string("seed")) else { throw about.wrong("seed") }
        let generator = GeneratorFile(
            method: try about.string("method"), preset: try about.string("preset"), settings: settings, size: size,
            schema: schema, reading: reading, representation: representation, index: index, report: about.report,
            seed: seed,
            hash: try about.string("hash"))
        let plan = try methods(generator.method).plan(settings, size)
        try checkModel(file, weightCount: plan.weightCount)
        let model = try plan.make(representation, .none)
        try load(model, reader)
        return (generator, model)
    }

    private static func reading(_ about: About, _ parts: [Schema.Part]) throws(LoragenError) -> ReaderSettings? {
        guard let json = about.json["reader"] else {
            if parts.contains(where: { $0.tokens != nil }) { throw about.wrong("reader") }
            return nil
        }
        return try ReaderSettings(ReaderSettings.defaults.overridden(by: json.text()))
    }

    /// Its networks may hold no more than the file does.
    private static func conditionReader(
        _ reading: ReaderSettings, _ parts: [Schema.Part], _ file: SafetensorsFile, _ reader: TensorReader
    ) throws(LoragenError) -> ConditionReader {
        let held = file.tensors.reduce(0) { $0 + ($1.name.hasPrefix("reader.") && $1.type == .f32 ? $1.count : 0) }
        let needed = ConditionReader.weightCount(parts, reading)
        guard needed <= held else {
            throw LoragenError(
                .format, "\(file.path): the reader of its condition needs \(needed) weights; it holds \(held)")
        }
        let made = ConditionReader(parts, reading, .none)
        try made.load { (name) throws(LoragenError) in try reader.tensor("reader." + name) }
        made.setTraining(false)
        return made
    }

    /// The metadata of a file.
    private struct About {
        let path: String
        let json: JSON
        let report: JSON

        init(_ file: SafetensorsFile) throws(LoragenError) {
            path = file.path
            guard file.metadata["format"] == format else {
                throw LoragenError(
                    .format,
                    "\(path): not a generator (its metadata has no \"format\": \"\(format)\"); make one with training")
            }
            guard let found = file.metadata["version"], found == version else {
                throw LoragenError(
                    .version,
                    "\(path): a generator of version \(file.metadata["version"] ?? "unknown"); this library reads "
                        + "\(version): train it again, or use the library that made it")
            }
            guard let text = file.metadata["generator"], let report = file.metadata["report"] else {
                throw LoragenError(.format, "\(path): its metadata has no \"generator\" or no \"report\"")
            }
            json = try JSON.parse(text, source: "\(path), generator")
            self.report = try JSON.parse(report, source: "\(path), report")
        }

        func string(_ name: String) throws(LoragenError) -> String {
            guard let value = json[name]?.string else { throw wrong(name) }
            return value
        }

        func count(_ name: String, _ range: ClosedRange<Int>) throws(LoragenError) -> Int {
            guard let value = json[name]?.integer, range.contains(value) else { throw wrong(name) }
            return value
        }

        func wrong(_ name: String) -> LoragenError {
            LoragenError(.format, "\(path): \"\(name)\" in its metadata is missing or out of range")
        }
    }

    private static func index(
        _ about: About, _ reader: TensorReader, _ width: Int
    ) throws(LoragenError) -> TrainingIndex {
        guard let list = about.json["tasks"]?.array, list.allSatisfy({ $0.string != nil }), !list.isEmpty else {
            throw about.wrong("tasks")
        }
        guard let distance = about.json["medianDistance"]?.double else { throw about.wrong("medianDistance") }
        var norms: ClosedRange<Double>?
        if let value = about.json["norms"] {
            let ends = (value.array ?? []).compactMap(\.double)
            guard ends.count == 2, ends[0] >= 0, ends[0] <= ends[1], ends[1].isFinite else {
                throw about.wrong("norms")
            }
            norms = ends[0]...ends[1]
        }
        return TrainingIndex(
            tasks: list.compactMap(\.string),
            conditions: try reader.tensor("training.conditions", [list.count, width]),
            sketches: try reader.tensor("training.sketches", [list.count, Sketch.width]), medianDistance: distance,
            norms: norms)
    }

    private static func representation(
        _ reader: TensorReader, _ settings: Settings, _ layout: Layout, tasks: Int
    ) throws(LoragenError) -> Representation {
        let space = try spaces(settings.text("space")).init(reading: reader, settings, layout: layout)
        let kind = try Normaliser.Kind(settings)
        let shape = [kind == .perTask ? tasks : 1, space.count]
        return try Representation(
            space: space,
            normaliser: Normaliser(
                kind: kind, shift: reader.tensor("normaliser.shift", shape),
                scale: reader.tensor("normaliser.scale", shape)))
    }

    /// What is used as bf16 alone keeps its place without memory.
    private static func load(_ model: any Method, _ reader: TensorReader) throws(LoragenError) {
        var halves: [String: HalfMatrix] = [:]
        for (name, parameter) in model.module.namedFactors {
            guard let half = try reader.half("model." + name, parameter.shape) else { continue }
            halves[name] = half
            parameter.half = HalfFactor(half)
        }
        try model.module.load { (name) throws(LoragenError) in
            if let half = halves[name] { return .pending(half.shape) }
            return try reader.tensor("model." + name)
        }
        model.module.setTraining(false)
    }

    /// A forged file could name sizes whose networks exhaust the memory before their tensors are missed: the networks
    /// may hold no more than the file does, in the types that weights have.
    private static func checkModel(_ file: SafetensorsFile, weightCount: Int) throws(LoragenError) {
        let weights = file.tensors.filter { $0.name.hasPrefix("model.") && ($0.type == .f32 || $0.type == .bf16) }
        let held = weights.reduce(0) { $0 + $1.count }
        guard weightCount <= held else {
            throw LoragenError(
                .format, "\(file.path): its settings need \(weightCount) weights; it holds \(held)")
        }
    }

    /// Nor may its adapters be far larger than what they are made from. Frames and statistics hold about as many numbers
    /// as an adapter, unless its ranks pass its dimensions.
    private static func checkLayout(_ file: SafetensorsFile, _ layout: Layout) throws(LoragenError) {
        let held = file.dataStart + (file.tensors.last?.end ?? 0)
        guard layout.valueCount / 16 <= held / 4 else {
            throw LoragenError(
                .format,
                "\(file.path): its layout has \(layout.valueCount) numbers, too many for a generator of \(held) bytes")
        }
    }
}
