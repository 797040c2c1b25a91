import Adapters
import Tensor

/// How adapters become normalised vectors that a method learns, and back.
public struct Representation: Sendable {
    public let space: any Space
    public let normaliser: Normaliser

    /// Numbers in one vector.
    public var count: Int { space.count }
    /// Of the adapters that `decode` gives.
    public var layout: Layout { space.layout }

    /// Fits frames and statistics to training adapters; `groups` is each adapter's task. Vectors that are to stay in
    /// memory are encoded once; the others each time that they are read.
    public static func fitting(
        _ settings: Settings, _ adapters: any AdapterModules, groups: [Int32], groupCount: Int, seed: UInt64,
        keeps: Bool
    ) throws(LoragenError) -> (representation: Representation, rows: any VectorRows) {
        let kind = try Normaliser.Kind(settings)
        let space = try spaces(settings.text("space")).init(
            fitting: adapters, settings, random: Random(seed: seed, stream: RandomStreams.frames))
        try space.check(kind)
        var end = 0
        let ranges = space.tensors.map { tensor in
            let start = end
            end += tensor.shape.reduce(1, *)
            return (range: start..<end, isA: tensor.isA)
        }
        func normaliser(_ rows: some VectorRows) throws(LoragenError) -> Normaliser {
            try Normaliser(
                kind: kind, rows: rows, groups: groups, groupCount: groupCount, tensors: ranges)
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
    public init(space: any Space, normaliser: Normaliser) throws(LoragenError) {
        self.space = space
        self.normaliser = normaliser
        try space.check(normaliser.kind)
        let (shift, scale) = (normaliser.shift.shape, normaliser.scale.shape)
        guard shift == scale, shift.count == 2, shift[0] >= 1, shift[1] == count,
            normaliser.kind == .perTask || shift[0] == 1
        else {
            throw LoragenError(
                .mismatch, "statistics of the shapes \(shift) and \(scale) for vectors of \(count) numbers")
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
        let modules = VectorModules(WholeVector(vector), self, group: group)
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
public enum RandomStreams {
    public static let frames: UInt64 = 1
    public static let weights: UInt64 = 2
    public static let batches: UInt64 = 3
    public static let noise: UInt64 = 4
    /// Sample `i` of a request uses stream `sampling + i`.
    public static let sampling: UInt64 = 1 << 32
}
