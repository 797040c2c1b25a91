import Glibc
import Tensor

/// The weights of one LoRA adapter: a layout and one block of float32 values, which never change.
public final class Adapter: @unchecked Sendable {
    // Safe to share: the block is written before `init` returns and never again.

    /// A tensor in place. The pointer is valid while the adapter lives.
    public struct Tensor {
        public let layout: Layout.Tensor
        public let values: UnsafeBufferPointer<Float>

        public var name: String { layout.name }
        public var shape: [Int] { layout.shape }
    }

    public let layout: Layout
    /// What is known of its origin; becomes metadata in written files. Keys of this library start with "loragen.", those
    /// that come from a PEFT config with "peft.".
    public let metadata: [String: String]
    /// All values, in the order of the layout, aligned to 64 bytes; valid while the adapter lives.
    /// Swift may release an object after its last use by name: hold it with `withExtendedLifetime` while you read.
    public let values: UnsafeBufferPointer<Float>

    private let block: UnsafeMutablePointer<Float>
    /// From here on a control group's limit is asked for too.
    private static let largeBytes = 16 << 20

    /// Makes an adapter whose values `fill` writes; they are zero before. Throws `.memory`, and what `fill` throws.
    public convenience init(
        layout: Layout, metadata: [String: String] = [:],
        fill: (UnsafeMutableBufferPointer<Float>) throws(LoragenError) -> Void
    ) throws(LoragenError) {
        try self.init(layout: layout, fill: fill) { metadata }
    }

    /// The same with metadata that are known when the values are.
    public init(
        layout: Layout, fill: (UnsafeMutableBufferPointer<Float>) throws(LoragenError) -> Void,
        describe: () throws(LoragenError) -> [String: String]
    ) throws(LoragenError) {
        let count = layout.valueCount
        var raw: UnsafeMutableRawPointer?
        // The layout's limit of 2^32 values keeps the product far from overflow.
        let byteCount = (count * MemoryLayout<Float>.stride + 63) & ~63
        if byteCount >= Self.largeBytes {
            // Readers turn or convert a tensor at a time.
            let largest = layout.tensors.reduce(0) { max($0, $1.count) }
            try Memory.require(count + largest, of: Float.self, for: "an adapter of \(count) numbers")
        }
        guard posix_memalign(&raw, 64, max(byteCount, 64)) == 0, let raw else {
            throw LoragenError(.memory, "no memory for an adapter of \(byteCount) bytes")
        }
        let block = raw.initializeMemory(as: Float.self, repeating: 0, count: byteCount / MemoryLayout<Float>.stride)
        do throws(LoragenError) {
            try fill(UnsafeMutableBufferPointer(start: block, count: count))
            metadata = try describe()
        } catch {
            free(raw)
            throw error
        }
        self.block = block
        values = UnsafeBufferPointer(start: block, count: count)
        self.layout = layout
    }

    /// Makes an adapter from its flat vector. Throws `.invalidArgument` when the count is not the layout's.
    public convenience init(
        layout: Layout, values: [Float], metadata: [String: String] = [:]
    ) throws(LoragenError) {
        if values.count != layout.valueCount {
            throw LoragenError(
                .invalidArgument, "\(values.count) values for a layout of \(layout.valueCount)")
        }
        try self.init(layout: layout, metadata: metadata) { target in
            _ = target.update(fromContentsOf: values)
        }
    }

    deinit { free(block) }

    /// The tensor at a place in `layout.tensors`; the place must be one of them.
    public func tensor(at index: Int) -> Tensor {
        let place = layout.tensors[index]
        return Tensor(layout: place, values: UnsafeBufferPointer(rebasing: values[place.range]))
    }

    /// The tensor with that PEFT key, `nil` if there is none.
    public subscript(name: String) -> Tensor? {
        layout.tensor(name).map { Tensor(layout: $0, values: UnsafeBufferPointer(rebasing: values[$0.range])) }
    }

    /// All tensors, in the order of the layout.
    public var tensors: [Tensor] { layout.tensors.indices.map(tensor(at:)) }

    /// A copy of all values.
    public func copyValues() -> [Float] { Array(values) }

    /// The same weights with other metadata; the values are copied.
    public func with(metadata: [String: String]) throws(LoragenError) -> Adapter {
        try Adapter(layout: layout, metadata: metadata) { target in
            _ = target.update(fromContentsOf: values)
        }
    }

    /// Throws `.nonFinite` naming the first tensor and element that is NaN or infinite; `source` names the adapter.
    public func checkFinite(source: String) throws(LoragenError) {
        for place in layout.tensors {
            let part = UnsafeBufferPointer(rebasing: values[place.range])
            // Zero times anything finite is zero: one pass without branches.
            var sum: Float = 0
            for value in part { sum += value * 0 }
            if sum == 0 { continue }
            let index = part.firstIndex { !$0.isFinite } ?? 0
            throw LoragenError(
                .nonFinite,
                "\(source): tensor '\(place.name)': element \(index) is \(part[index]); expected a finite number")
        }
    }
}
