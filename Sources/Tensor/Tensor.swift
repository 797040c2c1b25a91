import CKernels

/// A dense array of `E` in row-major order. A handle of two references and a shape: copying it is cheap, and writing
/// through one handle never changes another (storage is copied on write).
public struct Tensor<E: Element>: @unchecked Sendable {
    /// Extent of each dimension, outermost first; `[]` is a scalar.
    public let shape: [Int]
    var storage: Storage<E>
    /// Where this value stands in the graph of differentiation; nil for constants.
    var node: Node<E>?

    public var count: Int { storage.count }
    public var rank: Int { shape.count }

    init(storage: Storage<E>, shape: [Int], node: Node<E>? = nil) {
        self.storage = storage
        self.shape = shape
        self.node = node
    }

    /// Copies `values`, whose count must be the product of `shape`.
    public init(_ values: [E], shape: [Int]) {
        precondition(values.count == elementCount(shape), "\(values.count) values for shape \(shape)")
        self = Tensor.make(shape) { to in
            values.withUnsafeBytes { from in
                if let start = from.baseAddress {
                    UnsafeMutableRawPointer(to).copyMemory(from: start, byteCount: from.count)
                }
            }
        }
    }

    /// A vector.
    public init(_ values: [E]) { self.init(values, shape: [values.count]) }

    /// A scalar of shape `[]`.
    public init(_ value: E) { self.init([value], shape: []) }

    /// Memory of somebody else, read only and never copied unless written to; `owner` (a mapped file, say) stays alive
    /// as long as any handle. `memory` must be aligned for `E`.
    public init(borrowing memory: UnsafePointer<E>, shape: [Int], owner: AnyObject) {
        storage = Storage(borrowing: memory, count: elementCount(shape), owner: owner)
        self.shape = shape
        node = nil
    }

    public static func full(_ shape: [Int], _ value: E) -> Tensor {
        make(shape) { lk_fill(E.kind, elementCount(shape), Double(value), $0) }
    }
    public static func zeros(_ shape: [Int]) -> Tensor { full(shape, 0) }
    public static func ones(_ shape: [Int]) -> Tensor { full(shape, 1) }

    /// A tensor whose elements `fill` writes, all of them.
    public static func make(_ shape: [Int], _ fill: (UnsafeMutablePointer<E>) throws -> Void) rethrows -> Tensor {
        let storage = Storage<E>(count: elementCount(shape))
        try fill(storage.base)
        return Tensor(storage: storage, shape: shape)
    }

    /// A copy of the elements, row-major.
    public var values: [E] { withUnsafeBufferPointer { Array($0) } }

    /// The only element.
    public var item: E {
        precondition(count == 1, "item of shape \(shape)")
        return storage.base[0]
    }

    /// One element by its indices, for tests and reports.
    public subscript(_ index: Int...) -> E {
        precondition(index.count == rank, "\(index.count) indices for shape \(shape)")
        var at = 0
        for (i, extent) in zip(index, shape) {
            precondition(i >= 0 && i < extent, "index \(index) outside shape \(shape)")
            at = at * extent + i
        }
        return storage.base[at]
    }

    public func withUnsafeBufferPointer<R>(_ body: (UnsafeBufferPointer<E>) throws -> R) rethrows -> R {
        try withExtendedLifetime(storage) { try body(UnsafeBufferPointer(start: storage.base, count: count)) }
    }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withUnsafeBufferPointer { try body(UnsafeRawBufferPointer($0)) }
    }

    /// Write access for optimisers and loaders; copies first if another handle shares the storage or it is borrowed.
    public mutating func withUnsafeMutableBufferPointer<R>(
        _ body: (UnsafeMutableBufferPointer<E>) throws -> R
    ) rethrows -> R {
        if storage.isBorrowed || !isKnownUniquelyReferenced(&storage) { storage = storage.copy() }
        return try withExtendedLifetime(storage) {
            try body(UnsafeMutableBufferPointer(start: storage.base, count: count))
        }
    }

    /// The object that keeps the elements alive, for handing the memory out without a copy.
    public var owner: AnyObject { storage }

    /// Whether every element is a number.
    public var isFinite: Bool { lk_all_finite(E.kind, count, storage.base) }

    /// The same elements in another element type; a constant.
    public func converted<F: Element>(to type: F.Type = F.self) -> Tensor<F> {
        if let same = detached() as? Tensor<F> { return same }
        return Tensor<F>.make(shape) { to in
            if E.self == Float.self {
                lk_widen(count, UnsafeRawPointer(storage.base), UnsafeMutableRawPointer(to))
            } else {
                lk_narrow(count, UnsafeRawPointer(storage.base), UnsafeMutableRawPointer(to))
            }
        }
    }
}

/// The product of the extents; traps on overflow or a negative extent, which callers have excluded.
func elementCount(_ shape: [Int]) -> Int {
    var count = 1
    for extent in shape {
        precondition(extent >= 0, "negative extent in \(shape)")
        count *= extent
    }
    return count
}

extension Tensor: CustomStringConvertible {
    public var description: String {
        let shown = values.prefix(8).map { "\($0)" }.joined(separator: ", ")
        return "Tensor<\(E.self)> \(shape) [\(shown)\(count > 8 ? ", ..." : "")]"
    }
}
