// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Conditions
import Encoders
import Generators
import Tensor

@c @implementation
public func loragen_train(
    _ corpus: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ options: UnsafePointer<loragen_training_options>?
) -> loragen_status {
    work { () throws(LoragenError) in
        let corpus = try CAPI.corpus(corpus)
        let path = try CAPI.path(path)
        let given = try CAPI.options(options, over: loragen_training_options(), "options")
        var training = TrainingOptions()
        if let method = try optionalText(given.method, "method") { training.method = method }
        if let preset = try optionalText(given.preset, "preset") { training.preset = preset }
        training.settings = try optionalText(given.settings, "settings")
        training.seed = given.seed
        training.memoryLimit = given.memory_limit
        training.checkpoint = try optionalPath(given.checkpoint, "checkpoint")
        guard given.checkpoint_seconds >= 0 && given.checkpoint_seconds.isFinite else {
            throw LoragenError(
                .invalidArgument,
                "checkpoint_seconds is \(given.checkpoint_seconds); expected a finite number, at least 0")
        }
        training.encoders = try ConditionEncoders(given.encoder, given.image_encoder)
        training.condition = try optionalText(given.condition, "condition")
        if given.checkpoint_seconds > 0 { training.checkpointSeconds = given.checkpoint_seconds }
        try trainGenerator(
            corpus: corpus, path: path, options: training, progress: closure(given.progress, given.payload))
    }
}

extension ConditionEncoders {
    /// Of handles that a host gives, or NULL.
    init(_ texts: OpaquePointer?, _ images: OpaquePointer?) throws(LoragenError) {
        self.init()
        if texts != nil { self[TextKind.name] = try textEncoder(texts) }
        if images != nil { self[ImagesKind.name] = try imageEncoder(images) }
    }
}
