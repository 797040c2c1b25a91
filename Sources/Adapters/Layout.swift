import Files
import Tensor

/// The ordered modules of an adapter, and where their tensors lie in its flat vector of values.
///
/// The flat vector has the tensors back to back, by the UTF-8 bytes of their PEFT keys (so layers go 0, 1, 10, 11, 2;
/// `lora_A` comes before `lora_B`, and DoRA's `lora_magnitude_vector` last), each row-major.
public struct Layout: Equatable, Sendable {
    /// What a tensor is to its module.
    public enum Role: Sendable { case a, b, magnitude }

    /// One tensor of the flat vector.
    public struct Tensor: Equatable, Sendable {
        /// The PEFT key, "base_model.model.<module>.lora_A.weight".
        public let name: String
        public let role: Role
        /// See `ModuleShape`: `[rank, inputs]` for A and `[outputs, rank]` for B of a linear layer.
        public let shape: [Int]
        /// Index of its first value in the flat vector.
        public let offset: Int
        /// Number of values.
        public let count: Int
        /// The module that it belongs to, an index into `modules`.
        public let module: Int

        public var range: Range<Int> { offset..<(offset + count) }
    }

    /// Where a module's tensors stand in `tensors`.
    public struct Parts: Equatable, Sendable {
        public let a: Int
        public var b: Int { a + 1 }
        /// Of DoRA alone.
        public let magnitude: Int?
    }

    /// In the order of their PEFT keys.
    public let modules: [ModuleShape]
    /// Of each module A and B, and the magnitudes if it is DoRA.
    public let tensors: [Tensor]
    /// For each module the places of its tensors.
    public let parts: [Parts]
    /// Numbers in one adapter.
    public let valueCount: Int
    /// The base model, as the adapter's config names it.
    public private(set) var baseModel: String?
    /// PEFT's `task_type`, "CAUSAL_LM", one of `taskTypes`; `nil` when it is not known.
    public private(set) var taskType: String?
    /// `target_modules` of the adapter's config, sorted, when it was a list; empty when a writer is to derive it.
    public let targetModules: [String]

    /// The most modules and the most values that are accepted.
    public static let moduleLimit = 1 << 17
    public static let valueLimit = 1 << 32
    public static let taskTypes = [
        "SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION",
    ]

    /// Sorts the modules and lays their tensors out. Throws `.invalidArgument` when there are none, when a name is given
    /// twice, when the limits are passed, or for a task type that PEFT does not know.
    public init(
        modules: [ModuleShape], baseModel: String? = nil, targetModules: [String] = [], taskType: String? = nil
    ) throws(LoragenError) {
        if let taskType, !Self.taskTypes.contains(taskType) {
            throw LoragenError(
                .invalidArgument,
                "the task type '\(shortened(taskType))'; expected one of \(Self.taskTypes.joined(separator: " "))")
        }
        if modules.isEmpty || modules.count > Self.moduleLimit {
            throw LoragenError(
                .invalidArgument, "a layout of \(modules.count) modules; expected 1 to \(Self.moduleLimit)")
        }
        let sorted = modules.sorted { precedes($0.keyA, $1.keyA) }
        var tensors: [Tensor] = []
        tensors.reserveCapacity(2 * sorted.count)
        var parts: [Parts] = []
        parts.reserveCapacity(sorted.count)
        var offset = 0
        for (i, module) in sorted.enumerated() {
            // The same name twice, be it of different kinds, whose keys differ.
            if i > 0, sorted[i - 1].name == module.name || !precedes(sorted[i - 1].keyA, module.keyA) {
                throw LoragenError(.invalidArgument, "module '\(module.name)' is in the layout twice")
            }
            parts.append(Parts(a: tensors.count, magnitude: module.hasMagnitude ? tensors.count + 2 : nil))
            var list = [(Role.a, module.keyA, module.shapeA), (.b, module.keyB, module.shapeB)]
            if module.hasMagnitude { list.append((.magnitude, module.keyMagnitude, module.shapeMagnitude)) }
            for (role, name, shape) in list {
                // At most 2^44 each, by the limits of ModuleShape.
                let count = shape.reduce(1, *)
                tensors.append(
                    Tensor(name: name, role: role, shape: shape, offset: offset, count: count, module: i))
                offset += count
                if offset > Self.valueLimit {
                    throw LoragenError(
                        .invalidArgument,
                        "the layout has more than \(Self.valueLimit) values at module '\(module.name)'")
                }
            }
        }
        self.modules = sorted
        self.tensors = tensors
        self.parts = parts
        valueCount = offset
        self.baseModel = baseModel
        self.taskType = taskType
        self.targetModules = targetModules.sorted(by: precedes)
    }

    /// The same modules, said to be of another base model and for another task.
    public func with(baseModel: String?, taskType: String?) -> Layout {
        var copy = self
        (copy.baseModel, copy.taskType) = (baseModel, taskType)
        return copy
    }

    /// Other modules of the same base model and for the same task.
    public func holding(_ modules: [ModuleShape], targetModules: [String] = []) throws(LoragenError) -> Layout {
        try Layout(modules: modules, baseModel: baseModel, targetModules: targetModules, taskType: taskType)
    }

    /// The tensor with that PEFT key, `nil` if there is none.
    public func tensor(_ name: String) -> Tensor? {
        var low = 0
        var high = tensors.count
        while low < high {
            let middle = (low + high) / 2
            if precedes(tensors[middle].name, name) { low = middle + 1 } else { high = middle }
        }
        guard low < tensors.count, tensors[low].name.utf8.elementsEqual(name.utf8) else { return nil }
        return tensors[low]
    }

    /// The same modules with other ranks and alpha = rank. `ranks` has one entry for each module.
    public func withRanks(_ ranks: [Int]) throws(LoragenError) -> Layout {
        if ranks.count != modules.count {
            throw LoragenError(.invalidArgument, "\(ranks.count) ranks for \(modules.count) modules")
        }
        var changed: [ModuleShape] = []
        changed.reserveCapacity(modules.count)
        for (module, rank) in zip(modules, ranks) { changed.append(try module.withRank(rank)) }
        return try holding(changed, targetModules: targetModules)
    }

    /// The same modules with one rank.
    public func withRank(_ rank: Int) throws(LoragenError) -> Layout {
        try withRanks([Int](repeating: rank, count: modules.count))
    }

    /// The first way in which another layout differs in its modules, as a sentence for a message; `nil` when adapters of
    /// both have the same tensors. `ignoringRank` leaves rank and alpha out: what re-cutting can make equal.
    public func difference(from other: Layout, ignoringRank: Bool = false) -> String? {
        for (a, b) in zip(modules, other.modules) {
            // Both are sorted: where they part, the name that comes first is the one that the other lacks.
            if a.name != b.name {
                return precedes(b.keyA, a.keyA)
                    ? "it has no module '\(b.name)'" : "it has module '\(a.name)', which is not expected"
            }
            if let difference = a.difference(from: b) { return difference }
            if ignoringRank { continue }
            if a.rank != b.rank { return "module '\(a.name)' has rank \(a.rank) where \(b.rank) is expected" }
            if a.scale != b.scale {
                return "module '\(a.name)' has scale \(a.scale) (alpha \(a.alpha)) where \(b.scale) is expected"
            }
        }
        if modules.count < other.modules.count { return "it has no module '\(other.modules[modules.count].name)'" }
        if modules.count > other.modules.count {
            return "it has module '\(modules[other.modules.count].name)', which is not expected"
        }
        return nil
    }
}
