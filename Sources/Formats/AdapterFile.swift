import Adapters
import Files
import Tensor

/// Adapters as single `.safetensors` files: PEFT's keys, and in the metadata what PEFT keeps in its config.
public enum AdapterFile {
    /// The metadata key of the layout, as JSON.
    public static let layoutKey = "loragen.layout"

    /// Writes one file. Throws `.io`, `.nonFinite` (also for values beyond the range of F16), and `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        try image.writer(metadata: metadata(adapter.metadata, layout: image.layout)).write(to: path)
    }

    /// What the file's metadata holds.
    static func metadata(_ own: [String: String], layout: Layout) throws(LoragenError) -> [String: String] {
        var metadata = own
        metadata["format"] = "pt"
        metadata[layoutKey] = try layout.json.text()
        return metadata
    }

    /// The layout alone, without reading the values.
    public static func readHeader(path: String) throws(LoragenError) -> Layout {
        try layout(of: SafetensorsFile(path: path))
    }

    /// Reads a file that `write` made. Throws `.io`; `.format` when it has no layout, or other tensors than the layout
    /// says; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter {
        try read(SafetensorsFile(path: path))
    }

    static func read(_ file: SafetensorsFile) throws(LoragenError) -> Adapter {
        let (stored, metadata) = try stored(file)
        let adapter = try Adapter(layout: stored.layout, metadata: metadata) { (target) throws(LoragenError) in
            for (tensor, place) in zip(stored.tensors, stored.layout.tensors) {
                try file.read(tensor, into: UnsafeMutableBufferPointer(rebasing: target[place.range]))
            }
        }
        try adapter.checkFinite(source: file.path)
        return adapter
    }

    /// The adapter to be read in parts; the values are not looked at.
    static func stored(
        _ file: SafetensorsFile
    ) throws(LoragenError) -> (adapter: StoredAdapter, metadata: [String: String]) {
        let path = file.path
        let layout = try layout(of: file)
        if file.tensors.count != layout.tensors.count,
            let extra = file.tensors.first(where: { layout.tensor($0.name) == nil })
        {
            throw LoragenError(.format, "\(path): tensor '\(shortened(extra.name))' is not in the file's layout")
        }
        var metadata = file.metadata
        metadata[layoutKey] = nil
        metadata["format"] = nil
        // All of them before the memory is asked for, so that its size is the file's and not only the layout's word.
        var tensors: [SafetensorsTensor] = []
        tensors.reserveCapacity(layout.tensors.count)
        for place in layout.tensors {
            let tensor = try file.require(place.name)
            if tensor.shape != place.shape {
                throw LoragenError(
                    .format,
                    "\(path): tensor '\(place.name)' is \(tensor.shape); the file's layout says \(place.shape)")
            }
            tensors.append(tensor)
        }
        return (StoredAdapter(layout: layout, file: file, tensors: tensors), metadata)
    }

    private static func layout(of file: SafetensorsFile) throws(LoragenError) -> Layout {
        guard let text = file.metadata[layoutKey] else {
            throw ForeignTensor.refusal(of: file)
        }
        let source = "\(file.path): metadata '\(layoutKey)'"
        return try Layout(json: JSON.parse(text, source: source), source: source)
    }
}
