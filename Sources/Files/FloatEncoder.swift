import Tensor

/// Turns float32 values into the bytes of a stored type, a piece at a time.
public struct FloatEncoder {
    let type: ElementType
    /// Multiplied in double, then rounded once to float32 and once to the stored type.
    let scale: Double
    /// The tensor, for messages.
    let name: String

    public init(type: ElementType, scale: Double, name: String) {
        self.type = type
        self.scale = scale
        self.name = name
    }

    private static let piece = 1 << 15

    /// Throws `.nonFinite` for a value that is not finite, or not any more in `type`.
    public func encode(
        _ values: UnsafeBufferPointer<Float>, to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        if type == .f32, scale == 1, 1.littleEndian == 1 { return try passOn(values, to: sink) }
        let width = type.bits / 8
        var bytes = [UInt8](repeating: 0, count: min(values.count, Self.piece) * width)
        var start = 0
        while start < values.count {
            let count = min(values.count - start, Self.piece)
            let piece = UnsafeBufferPointer(rebasing: values[start..<(start + count)])
            let bad = bytes.withUnsafeMutableBytes { store(piece, to: $0) }
            if let bad { throw notFinite(values[start + bad], at: start + bad) }
            try bytes.withUnsafeBytes { raw in
                Result { () throws(LoragenError) in try sink(UnsafeRawBufferPointer(rebasing: raw[..<(count * width)]))
                }
            }.get()
            start += count
        }
    }

    /// Values that are stored as they lie in memory: looked at, and handed on where they are.
    private func passOn(
        _ values: UnsafeBufferPointer<Float>, to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        // Long enough for one write, short enough to be in the cache still when it is written.
        let piece = 1 << 18
        for start in stride(from: 0, to: values.count, by: piece) {
            let part = UnsafeBufferPointer(rebasing: values[start..<min(start + piece, values.count)])
            // Zero times anything finite is zero.
            var sum: SIMD16<Float> = .zero
            let whole = part.count & ~15
            let raw = UnsafeRawBufferPointer(part)
            for offset in stride(from: 0, to: 4 * whole, by: 64) {
                sum += raw.loadUnaligned(fromByteOffset: offset, as: SIMD16<Float>.self) * 0
            }
            var rest: Float = sum.sum()
            for i in whole..<part.count { rest += part[i] * 0 }
            if rest != 0, let bad = part.firstIndex(where: { !$0.isFinite }) {
                throw notFinite(part[bad], at: start + bad)
            }
            try sink(raw)
        }
    }

    /// Writes the values; gives the place of the first that is not finite.
    private func store(_ values: UnsafeBufferPointer<Float>, to target: UnsafeMutableRawBufferPointer) -> Int? {
        for (i, original) in values.enumerated() {
            let value = scale == 1 ? original : Float(Double(original) * scale)
            switch type {
            case .f16:
                let half = Half.half(value)
                if half & 0x7c00 == 0x7c00 { return i }
                target.storeBytes(of: half.littleEndian, toByteOffset: 2 * i, as: UInt16.self)
            case .bf16:
                let brain = Half.brain(value)
                if brain & 0x7f80 == 0x7f80 { return i }
                target.storeBytes(of: brain.littleEndian, toByteOffset: 2 * i, as: UInt16.self)
            case .f64:
                if !value.isFinite { return i }
                target.storeBytes(of: Double(value).bitPattern.littleEndian, toByteOffset: 8 * i, as: UInt64.self)
            default:
                if !value.isFinite { return i }
                target.storeBytes(of: value.bitPattern.littleEndian, toByteOffset: 4 * i, as: UInt32.self)
            }
        }
        return nil
    }

    private func notFinite(_ value: Float, at place: Int) -> LoragenError {
        let factor = scale == 1 ? "" : ", times \(scale)"
        let advice = type == .f16 && value.isFinite ? "; the largest F16 is 65504, use F32 or BF16" : ""
        return LoragenError(
            .nonFinite,
            "tensor '\(shortened(name))': element \(place) is \(value)\(factor), which is not finite as "
                + type.rawValue + advice)
    }
}
