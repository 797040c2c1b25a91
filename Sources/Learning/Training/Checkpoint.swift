import Files
import Glibc
import Tensor

/// The file that an unfinished training can be resumed from: a safetensors file that is always whole.
public struct Checkpoint {
    static let format = "loragen.checkpoint"

    let path: String
    /// Identifies corpus, method, settings and seed: a checkpoint of anything else is refused.
    let fingerprint: String

    public init(path: String, fingerprint: String) {
        self.path = path
        self.fingerprint = fingerprint
    }

    /// What a checkpoint file holds.
    struct State {
        fileprivate let file: SafetensorsFile
        /// The stage that was under way.
        let stage: Int
        fileprivate let counters: [Double]
        /// What became of the stages before it.
        let trained: [TrainedStage]

        func restore(_ session: Session) throws(LoragenError) {
            do throws(LoragenError) {
                try session.restore(counters: counters) { (name) throws(LoragenError) in try tensor("run." + name) }
            } catch {
                throw LoragenError(error.code, "\(file.path): \(error.message)")
            }
        }

        /// Restores a stage that was finished before the checkpoint was written.
        func restore(weightsOf stage: any TrainingStage, index: Int) throws(LoragenError) {
            do throws(LoragenError) {
                try stage.module.load { (name) throws(LoragenError) in try tensor("stage\(index).\(name)") }
            } catch {
                throw LoragenError(error.code, "\(file.path): \(error.message)")
            }
            stage.module.setTraining(false)
        }

        private func tensor(_ name: String) throws(LoragenError) -> Tensor<Float>? {
            guard let place = file.tensor(name) else { return nil }
            return Tensor(try file.floats(name), shape: place.shape)
        }
    }

    /// The state to resume from, nil if there is no file. Throws `.mismatch` for a checkpoint of another training.
    func load() throws(LoragenError) -> State? {
        guard access(path, F_OK) == 0 else { return nil }
        let file = try SafetensorsFile(path: path)
        guard file.metadata["format"] == Self.format else {
            throw LoragenError(.format, "\(path): not a checkpoint of this library; it was left as it is")
        }
        guard file.metadata["fingerprint"] == fingerprint else {
            throw LoragenError(
                .mismatch,
                "\(path): a checkpoint of a training with another corpus, method, setting or seed; remove it to start anew"
            )
        }
        guard let stage = file.metadata["stage"].flatMap({ Int($0) }), stage >= 0 else {
            throw LoragenError(.format, "\(path): the checkpoint does not say its stage")
        }
        guard file.metadata["digest"] == Self.digest(of: file, stage: stage) else {
            throw LoragenError(
                .format,
                "\(path): its bytes are not those that were written; remove it to start anew, or take a copy of it from "
                    + "before it was damaged")
        }
        let counters: [Double] = try file.elements("counters")
        let trained = (try JSON.parse(file.metadata["trained"] ?? "", source: "\(path), trained").array ?? [])
            .compactMap(TrainedStage.init(json:))
        guard trained.count == stage else {
            throw LoragenError(.format, "\(path): the checkpoint does not say what became of the stages before its own")
        }
        return State(file: file, stage: stage, counters: counters, trained: trained)
    }

    /// SHA-256 of everything that a training goes on from.
    private static func digest(of file: SafetensorsFile, stage: Int) -> String {
        digest(
            stage: stage, fingerprint: file.metadata["fingerprint"] ?? "", trained: file.metadata["trained"] ?? "",
            file.tensors.map { tensor in (tensor.name, tensor.shape, { $0(file.bytes(of: tensor)) }) })
    }

    private typealias Bytes = ((UnsafeRawBufferPointer) -> Void) -> Void

    private static func digest(
        stage: Int, fingerprint: String, trained: String, _ tensors: [(name: String, shape: [Int], bytes: Bytes)]
    ) -> String {
        var digest = SHA256()
        digest.update("\(fingerprint) \(stage) \(trained)\n")
        for tensor in tensors.sorted(by: { precedes($0.name, $1.name) }) {
            digest.update("\(tensor.name) \(tensor.shape)\n")
            tensor.bytes { digest.update(SHA256.ofParts($0)) }
        }
        return digest.finish()
    }

    /// `finished` are the stages before the session's, and `trained` is what became of them.
    func save(
        _ session: Session, _ finished: [any TrainingStage], _ trained: [TrainedStage]
    ) throws(LoragenError) {
        let text = try JSON.array(trained.map(\.json)).text()
        var tensors = session.state().map { ("run." + $0.name, $0.tensor) }
        for (index, stage) in finished.enumerated() {
            tensors += stage.module.namedTensors().map { ("stage\(index).\($0.name)", $0.tensor) }
        }
        let counters = session.counters
        let digest = Self.digest(
            stage: finished.count, fingerprint: fingerprint, trained: text,
            [("counters", [counters.count], { body in counters.withUnsafeBytes(body) })]
                + tensors.map { name, tensor in (name, tensor.shape, { body in tensor.withUnsafeBytes(body) }) })
        var writer = SafetensorsWriter(metadata: [
            "format": Self.format, "fingerprint": fingerprint, "stage": String(finished.count),
            "trained": text, "digest": digest,
        ])
        try writer.add("counters", shape: [counters.count], elements: counters)
        for (name, tensor) in tensors { try writer.add(name, tensor) }
        try writer.write(to: path)
    }

    /// Called when the training is finished.
    public func remove() { unlink(path) }
}
