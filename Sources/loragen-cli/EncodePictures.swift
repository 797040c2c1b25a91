import CLoragen
import Files
import Glibc

/// `loragen encode` of pictures.
struct EncodePictures {
    let folder: String
    let paths: [String]

    /// Whether all of the arguments are files with a picture's ending.
    static func are(_ arguments: [String]) -> Bool {
        let endings = [".png", ".jpg", ".jpeg", ".webp"]
        return !arguments.isEmpty
            && arguments.allSatisfy { argument in
                let name = argument.lowercased()
                return endings.contains { name.hasSuffix($0) } && (try? PathKind.of(argument)) == .file
            }
    }

    /// A line of JSON a picture: its vector, or with `layer` the states of its patches. With `out` a safetensors file.
    func run(layer: Int32?, out: String?) throws {
        if let out {
            var sources = Sources(folder)
            for path in paths { sources.add(path) }
            try sources.check(writing: [out])
        }
        let encoder = try make { loragen_image_encoder_open($0, folder) }
        defer { loragen_image_encoder_free(encoder) }
        let width = loragen_image_encoder_width(encoder)
        var all: [Float] = []
        for path in paths {
            if let layer {
                let states = try states(encoder, path, layer)
                let rows = states.map { row in "[" + row.map { "\($0)" }.joined(separator: ",") + "]" }
                print("[" + rows.joined(separator: ",") + "]")
                continue
            }
            var vector = [Float](repeating: 0, count: width)
            try withPicture(path) { picture in
                var pictures: [UnsafePointer<loragen_picture>?] = [picture]
                try call(loragen_image_encoder_encode(encoder, &pictures, 1, &vector))
            }
            if out == nil { print("[" + vector.map { "\($0)" }.joined(separator: ",") + "]") } else { all += vector }
        }
        guard let out, layer == nil else { return }
        var writer = SafetensorsWriter(metadata: ["encoder": string(loragen_image_encoder_json(encoder))])
        try writer.add("vectors", shape: [paths.count, width], elements: all)
        try writer.write(to: out)
        print("\(out): vectors [\(paths.count), \(width)]")
    }

    private func states(_ encoder: OpaquePointer, _ path: String, _ layer: Int32) throws -> [ArraySlice<Float>] {
        let width = loragen_image_encoder_state_width(encoder)
        var values: [Float] = []
        var tokens = 0
        try withPicture(path) { picture in
            try call(loragen_image_encoder_states(encoder, picture, layer, nil, 0, &tokens))
            values = [Float](repeating: 0, count: tokens * width)
            try call(loragen_image_encoder_states(encoder, picture, layer, &values, values.count, &tokens))
        }
        return (0..<tokens).map { values[$0 * width..<($0 + 1) * width] }
    }

    private func withPicture(_ path: String, _ body: (UnsafePointer<loragen_picture>) throws -> Void) throws {
        try path.withCString { path in
            var picture = loragen_picture()
            picture.struct_size = MemoryLayout<loragen_picture>.size
            picture.path = path
            try body(&picture)
        }
    }
}
