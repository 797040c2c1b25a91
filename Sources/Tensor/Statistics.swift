// Of a few numbers.

/// The middle value, nil for none.
public func median(_ values: [Double]) -> Double? {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return nil }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}

/// Linear between the values; NaN of none.
public func quantile(_ values: [Double], _ share: Double) -> Double {
    if values.isEmpty { return .nan }
    let sorted = values.sorted()
    let place = share * Double(sorted.count - 1)
    let low = Int(saturating: place)
    let high = min(low + 1, sorted.count - 1)
    return sorted[low] + (place - Double(low)) * (sorted[high] - sorted[low])
}

/// The median of the distances from the median, as a deviation: 1.4826 of it is σ for normal values.
public func deviation(_ values: [Double]) -> Double {
    let middle = quantile(values, 0.5)
    return 1.4826 * quantile(values.map { abs($0 - middle) }, 0.5)
}
