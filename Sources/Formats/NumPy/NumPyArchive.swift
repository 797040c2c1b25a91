import Adapters
import Files
import Tensor

/// Adapters as `.npz` files: one array for each tensor under its PEFT key, which `numpy.load` gives back without pickles,
/// and an array of bytes "loragen.json" with the layout and the origin.
public enum NumPyArchive {
    static let noteName = "loragen.json"

    /// Writes one file. Throws `.unsupported` for BF16, which NumPy does not have; `.io`, `.nonFinite` and
    /// `.invalidArgument`.
    public static func write(
        _ adapter: Adapter, to path: String, options: WriteOptions = WriteOptions()
    ) throws(LoragenError) {
        let image = try AdapterImage(adapter, options)
        defer { withExtendedLifetime(image) {} }
        var note: JSONObject = ["layout": image.layout.json]
        note["metadata"] = .object(
            JSONObject(adapter.metadata.sorted { precedes($0.key, $1.key) }.map { ($0.key, .string($0.value)) }))
        let text = Array(try JSON.object(note).text().utf8)
        let noteHeader = try NumPyHeader(type: .u8, shape: [text.count]).bytes()
        // Refused before anything is written.
        _ = try NumPyHeader(type: image.type, shape: []).bytes()
        let size = image.layout.valueCount * (image.type.bits / 8)
        var zip = try ZipWriter(path: path, expectedSize: size)
        try zip.add(noteName + ".npy") { (sink) throws(LoragenError) in
            for part in [noteHeader, text] {
                try part.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
            }
        }
        for (i, tensor) in image.adapter.tensors.enumerated() {
            let header = try NumPyHeader(type: image.type, shape: tensor.shape).bytes()
            let encoder = FloatEncoder(type: image.type, scale: image.factor(of: i), name: tensor.name)
            try zip.add(tensor.name + ".npy") { (sink) throws(LoragenError) in
                try header.withUnsafeBytes { raw in Result { () throws(LoragenError) in try sink(raw) } }.get()
                try encoder.encode(tensor.values, to: sink)
            }
        }
        try zip.commit()
    }

    /// Reads a file that `write` made, or one with the same arrays changed. Throws `.io`; `.format` when arrays or the
    /// note are missing or do not fit; `.unsupported` for compressed members; `.nonFinite`.
    public static func read(path: String) throws(LoragenError) -> Adapter { try read(MappedFile(path: path)) }

    static func read(_ file: MappedFile) throws(LoragenError) -> Adapter {
        defer { withExtendedLifetime(file) {} }
        let zip = try ZipFile(file: file)
        let path = file.path
        var members: [ByteKey: ZipFile.Member] = [:]
        for member in zip.members { members[ByteKey(member.name)] = member }
        guard let note = members[ByteKey(noteName + ".npy")] else {
            throw LoragenError(
                .format,
                "\(path): it has no array '\(noteName)'; expected a file that this library wrote. Without it the scale is "
                    + "not known: save the arrays as a PEFT folder")
        }
        let (header, text) = try array(note, of: zip)
        if header.type != .u8 { throw LoragenError(.format, "\(path): array '\(noteName)' is not of bytes") }
        let source = "\(path): array '\(noteName)'"
        let json = try JSON.parse(text, source: source)
        guard let layoutJSON = json["layout"], let origin = json["metadata"]?.object else {
            throw LoragenError(.format, "\(source): it has no 'layout' or no 'metadata'")
        }
        let layout = try Layout(json: layoutJSON, source: source)
        var metadata: [String: String] = [:]
        for member in origin.members {
            guard let text = member.value.string else {
                throw LoragenError(.format, "\(source): metadata '\(shortened(member.name))' is \(member.value.kind)")
            }
            metadata[member.name] = text
        }
        if members.count != layout.tensors.count + 1,
            let extra = zip.members.first(where: {
                $0.name != note.name
                    && (!$0.name.hasSuffix(".npy") || layout.tensor(String($0.name.dropLast(4))) == nil)
            })
        {
            throw LoragenError(.format, "\(path): member '\(shortened(extra.name))' is not in the file's layout")
        }
        // All before the memory is asked for.
        var arrays: [(header: NumPyHeader, bytes: UnsafeRawBufferPointer)] = []
        for place in layout.tensors {
            guard let member = members[ByteKey(place.name + ".npy")] else {
                throw LoragenError(.format, "\(path): array '\(place.name)' is missing")
            }
            let found = try array(member, of: zip)
            if found.header.shape != place.shape || !found.header.type.isFloat {
                throw LoragenError(
                    .format,
                    "\(path): array '\(place.name)' is \(found.header.type.rawValue) \(found.header.shape); the file's "
                        + "layout says \(place.shape)")
            }
            if found.header.isFortran && place.shape.count != 2 {
                throw LoragenError(
                    .unsupported,
                    "\(path): array '\(place.name)' is in Fortran's order; save numpy.ascontiguousarray of it"
                )
            }
            arrays.append(found)
        }
        let adapter = try Adapter(layout: layout, metadata: metadata) { (target) throws(LoragenError) in
            for (place, (header, bytes)) in Swift.zip(layout.tensors, arrays) {
                let values = UnsafeMutableBufferPointer(rebasing: target[place.range])
                header.type.convert(bytes, to: values)
                if header.isFortran {
                    _ = values.update(
                        fromContentsOf: transposed(
                            UnsafeBufferPointer(values), rows: place.shape[1], columns: place.shape[0]))
                }
            }
        }
        try adapter.checkFinite(source: path)
        return adapter
    }

    private static func array(
        _ member: ZipFile.Member, of zip: ZipFile
    ) throws(LoragenError) -> (header: NumPyHeader, bytes: UnsafeRawBufferPointer) {
        let bytes = try zip.bytes(of: member)
        var reader = ByteReader(bytes, source: "\(zip.path): member '\(shortened(member.name))'")
        let header = try NumPyHeader(&reader, name: member.name)
        let rest = UnsafeRawBufferPointer(rebasing: bytes[reader.position...])
        guard let size = header.type.byteCount(shape: header.shape), size.bytes == rest.count else {
            throw reader.error("\(rest.count) bytes for \(header.type.rawValue) \(header.shape)")
        }
        return (header, rest)
    }
}
