extension Adapter {
    /// The factors of one group of a module, as matrices: `ΔW = scale · B · A`.
    public struct Factors {
        /// `[rank / groups, columns]`, row-major.
        public let valuesA: UnsafeBufferPointer<Float>
        /// `[outputs / groups, rank / groups]`, row-major.
        public let valuesB: UnsafeBufferPointer<Float>
        public let module: ModuleShape

        /// `[columns, rank]`, which is A's memory.
        public var aTransposed: SmallMatrix {
            SmallMatrix(transposeOf: valuesA, rows: module.groupRank, columns: module.columns)
        }
        /// `[outputs, rank]`
        public var b: SmallMatrix {
            SmallMatrix(rowMajor: valuesB, rows: module.groupOutputs, columns: module.groupRank)
        }
    }

    /// Valid while the adapter lives.
    public func factors(of module: Int, group: Int) -> Factors {
        Factors(
            valuesA: UnsafeBufferPointer(rebasing: values[layout.range(.a, of: module, group: group)]),
            valuesB: UnsafeBufferPointer(rebasing: values[layout.range(.b, of: module, group: group)]),
            module: layout.modules[module])
    }

    /// `⟨ΔW, ΔW'⟩` of a module and another adapter's of the same sizes, at any ranks: `s s' tr((BᵀB')(A'Aᵀ))`, in double and
    /// without forming a product; magnitudes aside.
    public func inner(_ module: Int, _ other: Adapter, _ otherModule: Int) -> Double {
        let scale = layout.modules[module].scale * other.layout.modules[otherModule].scale
        let sum = (0..<layout.modules[module].groups).reduce(0.0) { total, group in
            let (x, y) = (factors(of: module, group: group), other.factors(of: otherModule, group: group))
            let left = x.b.times(y.b, transposeSelf: true)
            let right = x.aTransposed.times(y.aTransposed, transposeSelf: true)
            return total + zip(left.values, right.values).reduce(0) { $0 + $1.0 * $1.1 }
        }
        return withExtendedLifetime((self, other)) { scale * sum }
    }

    /// `‖scale · B · A‖²` of each module, in double and without forming the product; magnitudes aside.
    public func squaredNorms() -> [Double] { layout.modules.indices.map { max(0, inner($0, self, $0)) } }

    /// Copies DoRA's magnitudes, if the module has them, into a vector of another layout of the same modules.
    public func copyMagnitude(of module: Int, to other: Layout, in target: UnsafeMutableBufferPointer<Float>) {
        guard let from = layout.parts[module].magnitude, let to = other.parts[module].magnitude else { return }
        _ = UnsafeMutableBufferPointer(rebasing: target[other.tensors[to].range])
            .update(fromContentsOf: UnsafeBufferPointer(rebasing: values[layout.tensors[from].range]))
    }
}

extension Layout {
    /// The part of A or B that belongs to one group of a module: rows that lie together.
    func range(_ role: Role, of module: Int, group: Int) -> Range<Int> {
        let place = tensors[role == .a ? parts[module].a : parts[module].b]
        let count = place.count / modules[module].groups
        let start = place.offset + group * count
        return start..<(start + count)
    }

    public func range(
        _ role: Role, of module: Int, group: Int, in values: UnsafeMutableBufferPointer<Float>
    ) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(rebasing: values[range(role, of: module, group: group)])
    }
}
