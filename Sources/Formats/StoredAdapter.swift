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

extension Adapter {
    /// What is at `path`, in any format that `read` takes, to be read in parts. PEFT folders and `.safetensors` files of
    /// this library, kohya and diffusers stay where they are, their values unseen; all else is read and held. Throws as
    /// `read`.
    public static func reader(
        path: String, note: (String) throws(LoragenError) -> Void = { Log.info($0) }
    ) throws(LoragenError) -> any AdapterReader {
        if let stored = try stored(path: path, part: LoRAPart(), note: note) { return stored.adapter }
        if path.hasSuffix(AdapterFormat.safetensors.suffix), try PathKind.of(path) == .file {
            let file = try SafetensorsFile(path: path)
            if KohyaFile.recognises(file) { return try KohyaFile.gather(file, note: note).modules.reader() }
            if DiffusersFile.recognises(file) { return try DiffusersFile.gather(file, note: note).modules.reader() }
        }
        return HeldAdapter(adapter: try read(path: path, note: note))
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

    func sharing(_ layout: Layout) -> any AdapterReader {
        layout.difference(from: self.layout) == nil
            ? StoredAdapter(layout: layout, file: file.unlisted, tensors: tensors) : self
    }

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
    var heldValues: Int { layout.valueCount }

    func read(_ tensor: Int, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let values = UnsafeBufferPointer(rebasing: adapter.tensor(at: tensor).values[range])
        for (i, value) in values.enumerated() { target[i] = value }
        withExtendedLifetime(adapter) {}
    }
}
