import ArgumentParser
import CLoragen
import Files
import Glibc

/// Encoders for conditions in words or by pictures.
struct EncoderFolders: ParsableArguments {
    @Option(
        name: .customLong("encoder"),
        help: ArgumentHelp(
            "For tasks in words or by pictures: the folder of the encoder, as Hugging Face has it (all-MiniLM-L6-v2, CLIP). "
                + "One of each may be given.", valueName: "folder"))
    var folders: [String] = []

    /// Handles that are open while `body` runs; NULL for what no folder is.
    func with<Result>(_ body: (_ texts: OpaquePointer?, _ images: OpaquePointer?) throws -> Result) throws -> Result {
        var (texts, images): (OpaquePointer?, OpaquePointer?)
        defer {
            loragen_encoder_free(texts)
            loragen_image_encoder_free(images)
        }
        for folder in folders {
            // CLIP's folder is both.
            let readsImages = access(joinPath(folder, "preprocessor_config.json"), F_OK) == 0
            let readsTexts = ["tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"]
                .contains { access(joinPath(folder, $0), F_OK) == 0 }
            if readsImages {
                guard images == nil else { throw ValidationError("--encoder \(folder): a second encoder of pictures.") }
                images = try make(about: .generator) { loragen_image_encoder_open($0, folder) }
            }
            if readsTexts || !readsImages {
                guard texts == nil else { throw ValidationError("--encoder \(folder): a second encoder of texts.") }
                texts = try make(about: .generator) { loragen_encoder_open($0, folder, nil) }
            }
        }
        return try body(texts, images)
    }
}
