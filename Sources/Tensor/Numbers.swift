extension FixedWidthInteger {
    /// The whole part of a computed number, kept within the type's range; 0 for NaN. `Int(x)` ends the process instead.
    public init<F: BinaryFloatingPoint>(saturating x: F) {
        if let whole = Self(exactly: x.rounded(.towardZero)) {
            self = whole
        } else {
            self = x.isNaN ? 0 : x < 0 ? .min : .max
        }
    }
}

/// The index that a component of a name gives, `layers.11`: digits alone, below 2^20, so that one more, or its product
/// with another count, cannot overflow. `nil` for anything else.
public func nameIndex(_ text: some StringProtocol) -> Int? {
    let digits = text.utf8
    guard (1...20).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }), let value = Int(text),
        value < nameIndexLimit
    else { return nil }
    return value
}

/// One more than the largest index that `nameIndex` gives.
public let nameIndexLimit = 1 << 20
