import CKernels

/// The number types of tensors: `Float` for work, `Double` for reference. No other type may conform.
public protocol Element: BinaryFloatingPoint, Sendable {}

extension Float: Element {}
extension Double: Element {}

extension Element {
    /// The kernels' name of this type.
    @inline(__always) static var kind: lk_type { MemoryLayout<Self>.size == 4 ? LK_F32 : LK_F64 }
}
