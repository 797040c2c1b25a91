import Adapters
import Tensor

/// How adapters become normalised vectors that a method learns, and back.
struct Representation: Sendable {
    enum Space: Sendable {
        /// The factors, flattened in the layout's order.
        case factors(AdapterCodec)
        /// The updates ΔW in fixed frames.
        case product(ProductSpace)
    }

    let space: Space
    let normaliser: Normaliser

    /// Numbers in one vector.
    var count: Int {
        switch space {
        case .factors(let codec): codec.layout.valueCount
        case .product(let space): space.count
        }
    }

    /// Of the adapters that `decode` gives.
    var layout: Layout {
        switch space {
        case .factors(let codec): codec.layout
        case .product(let space): space.layout
        }
    }

    /// The tensors that lie back to back in a vector, and whether each is a `lora_A`.
    var tensors: [(shape: [Int], isA: Bool)] { Self.tensors(of: space) }

    private static func tensors(of space: Space) -> [(shape: [Int], isA: Bool)] {
        switch space {
        case .factors(let codec): codec.layout.tensors.map { ($0.shape, $0.role == .a) }
        case .product(let space): space.frames.map { ([$0.p, $0.q], false) }
        }
    }

    /// The settings that say which representation to fit.
    struct Settings {
        var space = "product"
        var factors = AdapterCodec.Factors.raw
        var normaliser = Normaliser.Kind.global
        var outputFrame = 8
        var inputFrame = 4
    }

    /// Fits frames and statistics to training adapters; `groups` is each adapter's task.
    init(
        _ settings: Settings, fitting adapters: [Adapter], groups: [Int32], groupCount: Int, seed: UInt64
    ) throws(LoragenError) {
        guard let first = adapters.first else {
            throw LoragenError(.mismatch, "the corpus has no adapter in its training split")
        }
        let space: Space
        if settings.space == "product" {
            space = .product(
                try ProductSpace(
                    fitting: adapters, outputs: settings.outputFrame, inputs: settings.inputFrame,
                    random: Random(seed: seed, stream: Streams.frames)))
        } else {
            space = .factors(
                try AdapterCodec(factors: settings.factors, corpusLayout: first.layout, reference: first))
            if settings.normaliser == .constant, let odd = first.layout.modules.first(where: \.hasMagnitude) {
                throw LoragenError(
                    .unsupported,
                    "module '\(odd.name)' is DoRA, and the normaliser \"constant\" has no constant for magnitudes; choose "
                        + "\"per-tensor\" or \"per-element\"")
            }
        }
        var end = 0
        let ranges = Self.tensors(of: space).map { tensor in
            let start = end
            end += tensor.shape.reduce(1, *)
            return (range: start..<end, isA: tensor.isA)
        }
        let rows = try Self.rows(adapters, space)
        let normaliser = Normaliser(
            kind: settings.normaliser, rows: rows, groups: groups, groupCount: groupCount, tensors: ranges)
        self.init(space: space, normaliser: normaliser)
    }

    init(space: Space, normaliser: Normaliser) {
        self.space = space
        self.normaliser = normaliser
    }

    /// Normalised vectors, `[n, count]`.
    func encode(_ adapters: [Adapter], groups: [Int32]) throws(LoragenError) -> Tensor<Float> {
        normaliser(try Self.rows(adapters, space), groups: groups)
    }

    /// The adapter of one normalised vector, `[1, count]`.
    func decode(
        _ vector: Tensor<Float>, group: Int32, metadata: [String: String] = [:]
    ) throws(LoragenError) -> Adapter {
        let values = normaliser.inverse(vector, groups: [group]).values
        guard values.allSatisfy(\.isFinite) else {
            throw LoragenError(.nonFinite, "the method gave numbers that are not finite")
        }
        switch space {
        case .factors(let codec): return try Adapter(layout: codec.layout, values: values, metadata: metadata)
        case .product(let space):
            let adapter = try space.decode(values, metadata: metadata)
            try adapter.checkFinite(source: "the generated adapter")
            return adapter
        }
    }

    private static func rows(_ adapters: [Adapter], _ space: Space) throws(LoragenError) -> Tensor<Float> {
        var values: [Float] = []
        for adapter in adapters {
            switch space {
            case .factors(let codec): values += try codec.encode(adapter).values
            case .product(let space): values += try space.encode(adapter)
            }
        }
        return Tensor(values, shape: [adapters.count, adapters.isEmpty ? 0 : values.count / adapters.count])
    }
}

/// The random streams of a training; each purpose has its own, so that one never shifts another.
enum Streams {
    static let frames: UInt64 = 1
    static let weights: UInt64 = 2
    static let batches: UInt64 = 3
    static let noise: UInt64 = 4
    /// Sample `i` of a request uses stream `sampling + i`.
    static let sampling: UInt64 = 1 << 32
}
