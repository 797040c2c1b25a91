import Tensor

/// An adapter where it is stored, to be read in parts: for adapters that should not be in memory as a whole.
public protocol AdapterReader: Sendable {
    var layout: Layout { get }
    /// Values that are in memory for as long as it lives; the others stay in their file.
    var heldValues: Int { get }
    /// The same for a layout of the same modules, in less memory: with that layout, and without what only opening needed.
    func sharing(_ layout: Layout) -> any AdapterReader
    /// Puts values `range` of a tensor, an index into `layout.tensors`, into `target`, which has room for them.
    func read(
        _ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError)
}

extension AdapterReader {
    public var heldValues: Int { 0 }
    public func sharing(_ layout: Layout) -> any AdapterReader { self }

    /// One module as an adapter of its own.
    public func module(_ index: Int) throws(LoragenError) -> Adapter {
        let alone = try layout.only(index)
        let first = layout.tensors(of: index).lowerBound
        return try Adapter(layout: alone) { (target) throws(LoragenError) in
            guard let base = target.baseAddress else { return }
            for (i, place) in alone.tensors.enumerated() {
                try read(first + i, 0..<place.count, into: base + place.offset)
            }
        }
    }

    /// Throws `.nonFinite` naming the first tensor and element that is NaN or infinite; `source` names the adapter.
    public func checkFinite(source: String) throws(LoragenError) {
        for index in layout.modules.indices { try module(index).checkFinite(source: source) }
    }
}

extension Layout {
    /// The places of a module's tensors in `tensors`.
    public func tensors(of module: Int) -> Range<Int> {
        func first(notBefore module: Int) -> Int {
            var (low, high) = (0, tensors.count)
            while low < high {
                let middle = (low + high) / 2
                if tensors[middle].module < module { low = middle + 1 } else { high = middle }
            }
            return low
        }
        return first(notBefore: module)..<first(notBefore: module + 1)
    }

    /// Where a module's values are in the flat vector.
    public func values(of module: Int) -> Range<Int> {
        let places = tensors[tensors(of: module)]
        return (places.first?.range.lowerBound ?? 0)..<(places.last?.range.upperBound ?? 0)
    }

    /// The layout of one module alone.
    public func only(_ module: Int) throws(LoragenError) -> Layout {
        try holding([modules[module]])
    }
}

extension Adapter {
    /// One module as an adapter of its own.
    public func module(_ index: Int) throws(LoragenError) -> Adapter {
        try Adapter(layout: layout.only(index)) { target in
            _ = target.update(fromContentsOf: values[layout.values(of: index)])
        }
    }
}
