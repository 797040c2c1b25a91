import Adapters
import Files
import Hosts
import Tensor

/// Compact adapters as their numbers: one for each direction of the base model's own weights (SVFit, LoLDU). Adding vectors is
/// adding updates, and of SVFit distances of vectors are those of updates. Adapters of this space are in coordinates
/// (`CompactAdapter.coordinates`): the directions themselves are in the basis file of the base model, and not here.
public struct SpectrumSpace: Space {
    public static let name = "spectrum"

    /// Which directions the numbers belong to; without a change.
    public let template: CompactAdapter
    public let layout: Layout
    /// The largest number of each direction that is given out: its singular value or twice the largest of the training
    /// adapters, whichever is more. `[count]`
    private let limits: [Float]
    private let ranges: [Range<Int>]

    public init(
        fitting adapters: any AdapterModules, _ settings: Settings, random: Random
    ) throws(LoragenError) {
        guard let corpus = adapters as? CorpusModules, let template = try corpus.template() else {
            throw LoragenError(
                .mismatch,
                "the space \"spectrum\" learns compact adapters, and this corpus has others; make them with loragen.tune, or "
                    + "set \"space\" to \"product\"")
        }
        var limits = template.modules.flatMap { $0.sigma.map { abs($0) } }
        for row in 0..<adapters.count {
            var place = 0
            for index in template.modules.indices {
                let module = try adapters.module(index, of: row)
                for delta in try CompactAdapter.delta(of: module, module: 0) {
                    limits[place] = max(limits[place], 2 * abs(delta))
                    place += 1
                }
            }
        }
        try self.init(template: template, limits: limits)
    }

    private init(template: CompactAdapter, limits: [Float]) throws(LoragenError) {
        self.template = template
        self.limits = limits
        layout = try template.coordinateLayout()
        var start = 0
        ranges = layout.modules.map { module in
            defer { start += module.rank }
            return start..<(start + module.rank)
        }
        // The same order, for names alone decide it.
        guard layout.modules.map(\.name) == template.layout.modules.map(\.name), limits.count == start,
            limits.allSatisfy({ $0.isFinite && $0 >= 0 })
        else {
            throw LoragenError(.mismatch, "\(limits.count) limits of directions, of which there are \(start)")
        }
    }

    public init(reading file: TensorReader, _ settings: Settings, layout: Layout) throws(LoragenError) {
        let source = file.file.path
        let about = try JSON.parse(file.file.metadata["generator"] ?? "", source: source)
        guard let notes = about["space"]?.object else {
            throw LoragenError(.format, "\(source): it does not say which directions its numbers belong to")
        }
        var header: [String: String] = [:]
        for member in notes.members {
            guard let text = member.value.string else {
                throw LoragenError(.format, "\(source): 'space' has '\(shortened(member.name))', which is no text")
            }
            header[member.name] = text
        }
        let pivots = try file.tensor("spectrum.pivots")?.values ?? []
        var rows: [Int32] = []
        for pivot in pivots {
            guard let row = Int32(exactly: pivot) else {
                throw LoragenError(.format, "\(source): the pivot \(pivot) is no row")
            }
            rows.append(row)
        }
        try self.init(
            template: CompactAdapter(
                header: header, sigma: file.present("spectrum.sigma").values, pivots: rows,
                signatures: file.present("spectrum.signatures").values, source: source),
            limits: file.present("spectrum.limits").values)
        if let difference = self.layout.difference(from: layout) {
            throw LoragenError(.mismatch, "its directions are not those of its layout: \(difference)")
        }
    }

    public var state: [(name: String, tensor: Tensor<Float>)] {
        var state = [
            ("spectrum.limits", Tensor(limits)), ("spectrum.sigma", Tensor(template.modules.flatMap(\.sigma))),
            ("spectrum.signatures", Tensor(template.modules.flatMap(\.signature))),
        ]
        let pivots = template.modules.flatMap(\.pivots)
        if !pivots.isEmpty { state.append(("spectrum.pivots", Tensor(pivots.map { Float($0) }))) }
        return state
    }

    public var notes: JSONObject? {
        get throws(LoragenError) {
            let members = try template.header.sorted { precedes($0.key, $1.key) }
            return JSONObject(members.map { ($0.key, .string($0.value)) })
        }
    }

    public var tensors: [(shape: [Int], isA: Bool)] { ranges.map { ([$0.count], false) } }
    public func range(of module: Int) -> Range<Int> { ranges[module] }

    public func check(_ normaliser: Normaliser.Kind) throws(LoragenError) {
        if normaliser == .constant {
            throw LoragenError(
                .unsupported, "the normaliser \"constant\" is for factors A and B; choose \"per-element\" or \"global\""
            )
        }
    }

    public func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
        try CompactAdapter.delta(of: adapter, module: 0)
    }

    public func decode(_ values: Tensor<Float>, module: Int) throws(LoragenError) -> Adapter {
        let bounds = limits[ranges[module]]
        let delta = zip(values.values, bounds).map { min(max($0, -$1), $1) }
        return try Adapter(layout: layout.only(module)) { target in CompactAdapter.store(delta, in: target) }
    }

    /// The compact adapter that one in coordinates stands for.
    public func compact(_ adapter: Adapter) throws(LoragenError) -> CompactAdapter {
        var deltas: [Float] = []
        for index in layout.modules.indices { deltas += try CompactAdapter.delta(of: adapter, module: index) }
        return try template.with(deltas: deltas, metadata: adapter.metadata)
    }
}
