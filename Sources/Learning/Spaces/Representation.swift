import Adapters
import Tensor

/// How adapters become normalised vectors that a method learns, and back.
public struct Representation: Sendable {
    public enum Space: Sendable {
        /// The factors, flattened in the layout's order.
        case factors(AdapterCodec)
        /// The updates ΔW in fixed frames.
        case product(ProductSpace)

        /// Of the adapters that `decode` gives.
        var layout: Layout {
            switch self {
            case .factors(let codec): codec.layout
            case .product(let space): space.layout
            }
        }

        /// Where a module's numbers are in a vector.
        func range(of module: Int) -> Range<Int> {
            switch self {
            case .factors(let codec): codec.layout.values(of: module)
            case .product(let space): space.frames[module].range
            }
        }

        /// The numbers of a module that is an adapter of its own.
        func encode(_ adapter: Adapter, module: Int) throws(LoragenError) -> [Float] {
            switch self {
            case .factors(let codec): try codec.encode(adapter, module: module).copyValues()
            case .product(let space): try space.encode(adapter, module: module)
            }
        }

        /// The module as an adapter of its own.
        func decode(_ values: Tensor<Float>, module: Int) throws(LoragenError) -> Adapter {
            switch self {
            case .factors(let codec): try Adapter(layout: codec.layout.only(module), values: values.values)
            case .product(let space): try space.decode(values, module: module)
            }
        }
    }

    public let space: Space
    public let normaliser: Normaliser

    /// Numbers in one vector.
    public var count: Int {
        switch space {
        case .factors(let codec): codec.layout.valueCount
        case .product(let space): space.count
        }
    }

    /// Of the adapters that `decode` gives.
    public var layout: Layout { space.layout }

    /// The tensors that lie back to back in a vector, and whether each is a `lora_A`.
    public var tensors: [(shape: [Int], isA: Bool)] { Self.tensors(of: space) }

    private static func tensors(of space: Space) -> [(shape: [Int], isA: Bool)] {
        switch space {
        case .factors(let codec): codec.layout.tensors.map { ($0.shape, $0.role == .a) }
        case .product(let space): space.frames.map { ([$0.p, $0.q], false) }
        }
    }

    /// The settings that say which representation to fit.
    public struct Settings {
        public var space = "product"
        public var factors = AdapterCodec.Factors.raw
        public var normaliser = Normaliser.Kind.global
        var outputFrame = 8
        var inputFrame = 4
    }

    /// Fits frames and statistics to training adapters; `groups` is each adapter's task. Vectors that are to stay in
    /// memory are encoded once; the others each time that they are read.
    public static func fitting(
        _ settings: Settings, _ adapters: any AdapterModules, groups: [Int32], groupCount: Int, seed: UInt64,
        keeps: Bool
    ) throws(LoragenError) -> (representation: Representation, rows: any VectorRows) {
        let layout = try adapters.layout
        let space: Space
        if settings.space == "product" {
            space = .product(
                try ProductSpace(
                    fitting: adapters, outputs: settings.outputFrame, inputs: settings.inputFrame,
                    random: Random(seed: seed, stream: Streams.frames)))
        } else {
            space = .factors(
                try AdapterCodec(factors: settings.factors, corpusLayout: layout, adapters: adapters))
        }
        try check(space, settings.normaliser)
        var end = 0
        let ranges = Self.tensors(of: space).map { tensor in
            let start = end
            end += tensor.shape.reduce(1, *)
            return (range: start..<end, isA: tensor.isA)
        }
        func normaliser(_ rows: some VectorRows) throws(LoragenError) -> Normaliser {
            try Normaliser(
                kind: settings.normaliser, rows: rows, groups: groups, groupCount: groupCount, tensors: ranges)
        }
        let encoded = EncodedRows(adapters, space)
        guard keeps else {
            let made = try Representation(space: space, normaliser: normaliser(encoded))
            return (made, NormalisedRows(rows: encoded, normaliser: made.normaliser, groups: groups))
        }
        let rows = TensorRows(try encoded.tensor(), blocks: encoded.blocks)
        let made = try Representation(space: space, normaliser: normaliser(rows))
        return (made, TensorRows(made.normaliser(rows.vectors, groups: groups), blocks: rows.blocks))
    }

    /// The same for adapters in memory.
    public init(
        _ settings: Settings, fitting adapters: [Adapter], groups: [Int32], groupCount: Int, seed: UInt64
    ) throws(LoragenError) {
        self = try Self.fitting(
            settings, adapters, groups: groups, groupCount: groupCount, seed: seed, keeps: true
        ).representation
    }

    /// Throws `.unsupported` and `.mismatch` for parts that do not go together. The statistics' numbers are not looked at,
    /// which would be a look at every page of a file: what they make is checked when an adapter is made.
    public init(space: Space, normaliser: Normaliser) throws(LoragenError) {
        self.space = space
        self.normaliser = normaliser
        try Self.check(space, normaliser.kind)
        let (shift, scale) = (normaliser.shift.shape, normaliser.scale.shape)
        guard shift == scale, shift.count == 2, shift[0] >= 1, shift[1] == count,
            normaliser.kind == .perTask || shift[0] == 1
        else {
            throw LoragenError(
                .mismatch, "statistics of the shapes \(shift) and \(scale) for vectors of \(count) numbers")
        }
    }

    private static func check(_ space: Space, _ normaliser: Normaliser.Kind) throws(LoragenError) {
        if case .factors(let codec) = space, normaliser == .constant,
            let odd = codec.layout.modules.first(where: \.hasMagnitude)
        {
            throw LoragenError(
                .unsupported,
                "module '\(odd.name)' is DoRA, and the normaliser \"constant\" has no constant for magnitudes; choose "
                    + "\"per-tensor\" or \"per-element\"")
        }
    }

    /// Normalised vectors, `[n, count]`.
    public func encode(_ adapters: [Adapter], groups: [Int32]) throws(LoragenError) -> Tensor<Float> {
        normaliser(try EncodedRows(adapters, space).tensor(), groups: groups)
    }

    /// The adapter of one normalised vector, `[1, count]`.
    public func decode(
        _ vector: Tensor<Float>, group: Int32, visit: (Adapter) throws(LoragenError) -> Void = { _ in },
        metadata: () throws(LoragenError) -> [String: String] = { [:] }
    ) throws(LoragenError) -> Adapter {
        let modules = ModuleStream(WholeVector(vector), self, group: group)
        return try Adapter(layout: layout) { (target) throws(LoragenError) in
            for index in layout.modules.indices {
                let module = try modules.next()
                try visit(module)
                let range = layout.values(of: index)
                _ = UnsafeMutableBufferPointer(rebasing: target[range]).update(fromContentsOf: module.values)
                withExtendedLifetime(module) {}
            }
        } describe: { () throws(LoragenError) in
            try metadata()
        }
    }
}

/// The random streams of a training; each purpose has its own, so that one never shifts another.
public enum Streams {
    public static let frames: UInt64 = 1
    public static let weights: UInt64 = 2
    public static let batches: UInt64 = 3
    public static let noise: UInt64 = 4
    /// Sample `i` of a request uses stream `sampling + i`.
    public static let sampling: UInt64 = 1 << 32
}
