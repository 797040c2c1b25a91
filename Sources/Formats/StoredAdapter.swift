import Adapters
import Files
import Tensor

extension Adapter {
    /// What is at `path`, opened to be read in parts, with its metadata and the file that has the values, which are
    /// not looked at. `nil` for formats that are read at once: all but PEFT folders and files of this library.
    public static func stored(
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
