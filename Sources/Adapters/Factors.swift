import Tensor

extension Adapter {
    /// The factors of one group of a module, as matrices: `ΔW = scale · B · A`.
    public struct Factors {
        /// `[rank / groups, columns]`, row-major.
        public let valuesA: UnsafeBufferPointer<Float>
        /// `[outputs / groups, rank / groups]`, row-major.
        public let valuesB: UnsafeBufferPointer<Float>
        public let module: ModuleShape

        /// `[columns, rank]`, which is A's memory.
        var aTransposed: SmallMatrix {
            SmallMatrix(transposeOf: valuesA, rows: module.groupRank, columns: module.columns)
        }
        /// `[outputs, rank]`
        var b: SmallMatrix {
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

    /// `‖scale · B · A‖²` of each module, in double and without forming the product; magnitudes aside.
    public func squaredNorms() -> [Double] {
        layout.modules.enumerated().map { i, module in
            (0..<module.groups).reduce(0) { total, group in
                let factors = factors(of: i, group: group)
                let a = factors.aTransposed
                let b = factors.b
                let gramA = a.times(a, transposeSelf: true)
                let gramB = b.times(b, transposeSelf: true)
                let square = zip(gramA.values, gramB.values).reduce(0) { $0 + $1.0 * $1.1 }
                return total + max(0, square) * module.scale * module.scale
            }
        }
    }

    /// Copies DoRA's magnitudes, if the module has them, into a vector of another layout of the same modules.
    func copyMagnitude(of module: Int, to other: Layout, in target: UnsafeMutableBufferPointer<Float>) {
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

    func range(
        _ role: Role, of module: Int, group: Int, in values: UnsafeMutableBufferPointer<Float>
    ) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(rebasing: values[range(role, of: module, group: group)])
    }
}
