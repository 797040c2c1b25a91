import Adapters
import Generators
import Glibc
import Tensor

/// One reader of files from outside, fed by libFuzzer. A throw is right; a trap, a report of the address sanitiser, a
/// leak, a hang or an allocation that the input does not warrant is a finding.
///
/// The reader is chosen by `LORAGEN_FUZZ_FORMAT`. Readers of memory get the input as it is; those of folders get it as
/// files in `LORAGEN_FUZZ_FOLDER`, best on a RAM disk.
enum Target: String {
    case safetensors, adapter, peft, manifest, packed, generator, gguf, npz, onnx
    case onnxAdapter = "onnx_adapter"
}

private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

private let target: Target = {
    guard let name = environment("LORAGEN_FUZZ_FORMAT"), let target = Target(rawValue: name) else {
        fatalError("LORAGEN_FUZZ_FORMAT names no reader")
    }
    return target
}()
private let folder = environment("LORAGEN_FUZZ_FOLDER") ?? "/dev/shm"
/// Where inputs go that the safetensors reader accepts, for the reference reader to judge; none by default.
private let accepted = environment("LORAGEN_FUZZ_ACCEPTED")
nonisolated(unsafe) private var acceptedCount = 0

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: start, count: count)
    do { try read(bytes) } catch {}
    return 0
}

private func read(_ bytes: UnsafeRawBufferPointer) throws(LoragenError) {
    switch target {
    case .safetensors:
        let file = try SafetensorsFile(file: MappedFile(copying: bytes, name: "input"))
        if let accepted, acceptedCount < 20_000 {
            place(bytes, "\(accepted)/\(acceptedCount)")
            acceptedCount += 1
        }
        for tensor in file.tensors {
            if tensor.type.isFloat { _ = try file.floats(tensor.name) }
            _ = file.bytes(of: tensor).reduce(0) { $0 ^ $1 }
        }
    case .peft:
        // The config, a zero byte, the weights.
        let parts = halves(bytes)
        place(parts.0, folder + "/adapter_config.json")
        place(parts.1, folder + "/adapter_model.safetensors")
        use(try PEFTFolder.read(path: folder))
    case .manifest:
        // Lines about the adapters "a" and "b", which the script has put beside it.
        place(bytes, folder + "/corpus.jsonl")
        _ = Corpus.check(path: folder) { _ in false }
        let corpus = try Corpus(path: folder)
        for i in corpus.entries.indices { use(try corpus.adapter(at: i)) }
    case .packed:
        place(bytes, folder + "/corpus.safetensors")
        let corpus = try Corpus(path: folder + "/corpus.safetensors")
        for i in corpus.entries.indices { use(try corpus.adapter(at: i)) }
    case .generator:
        place(bytes, folder + "/generator.safetensors")
        let generator = try Generator(path: folder + "/generator.safetensors")
        _ = try generator.generate(GenerationRequest())
    case .adapter, .gguf, .onnxAdapter, .npz, .onnx:
        let ending = target == .adapter ? "safetensors" : target.rawValue
        place(bytes, folder + "/adapter." + ending)
        // GGUF has no names of modules without the base's architecture.
        let base = target == .gguf ? "architecture=llama,heads=2,kv-heads=1" : nil
        use(try Adapter.read(path: folder + "/adapter." + ending, base: base))
    }
}

/// What is done with an adapter that was accepted.
private func use(_ adapter: Adapter) {
    let count = adapter.tensors.reduce(0) { $0 + $1.values.count }
    precondition(count == adapter.layout.valueCount, "tensors and layout differ")
    withExtendedLifetime(adapter) { precondition(adapter.values.allSatisfy(\.isFinite), "not finite") }
}

private func halves(_ bytes: UnsafeRawBufferPointer) -> (UnsafeRawBufferPointer, UnsafeRawBufferPointer) {
    let end = bytes.firstIndex(of: 0) ?? bytes.count
    let rest = min(end + 1, bytes.count)
    return (UnsafeRawBufferPointer(rebasing: bytes[..<end]), UnsafeRawBufferPointer(rebasing: bytes[rest...]))
}

private func place(_ bytes: UnsafeRawBufferPointer, _ path: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { fatalError("cannot write \(path)") }
    if write(descriptor, bytes.baseAddress, bytes.count) != bytes.count { fatalError("cannot write \(path)") }
    close(descriptor)
}
