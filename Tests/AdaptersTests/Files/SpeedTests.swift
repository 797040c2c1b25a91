import Glibc
import Testing

@testable import Adapters
@testable import Files
@testable import Formats

/// Times in milliseconds of this thread, printed when asked for: `LORAGEN_SPEED=1 swift test -c release ...`.
@Test("Speed of headers, values and forms", .enabled(if: getenv("LORAGEN_SPEED") != nil))
func speed() throws {
    func best(_ name: String, _ body: () throws -> Void) rethrows {
        var best = Double.infinity
        for _ in 0..<20 {
            var (start, end) = (timespec(), timespec())
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
            try body()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
            best = min(best, Double(end.tv_sec - start.tv_sec) * 1e3 + Double(end.tv_nsec - start.tv_nsec) / 1e6)
        }
        print("\(name): \(best) ms")
    }
    let scratch = try Scratch()
    var writer = SafetensorsWriter(metadata: ["format": "pt"])
    for layer in 0..<250 {
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            for part in ["A", "B"] {
                let key = "base_model.model.model.layers.\(layer).self_attn.\(name).lora_\(part).weight"
                try writer.add(key, shape: [4, 8], elements: [Float](repeating: 0, count: 32))
            }
        }
    }
    try writer.write(to: scratch("2000"))
    try best("open 2,000 tensors") { _ = try SafetensorsFile(path: scratch("2000")) }
    try best("2,000 tensors to bytes") { _ = try writer.bytes() }

    var modules: [ModuleShape] = []
    for layer in 0..<8 {
        for name in ["q_proj", "v_proj"] {
            modules.append(
                try ModuleShape(name: "m.layers.\(layer).\(name)", inputs: 2048, outputs: 2048, rank: 16, alpha: 32))
        }
    }
    let layout = try Layout(modules: modules)
    var random = TestRandom(state: 1)
    let adapter = try Adapter(layout: layout, values: (0..<layout.valueCount).map { _ in random.normal() })
    print("\(layout.valueCount) values")
    try best("canonical") { _ = try adapter.canonical() }
    let reference = try adapter.canonical()
    try best("aligned") { _ = try adapter.aligned(to: reference) }
    for type in [ElementType.f32, .f16, .bf16] {
        try best("write \(type)") {
            try adapter.write(to: scratch("\(type)"), format: .safetensors, options: WriteOptions(type: type))
        }
        try best("read \(type)") { _ = try Adapter.read(path: scratch("\(type)")) }
    }
}
