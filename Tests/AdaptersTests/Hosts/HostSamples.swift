import Glibc
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

/// Writes what Tests/hosts/adapters.py then loads with PEFT, ONNX Runtime and the reference safetensors. Runs only when
/// that script asks for it: each PEFT folder in $LORAGEN_HOST_SAMPLES/in is written to …/out in every form.
@Test("Samples for hosts", .enabled(if: getenv("LORAGEN_HOST_SAMPLES") != nil))
func hostSamples() throws {
    let root = try #require(getenv("LORAGEN_HOST_SAMPLES").map { String(cString: $0) })
    for name in Scratch.names(root + "/in") {
        let adapter = try Adapter.read(path: root + "/in/" + name)
        let changed = [("canonical", try adapter.canonical()), ("as-read", adapter)]
        for (origin, adapter) in changed {
            for type in [ElementType.f32, .f16, .bf16] {
                for form in [WriteOptions.Form.baked, .kept] {
                    let target = "\(root)/out/\(name)+\(origin)+\(type.rawValue)+\(form)"
                    let options = WriteOptions(type: type, form: form)
                    try adapter.write(to: target, format: .peft, options: options)
                    try adapter.write(to: target + ".safetensors", format: .safetensors, options: options)
                    try adapter.write(to: target + ".onnx", format: .onnx, options: options)
                }
            }
        }
    }
}
