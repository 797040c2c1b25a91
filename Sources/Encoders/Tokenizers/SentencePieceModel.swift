import Files
import Tensor

/// The unigram model of a SentencePiece file (`sentencepiece_model.proto`): its pieces, and the map of its normaliser.
struct SentencePieceModel {
    struct Piece {
        var text = ""
        var score = 0.0
        var kind = 1
    }

    private(set) var pieces: [Piece] = []
    private(set) var charsmap: [UInt8] = []
    private(set) var unknown = 0

    init(path: String) throws(LoragenError) {
        let file = try MappedFile(path: path)
        defer { withExtendedLifetime(file) {} }
        let reader = ProtoReader(bytes: file.bytes, source: path, hint: "Is it a SentencePiece model?")
        if file.size >= 1 << 20 { try Memory.require(8 * Double(file.size), for: path) }
        for field in try reader.fields(in: 0..<file.size) where field.isMessage {
            switch field.number {
            case 1: pieces.append(try Self.piece(field, reader))
            case 2: try Self.check(trainer: field, reader)
            case 3:
                for part in try reader.fields(in: field.body) where part.number == 2 && part.isMessage {
                    charsmap = Array(file.bytes[part.body])
                }
            default: break
            }
        }
        guard let place = pieces.firstIndex(where: { $0.kind == 2 }) else {
            throw LoragenError(.format, "\(path): none of its \(pieces.count) pieces stands for unknown text")
        }
        unknown = place
    }

    private static func piece(_ field: ProtoField, _ reader: ProtoReader) throws(LoragenError) -> Piece {
        var piece = Piece()
        for part in try reader.fields(in: field.body) {
            switch part.number {
            case 1: piece.text = try reader.text(part)
            case 2 where part.body.count == 4:
                var bits: UInt32 = 0
                for (offset, byte) in reader.bytes[part.body].enumerated() {
                    bits |= UInt32(byte) << UInt32(8 * offset)
                }
                let score = Double(Float(bitPattern: bits))
                guard score.isFinite else { throw reader.error("a score that is no number", part.whole.lowerBound) }
                piece.score = score
            case 3 where !part.isMessage: piece.kind = Int(truncatingIfNeeded: part.value)
            default: break
            }
        }
        return piece
    }

    private static func check(trainer field: ProtoField, _ reader: ProtoReader) throws(LoragenError) {
        for part in try reader.fields(in: field.body) where part.number == 3 && part.value != 1 {
            throw LoragenError(
                .unsupported,
                "\(reader.source): its model is of type \(part.value); of SentencePiece models alone, unigram (1) is read. "
                    + "Save the tokenizer as tokenizer.json")
        }
    }
}
