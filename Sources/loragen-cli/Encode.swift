import ArgumentParser
import CLoragen
import Files
import Glibc

struct Encode: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn texts or pictures into vectors with an encoder's folder.",
        discussion: """
            The folder is one of Hugging Face's: config.json, safetensors, tokenizer files; BERT, RoBERTa, XLM-RoBERTa, T5, \
            CLIP or static embeddings. Without texts, each line of standard input is one.

              loragen encode all-MiniLM-L6-v2/ "a cat" "a dog"
              loragen encode all-MiniLM-L6-v2/ < texts.txt -o vectors.safetensors
              loragen encode all-MiniLM-L6-v2/ "a cat" --layer 3
              loragen encode all-MiniLM-L6-v2/ "a cat" --ids
              loragen encode all-MiniLM-L6-v2/ --describe

            Names of PNG, JPEG and WebP files are pictures, for the folder of a ViT, DINOv2, CLIP or SigLIP with its \
            preprocessor_config.json:

              loragen encode clip-vit-base-patch32/ cat.jpg dog.png -o vectors.safetensors

            What comes out is one line of JSON for each, in their order.
            """)

    @Argument(help: "The encoder's folder.")
    var folder: String

    @Argument(help: "Texts; none: the lines of standard input.")
    var texts: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Write a safetensors file with the tensor \"vectors\" instead.", valueName: "path"))
    var out: String?

    @Option(help: ArgumentHelp("Print the states of tokens after this layer, 0 the embeddings'.", valueName: "layer"))
    var layer: Int32?

    @Flag(help: "Print token ids, as the tokenizer gives them; no weights are needed.")
    var ids = false

    @Flag(help: "Print what the encoder is, as JSON.")
    var describe = false

    @Option(help: ArgumentHelp("A folder with the tokenizer's files, if they are in another.", valueName: "folder"))
    var tokenizer: String?

    @OptionGroup var computing: Computing

    func validate() throws {
        if [ids, describe, layer != nil, out != nil].filter({ $0 }).count > 1 {
            throw ValidationError("Give one of -o, --layer, --ids and --describe.")
        }
    }

    func run() throws {
        try computing.apply()
        if let out { try Sources(folder, tokenizer).check(writing: [out]) }
        if ids { return try printIDs() }
        if EncodePictures.are(texts) {
            return try EncodePictures(folder: folder, paths: texts).run(layer: layer, out: out)
        }
        let encoder = try withCString(tokenizer) { tokenizer in
            var options = loragen_encoder_options()
            options.struct_size = MemoryLayout<loragen_encoder_options>.size
            options.tokenizer = tokenizer
            return try make { loragen_encoder_open($0, folder, &options) }
        }
        defer { loragen_encoder_free(encoder) }
        if describe { return print(string(loragen_encoder_json(encoder))) }
        if let layer {
            return try forEachText { text in try printStates(encoder, text, layer) }
        }
        if let out { return try write(encoder, to: out) }
        let width = loragen_encoder_width(encoder)
        try forEachBatch { texts in
            let vectors = try vectors(encoder, texts, width: width)
            for index in texts.indices { print(try line(vectors[index * width..<(index + 1) * width])) }
        }
    }

    private func line(_ values: some Sequence<Float>) throws -> String {
        // The shortest text that reads back as the same float32.
        "[" + values.map { "\($0)" }.joined(separator: ",") + "]"
    }

    private func printIDs() throws {
        let tokenizer = try make { loragen_tokenizer_open($0, self.tokenizer ?? folder) }
        defer { loragen_tokenizer_free(tokenizer) }
        try forEachText { text in
            var count = 0
            try call(loragen_tokenizer_encode(tokenizer, text, 1, nil, 0, &count))
            var ids = [Int32](repeating: 0, count: count)
            try call(loragen_tokenizer_encode(tokenizer, text, 1, &ids, ids.count, &count))
            print("[" + ids.map { "\($0)" }.joined(separator: ",") + "]")
        }
    }

    private func printStates(_ encoder: OpaquePointer, _ text: String, _ layer: Int32) throws {
        let states = try make { loragen_encoder_states($0, encoder, text, layer) }
        defer { loragen_states_free(states) }
        let (count, width) = (loragen_states_count(states), loragen_encoder_state_width(encoder))
        guard let values = loragen_states_values(states) else { return }
        var rows: [String] = []
        for row in 0..<count {
            rows.append(try line(UnsafeBufferPointer(start: values + row * width, count: width)))
        }
        print("[" + rows.joined(separator: ",") + "]")
    }

    private func write(_ encoder: OpaquePointer, to path: String) throws {
        let width = loragen_encoder_width(encoder)
        var (all, count) = ([Float](), 0)
        try forEachBatch { texts in
            all += try vectors(encoder, texts, width: width)
            count += texts.count
        }
        var writer = SafetensorsWriter(metadata: ["encoder": string(loragen_encoder_json(encoder))])
        try writer.add("vectors", shape: [count, width], elements: all)
        try writer.write(to: path)
        print("\(path): vectors [\(count), \(width)]")
    }

    private func vectors(_ encoder: OpaquePointer, _ texts: [String], width: Int) throws -> [Float] {
        var vectors = [Float](repeating: 0, count: texts.count * width)
        let copies = texts.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        try call(loragen_encoder_encode(encoder, copies.map { UnsafePointer($0) }, texts.count, &vectors))
        return vectors
    }

    private func forEachText(_ body: (String) throws -> Void) throws {
        try forEachBatch { for text in $0 { try body(text) } }
    }

    private func forEachBatch(_ body: ([String]) throws -> Void) throws {
        if !texts.isEmpty { return try body(texts) }
        guard let input = fdopen(STDIN_FILENO, "r") else { throw Failure(message: "cannot read standard input") }
        var (batch, count) = ([String](), 0)
        while let line = try nextLine(input, count) {
            count += 1
            batch.append(line)
            if batch.count == 256 {
                try body(batch)
                batch = []
            }
        }
        if !batch.isEmpty { try body(batch) }
    }

    /// The next line of standard input without its line feed; a carriage return is part of it.
    private func nextLine(_ input: UnsafeMutablePointer<FILE>, _ before: Int) throws -> String? {
        var (line, capacity): (UnsafeMutablePointer<CChar>?, Int) = (nil, 0)
        defer { free(line) }
        let count = getline(&line, &capacity, input)
        guard count > 0, let line else { return nil }
        var bytes = UnsafeRawBufferPointer(start: line, count: count)
        if bytes.last == 0x0a { bytes = UnsafeRawBufferPointer(rebasing: bytes.dropLast()) }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Failure(message: "line \(before + 1) of standard input is not valid UTF-8")
        }
        return text
    }
}
