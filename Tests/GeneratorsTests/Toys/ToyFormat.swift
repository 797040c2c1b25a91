import Foundation
import Tensor

@testable import Adapters
@testable import Files
@testable import Formats

/// JSON of the layout and all numbers, after a line that tells what it is.
enum ToyFormat {
    static let mark = Array("toy adapter\n".utf8)

    static let format = AdapterFormat(
        name: "toy", code: 1000, suffix: ".toy",
        write: { adapter, path, _ throws(LoragenError) in
            let json: JSONObject = [
                "layout": adapter.layout.json, "values": JSON(adapter.copyValues().map { Double($0) }),
            ]
            let text = mark + Array(try JSON.object(json).text().utf8)
            let file = try AtomicFile(path: path, expectedSize: text.count)
            try text.withUnsafeBytes { bytes in
                Result { () throws(LoragenError) in try file.append(bytes) }
            }.get()
            try file.commit()
        },
        read: { source throws(LoragenError) in
            guard let file = source.file, file.bytes.starts(with: mark) else { return nil }
            defer { withExtendedLifetime(file) {} }
            let text = String(decoding: file.bytes.dropFirst(mark.count), as: UTF8.self)
            let json = try JSON.parse(text, source: source.path)
            return try Adapter(
                layout: Layout(json: json["layout"] ?? .null, source: source.path),
                values: (json["values"]?.array ?? []).compactMap(\.double).map { Float($0) })
        })
}
