import Files
import Tensor

/// ggml's Q8_0: blocks of 32 elements, a half-precision scale d and 32 signed bytes q, the element is d · q.
enum GGUFBlocks {
    /// Encodes rows of whole blocks as ggml's reference does, each value times `scale` before.
    static func encode(
        _ values: UnsafeBufferPointer<Float>, scale: Double, name: String, to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        let size = GGUFType.q8.block.elements
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: values.count, by: size) {
            let block = values[start..<(start + size)].map { scale == 1 ? $0 : Float(Double($0) * scale) }
            let largest = block.reduce(0) { max($0, abs($1)) }
            let step = largest / 127
            let half = Half.half(step)
            if !block.allSatisfy(\.isFinite) || half & 0x7c00 == 0x7c00 {
                throw LoragenError(
                    .nonFinite,
                    "tensor '\(shortened(name))': an element from \(start) on is not finite, or too large for Q8_0")
            }
            let inverse = step == 0 ? 0 : 1 / step
            bytes.append(number: half)
            // A step below the smallest normal number has an infinite inverse, and its products are beyond a byte.
            for value in block {
                let quotient = (value * inverse).rounded(.toNearestOrAwayFromZero)
                bytes.append(UInt8(bitPattern: max(-127, Int8(saturating: quotient))))
            }
            if bytes.count >= 1 << 16 || start + size >= values.count {
                try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
                bytes.removeAll(keepingCapacity: true)
            }
        }
    }

    /// Decodes into `target`, whose count is that of the blocks' elements.
    static func decode(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableBufferPointer<Float>) {
        let (elements, size) = GGUFType.q8.block
        precondition(target.count % elements == 0 && source.count == target.count / elements * size)
        for block in 0..<(target.count / elements) {
            let start = block * size
            let step = Half.float(
                fromHalf: UInt16(littleEndian: source.loadUnaligned(fromByteOffset: start, as: UInt16.self)))
            for i in 0..<elements {
                let quotient = source.load(fromByteOffset: start + 2 + i, as: Int8.self)
                target[block * elements + i] = step * Float(quotient)
            }
        }
    }
}
