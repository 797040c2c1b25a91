import Adapters
import Tensor

/// A normalised vector in consecutive pieces, so that it need not be in memory as a whole.
public protocol VectorStream: AnyObject {
    /// The next numbers, any shape; nil at the end.
    func next() throws(LoragenError) -> Tensor<Float>?
}

/// A vector that is in memory.
public final class WholeVector: VectorStream {
    private var vector: Tensor<Float>?

    public init(_ vector: Tensor<Float>) { self.vector = vector }

    public func next() -> Tensor<Float>? {
        defer { vector = nil }
        return vector
    }
}

/// Turns a normalised vector into the modules of an adapter, one after the other. Holds one piece of the vector and one
/// module.
public final class VectorModules: ModuleStream {
    private let vector: any VectorStream
    private let representation: Representation
    private let group: Int32
    private var piece: Tensor<Float>?
    private var used = 0
    private var module = 0
    /// The digest of what has come so far.
    public private(set) var sketch = Sketch()

    public init(_ vector: any VectorStream, _ representation: Representation, group: Int32) {
        (self.vector, self.representation, self.group) = (vector, representation, group)
    }

    /// The next module as an adapter of its own. Throws `.nonFinite` when its numbers are not finite.
    public func next() throws(LoragenError) -> Adapter {
        let range = representation.space.range(of: module)
        let numbers = try take(range.count)
        let values = representation.normaliser.inverse(numbers, range, group: group)
        guard values.isFinite else {
            throw LoragenError(
                .nonFinite,
                "the method gave numbers that are not finite; the condition may be far from the trained ones")
        }
        let adapter = try representation.space.decode(values, module: module)
        try adapter.checkFinite(source: "the generated adapter")
        module += 1
        return adapter
    }

    /// The next numbers of the vector, `[count]`.
    private func take(_ count: Int) throws(LoragenError) -> Tensor<Float> {
        var parts: [Tensor<Float>] = []
        var missing = count
        while missing > 0 {
            if piece.map({ used == $0.count }) ?? true {
                piece = try vector.next()?.flattened()
                used = 0
            }
            guard let piece else {
                throw LoragenError(.internalError, "the method gave a vector that is \(missing) numbers too short")
            }
            let n = min(missing, piece.count - used)
            let part = n == piece.count ? piece : piece.slice(axis: 0, used..<(used + n))
            part.withUnsafeBufferPointer { sketch.add($0) }
            parts.append(part)
            (used, missing) = (used + n, missing - n)
        }
        return parts.count == 1 ? parts[0] : .concatenate(parts, axis: 0)
    }
}
