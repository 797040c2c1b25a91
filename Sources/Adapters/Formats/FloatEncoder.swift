import Tensor

/// Turns float32 values into the bytes of a stored type, a piece at a time.
struct FloatEncoder {
    let type: ElementType
    /// Multiplied in double, then rounded once to float32 and once to the stored type.
    let scale: Double
    /// The tensor, for messages.
    let name: String

    private static let piece = 1 << 15

    /// Throws `.nonFinite` for a value that is not finite, or not any more in `type`.
    func encode(
        _ values: UnsafeBufferPointer<Float>, to sink: SafetensorsWriter.Sink
    ) throws(LoragenError) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.piece * (type.bits / 8))
        var start = 0
        while start < values.count {
            let end = min(values.count, start + Self.piece)
            bytes.removeAll(keepingCapacity: true)
            for i in start..<end {
                let value = scale == 1 ? values[i] : Float(Double(values[i]) * scale)
                if !append(value, to: &bytes) {
                    throw LoragenError(
                        .nonFinite,
                        "tensor '\(shortened(name))': element \(i) is \(values[i]), times \(scale) it has no finite "
                            + "\(type.rawValue)"
                            + (type == .f16 && value.isFinite ? ", whose largest is 65504; use F32 or BF16" : ""))
                }
            }
            try bytes.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            start = end
        }
    }

    private func append(_ value: Float, to bytes: inout [UInt8]) -> Bool {
        switch type {
        case .f16:
            let half = Half.half(value)
            withUnsafeBytes(of: half.littleEndian) { bytes.append(contentsOf: $0) }
            return half & 0x7c00 != 0x7c00
        case .bf16:
            let brain = Half.brain(value)
            withUnsafeBytes(of: brain.littleEndian) { bytes.append(contentsOf: $0) }
            return brain & 0x7f80 != 0x7f80
        case .f64:
            withUnsafeBytes(of: Double(value).bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
        default:
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
        }
        return value.isFinite
    }
}
