// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Encoders
import Files
import Tensor

/// What a `loragen_encoder` is.
private final class EncoderBox: Sendable {
    let encoder: TextEncoder
    /// The identity in it reads all weights.
    private let description = LazyText()

    init(_ encoder: TextEncoder) { self.encoder = encoder }

    func text() -> UnsafePointer<CChar>? {
        description { try? encoder.description().text() }
    }
}

/// What a `loragen_states` is.
private final class StatesBox {
    let count: Int
    let ids: UnsafePointer<Int32>
    let values: UnsafePointer<Float>
    let pooled: UnsafePointer<Float>
    private let arena = Arena()

    init(_ features: TextEncoder.Features) {
        let arena = arena
        count = features.ids.count
        ids = arena.values(features.ids)
        values = arena.values(features.states.values)
        pooled = arena.values(features.pooled)
    }
}

/// What a `loragen_tokenizer` is.
private final class TokenizerBox: Sendable {
    let tokenizer: Tokenizer

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }
}

/// The encoder of a handle.
func textEncoder(_ handle: OpaquePointer?) throws(LoragenError) -> TextEncoder {
    try object(handle, "encoder", as: EncoderBox.self).encoder
}

@c @implementation
public func loragen_encoder_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ folder: UnsafePointer<CChar>?,
    _ options: UnsafePointer<loragen_encoder_options>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let given = try CAPI.options(options, over: loragen_encoder_options(), "options")
        return EncoderBox(
            try TextEncoder.open(
                try path(folder, "folder"), tokenizer: try optionalPath(given.tokenizer, "tokenizer")))
    }
}

@c @implementation
public func loragen_encoder_width(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: EncoderBox.self)?.encoder.width ?? 0
}

@c @implementation
public func loragen_encoder_state_width(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: EncoderBox.self)?.encoder.stateWidth ?? 0
}

@c @implementation
public func loragen_encoder_layers(_ encoder: OpaquePointer?) -> Int {
    existing(encoder, as: EncoderBox.self)?.encoder.layers ?? 0
}

@c @implementation
public func loragen_encoder_json(_ encoder: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(encoder, as: EncoderBox.self)?.text()
}

@c @implementation
public func loragen_encoder_encode(
    _ encoder: OpaquePointer?, _ texts: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int,
    _ vectors: UnsafeMutablePointer<Float>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let encoder = try textEncoder(encoder)
        if count == 0 { return }
        try check(count, below: 1 << 40, "count")
        guard let texts else { throw nullArgument("texts") }
        guard let vectors else { throw nullArgument("vectors") }
        var all: [String] = []
        for place in 0..<count {
            guard let pointer = texts[place] else {
                throw LoragenError(.invalidArgument, "texts[\(place)] is NULL")
            }
            guard let text = String(validatingCString: pointer) else {
                throw LoragenError(.invalidArgument, "texts[\(place)] is not valid UTF-8")
            }
            all.append(text)
        }
        try encoder.vectors(all).withUnsafeBufferPointer { values in
            if let base = values.baseAddress { vectors.update(from: base, count: values.count) }
        }
    }
}

@c @implementation
public func loragen_encoder_states(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ encoder: OpaquePointer?, _ text: UnsafePointer<CChar>?,
    _ layer: Int32
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let encoder = try textEncoder(encoder)
        let text = try CAPI.text(text, "text")
        guard let features = try encoder.encode([text], layer: layer == -1 ? nil : Int(layer)).first else {
            throw LoragenError(.internalError, "one text gave no features")
        }
        return StatesBox(features)
    }
}

@c @implementation
public func loragen_states_count(_ states: OpaquePointer?) -> Int {
    existing(states, as: StatesBox.self)?.count ?? 0
}

@c @implementation
public func loragen_states_ids(_ states: OpaquePointer?) -> UnsafePointer<Int32>? {
    existing(states, as: StatesBox.self)?.ids
}

@c @implementation
public func loragen_states_values(_ states: OpaquePointer?) -> UnsafePointer<Float>? {
    existing(states, as: StatesBox.self)?.values
}

@c @implementation
public func loragen_states_pooled(_ states: OpaquePointer?) -> UnsafePointer<Float>? {
    existing(states, as: StatesBox.self)?.pooled
}

@c @implementation
public func loragen_states_free(_ states: OpaquePointer?) { release(states, as: StatesBox.self) }

@c @implementation
public func loragen_encoder_free(_ encoder: OpaquePointer?) { release(encoder, as: EncoderBox.self) }

@c @implementation
public func loragen_tokenizer_open(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ folder: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        TokenizerBox(try Tokenizer.open(folder: try path(folder, "folder")))
    }
}

@c @implementation
public func loragen_tokenizer_encode(
    _ tokenizer: OpaquePointer?, _ text: UnsafePointer<CChar>?, _ special: Int32, _ ids: UnsafeMutablePointer<Int32>?,
    _ capacity: Int, _ count: UnsafeMutablePointer<Int>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let tokenizer = try object(tokenizer, "tokenizer", as: TokenizerBox.self).tokenizer
        let found = try tokenizer.encode(try CAPI.text(text, "text"), special: special != 0)
        count?.pointee = found.count
        // A size_t beyond Int.max comes in negative, and is more than any number of ids.
        let room = capacity < 0 ? found.count : min(capacity, found.count)
        if let ids { ids.update(from: found, count: room) }
    }
}

@c @implementation
public func loragen_tokenizer_free(_ tokenizer: OpaquePointer?) { release(tokenizer, as: TokenizerBox.self) }
