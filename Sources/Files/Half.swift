/// Conversions between float32 and the two 16-bit floats, by their bits: exact one way, to nearest even the other way,
/// subnormals, infinities and NaN included. (`Float16` would call libgcc for every element on CPUs without F16C code.)
public enum Half {
    /// IEEE binary16 to float32, exact.
    @inlinable
    @inline(__always)
    public static func float(fromHalf half: UInt16) -> Float {
        let sign = UInt32(half & 0x8000) << 16
        let magnitude = UInt32(half & 0x7fff)
        if magnitude >= 0x7c00 { return Float(bitPattern: sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13) }
        // Placed 13 bits higher the number is 2^-112 times too small, subnormals too; one product sets that right.
        let value = Float(bitPattern: magnitude << 13) * Float(bitPattern: 0x7780_0000)
        return Float(bitPattern: value.bitPattern | sign)
    }

    /// float32 to IEEE binary16, to nearest even; beyond 65520 it is infinity.
    @inlinable
    @inline(__always)
    public static func half(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
        let magnitude = bits & 0x7fff_ffff
        if magnitude > 0x7f80_0000 {
            return sign | 0x7e00 | UInt16(truncatingIfNeeded: (magnitude >> 13) & 0x3ff)
        }
        if magnitude >= 0x477f_f000 { return sign | 0x7c00 }
        if magnitude < 0x3880_0000 {
            // Below 2^-14: adding 0.5 puts the last bit of a subnormal half at the last bit of the sum, rounded.
            let sum = Float(bitPattern: magnitude) + 0.5
            return sign | UInt16(truncatingIfNeeded: sum.bitPattern &- 0x3f00_0000)
        }
        let rounded = magnitude &+ 0xfff &+ ((magnitude >> 13) & 1)
        return sign | UInt16(truncatingIfNeeded: (rounded &- 0x3800_0000) >> 13)
    }

    /// The 8-bit float with 4 bits of exponent and no infinities ("e4m3fn") to float32, exact.
    @inlinable
    @inline(__always)
    public static func float(fromE4M3 byte: UInt8) -> Float {
        let sign = UInt32(byte & 0x80) << 24
        let magnitude = UInt32(byte & 0x7f)
        if magnitude == 0x7f { return Float(bitPattern: sign | 0x7fc0_0000) }
        // As for halves: placed 20 bits higher it is 2^-120 times too small, subnormals too.
        let value = Float(bitPattern: magnitude << 20) * Float(bitPattern: 0x7b80_0000)
        return Float(bitPattern: value.bitPattern | sign)
    }

    /// bfloat16 to float32, exact.
    @inlinable
    @inline(__always)
    public static func float(fromBrain brain: UInt16) -> Float { Float(bitPattern: UInt32(brain) << 16) }

    /// float32 to bfloat16, to nearest even; NaN stays NaN.
    @inlinable
    @inline(__always)
    public static func brain(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        if bits & 0x7fff_ffff > 0x7f80_0000 { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
        return UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ ((bits >> 16) & 1)) >> 16)
    }
}

extension ElementType {
    /// Whether `convert` reads this type into float32.
    public var isReadable: Bool { isFloat || self == .f8E4M3 || self == .f8E5M2 }

    /// Whether float32 can be stored as this type too.
    public var isFloat: Bool { self == .f32 || self == .f16 || self == .bf16 || self == .f64 }

    /// Converts little-endian elements to float32; f64 is rounded to nearest. `source` holds `target.count` elements of
    /// this type, at any alignment.
    public func convert(_ source: UnsafeRawBufferPointer, to target: UnsafeMutableBufferPointer<Float>) {
        precondition(source.count == target.count * (bits / 8))
        switch self {
        case .f32: UnsafeMutableRawBufferPointer(target).copyMemory(from: source)
        case .f16:
            for i in target.indices {
                target[i] = Half.float(fromHalf: source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        case .bf16:
            for i in target.indices {
                target[i] = Half.float(fromBrain: source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        case .f8E5M2:
            // The upper byte of an IEEE half.
            for i in target.indices { target[i] = Half.float(fromHalf: UInt16(source[i]) << 8) }
        case .f8E4M3:
            for i in target.indices { target[i] = Half.float(fromE4M3: source[i]) }
        case .f64:
            for i in target.indices {
                target[i] = Float(source.loadUnaligned(fromByteOffset: 8 * i, as: Double.self))
            }
        default: preconditionFailure("not a float type; callers ask isReadable")
        }
    }
}

extension ElementType {
    /// The nearest number that the type has, for the 16-bit floats; others are not rounded.
    @inlinable
    public func rounded(_ value: Float) -> Float {
        switch self {
        case .f16: Half.float(fromHalf: Half.half(value))
        case .bf16: Half.float(fromBrain: Half.brain(value))
        default: value
        }
    }
}
