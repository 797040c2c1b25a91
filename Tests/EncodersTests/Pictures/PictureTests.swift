import Foundation
import Tensor
import Testing

@testable import Encoders
@testable import Files

/// Small pictures of every kind and what Pillow and the processors of transformers make of them (Tests/golden/pictures.py).
struct GoldenPictures: Decodable {
    struct Result: Decodable, Equatable {
        var shape: [Int]
        var sha256: String
    }
    struct Case: Decodable {
        var name: String
        var file: Data
        var upright: Result
        var dropped: Result
        var framed: [String: Result]?

        enum CodingKeys: String, CodingKey {
            case name, file, framed
            case upright = "upright on white"
            case dropped = "stored, dropped"
        }
    }
    var pictures: [Case]

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Golden")
    static let path = folder.appendingPathComponent("pictures.json").path
    static let all = try! JSONDecoder().decode(
        GoldenPictures.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    static func processor(_ name: String) throws -> PictureProcessor {
        let json = try JSON.read(path: path)
        return try PictureProcessor(#require(json["processors"]?[name]), source: name)
    }
    static func file(_ name: String) throws -> Data { try #require(all.pictures.first { $0.name == name }).file }
}

extension Picture {
    init(_ data: Data, _ options: PictureOptions = .init()) throws {
        self = try data.withUnsafeBytes { bytes throws in try Picture(file: bytes, name: "test.img", options: options) }
    }

    var result: GoldenPictures.Result {
        var digest = SHA256()
        pixels.withUnsafeBytes { digest.update($0) }
        return GoldenPictures.Result(shape: [height, width, 3], sha256: digest.finish())
    }
}

@Suite struct PictureTests {
    @Test func `every kind of PNG, JPEG and WebP is what Pillow makes of it`() throws {
        var stored = PictureOptions()
        (stored.upright, stored.transparency) = (false, .dropped)
        #expect(GoldenPictures.all.pictures.count > 60)
        for golden in GoldenPictures.all.pictures {
            #expect(try Picture(golden.file).result == golden.upright, "\(golden.name)")
            #expect(try Picture(golden.file, stored).result == golden.dropped, "\(golden.name), as stored")
        }
    }

    @Test func `resized and cropped as the processors do it with Pillow`() throws {
        for golden in GoldenPictures.all.pictures {
            for (name, framed) in golden.framed ?? [:] {
                let picture = try GoldenPictures.processor(name).framed(Picture(golden.file))
                #expect(picture.result == framed, "\(golden.name) by \(name)")
            }
        }
    }

    @Test func `a file that ends early or is damaged is refused, and never read in part`() throws {
        for golden in GoldenPictures.all.pictures where golden.name.hasSuffix("(16, 16)") {
            for share in [0.05, 0.3, 0.6, 0.9] {
                let cut = golden.file.prefix(Int(Double(golden.file.count) * share))
                let error = #expect(throws: LoragenError.self) { try Picture(cut) }
                #expect(error?.message.hasPrefix("test.img: ") == true, "\(golden.name), \(share)")
                #expect(error?.code == .format || error?.code == .unsupported)
            }
        }
        var png = try GoldenPictures.file("png (16, 16)")
        png[png.count / 2] ^= 0x55
        #expect(throws: LoragenError.self) { try Picture(png) }
        for bytes in [Data(), Data([0xff]), Data("GIF89a".utf8), Data(count: 100)] {
            #expect(throws: LoragenError.self) { try Picture(bytes) }
        }
    }

    @Test func `a header that promises more pixels than allowed is refused before anything is allocated`() throws {
        var png = try GoldenPictures.file("png (16, 16)")
        png.replaceSubrange(16..<24, with: [0x00, 0x01, 0x86, 0xa0, 0x00, 0x01, 0x86, 0xa0])
        let error = #expect(throws: LoragenError.self) { try Picture(png) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("100000 x 100000 pixels") == true)
        var small = PictureOptions()
        small.pixelLimit = 560
        let jpeg = try GoldenPictures.file("jpeg (17, 33)")
        #expect(throws: LoragenError.self) { try Picture(jpeg, small) }
        small.pixelLimit = 561
        #expect(try Picture(jpeg, small).width == 17)
    }

    @Test func `raw rows are taken with their stride and must lie within their memory`() throws {
        let bytes = [UInt8]((0..<40).map { UInt8($0) })
        try bytes.withUnsafeBytes { bytes in
            let picture = try Picture(rgb: bytes, width: 2, height: 3, stride: 16)
            #expect(picture.pixels == [0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 32, 33, 34, 35, 36, 37])
            for (width, height, stride) in [
                (2, 4, 16), (0, 1, 3), (1, 0, 3), (2, 2, 5), (2, 3, 18), (1, 2, Int.max), (Int.max, 1, 3), (-1, -1, 3),
            ] {
                #expect(throws: LoragenError.self) {
                    try Picture(rgb: bytes, width: width, height: height, stride: stride)
                }
            }
        }
    }

    @Test func `the same bytes with one thread and with many`() throws {
        let picture = try Picture(GoldenPictures.file("png (16, 16)"))
        let processor = try GoldenPictures.processor("clip")
        let count = Threads.count
        defer { Threads.count = count }
        let all = [1, 2, 5].map { (threads: Int) -> Picture? in
            Threads.count = threads
            return try? processor.framed(picture)
        }
        #expect(all[0] != nil && all[0] == all[1] && all[1] == all[2])
    }

    @Test func `a line of pixels a hundred thousand long costs what is shown of it`() throws {
        let bytes = [UInt8](repeating: 90, count: 300_000)
        let picture = try bytes.withUnsafeBytes { bytes throws in
            try Picture(rgb: bytes, width: 100_000, height: 1, stride: 300_000)
        }
        let framed = try GoldenPictures.processor("clip").framed(picture)
        #expect(framed.width == 224 && framed.height == 224 && framed.pixels.allSatisfy { $0 == 90 })
    }
}

@Suite struct PictureProcessorTests {
    private func processor(_ text: String) throws -> PictureProcessor {
        try PictureProcessor(JSON.parse(text, source: "test"), source: "p.json")
    }

    @Test func `what is not done here is refused by name`() throws {
        for (text, word) in [
            (#"{"image_processor_type": "SamImageProcessor"}"#, "SamImageProcessor"),
            (#"{"image_processor_type": "CLIPImageProcessor", "do_pad": true}"#, "do_pad"),
            (#"{"image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 5}}"#, "longest_edge"),
            (#"{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 0}}"#, "shortest_edge"),
            (#"{"image_processor_type": "CLIPImageProcessor", "resample": 9}"#, "resample"),
            (#"{"image_processor_type": "CLIPImageProcessor", "image_std": [1, 0, 1]}"#, "image_std"),
            (#"{"image_processor_type": "CLIPImageProcessor", "image_mean": [1, 2]}"#, "image_mean"),
            (#"{"image_processor_type": "CLIPImageProcessor", "rescale_factor": "a"}"#, "rescale_factor"),
            ("{}", "image_processor_type"), ("[]", "expected an object"),
        ] {
            let error = #expect(throws: LoragenError.self) { try processor(text) }
            #expect(error?.message.contains(word) == true, "\(text)")
        }
    }

    @Test func `older files: feature extractors and sizes as numbers`() throws {
        let clip = try processor(#"{"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 30}"#)
        #expect(clip.size == .shortestEdge(32) && clip.crop == [30, 30])
        let vit = try processor(#"{"image_processor_type": "ViTImageProcessorFast", "size": 32}"#)
        #expect(vit.size == .exact(height: 32, width: 32) && vit.crop == nil)
    }
}
