import Tensor

/// An adapter where it is stored, to be read in parts: for adapters that should not be in memory as a whole.
public protocol AdapterReader: Sendable {
    var layout: Layout { get }
    /// Puts values `range` of a tensor, an index into `layout.tensors`, into `target`, which has room for them.
    func read(
        _ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError)
}

extension AdapterReader {
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

extension Adapter {
    /// What is at `path`, opened to be read in parts, with its metadata and the file that has the values, which are
    /// not looked at. `nil` for formats that are read at once: all but PEFT folders and files of this library.
    static func stored(
        path: String, part: LoRAPart, note: (String) throws(LoragenError) -> Void
    ) throws(LoragenError) -> (adapter: any AdapterReader, metadata: [String: String], path: String)? {
        if try PathKind.of(path) == .folder {
            if try MLXFolder.isOne(path) { return nil }
            if try ProductFolder.isOne(path) { return nil }
            let (config, contents) = try PEFTFolder.open(path, part, note: note)
            return (try contents.reader(), contents.metadata(config), contents.file.path)
        }
        guard path.hasSuffix(".safetensors"), try PathKind.of(path) != nil else { return nil }
        let file = try SafetensorsFile(path: path)
        if file.metadata[AdapterFile.layoutKey] == nil { return nil }
        let (adapter, metadata) = try AdapterFile.stored(file)
        return (adapter, metadata, path)
    }
}

extension PEFTFolder {
    /// Opens a folder to be read in parts; the values are not looked at. Throws as `readHeader`.
    public static func reader(path: String) throws(LoragenError) -> any AdapterReader {
        try open(path).contents.reader()
    }
}

extension PEFTTensors {
    /// Experts, whose values are scattered over common tensors, are read at once.
    func reader() throws(LoragenError) -> any AdapterReader {
        let stored = tensors.compactMap { $0 }
        guard stored.count == tensors.count else { return HeldAdapter(adapter: try adapter(metadata: [:])) }
        return StoredAdapter(layout: layout, file: file, tensors: stored)
    }
}

/// An adapter whose tensors are those of a file.
struct StoredAdapter: AdapterReader {
    let layout: Layout
    let file: SafetensorsFile
    let tensors: [SafetensorsTensor]

    func read(
        _ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        try file.read(tensors[tensor], range: range, into: target)
    }
}

/// An adapter in memory.
private struct HeldAdapter: AdapterReader {
    let adapter: Adapter
    var layout: Layout { adapter.layout }

    func read(_ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let values = UnsafeBufferPointer(rebasing: adapter.tensor(at: tensor).values[range])
        for (i, value) in values.enumerated() { target[i] = value }
        withExtendedLifetime(adapter) {}
    }
}

extension SafetensorsFile {
    /// Converts elements `range` of a float tensor to float32 into `target`, which has room for them, and takes their
    /// pages out of memory.
    public func read(
        _ tensor: SafetensorsTensor, range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(LoragenError) {
        guard tensor.type.isReadable, range.lowerBound >= 0, range.upperBound <= tensor.count else {
            throw LoragenError(
                .format,
                "\(path): tensor '\(shortened(tensor.name))' is \(tensor.type.rawValue) with \(tensor.count) elements; "
                    + "expected a float and at least \(range.upperBound)")
        }
        let width = tensor.type.bits / 8
        let source = bytes(of: tensor)
        guard source.count == tensor.count * width else {
            throw LoragenError(.invalidArgument, "\(path): tensor '\(shortened(tensor.name))' is of another file")
        }
        let part = range.lowerBound * width..<range.upperBound * width
        tensor.type.convert(
            UnsafeRawBufferPointer(rebasing: source[part]),
            to: UnsafeMutableBufferPointer(start: target, count: range.count))
        release(tensor, part)
    }

    /// Takes the pages of some bytes of a tensor out of memory; they stay readable.
    public func release(_ tensor: SafetensorsTensor, _ bytes: Range<Int>) {
        let start = dataStart + tensor.begin
        file.release(start + bytes.lowerBound..<start + bytes.upperBound)
    }
}
