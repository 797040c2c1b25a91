import Adapters
import Glibc
import Tensor

/// Reads or writes as often as lines come in on stdin, and prints the seconds of each. The driver takes turns with the
/// reference library, so that both see the same disk and cache.
///
///     bench-safetensors write PATH TENSORS COUNT     TENSORS float32 tensors of COUNT values each, synced to the disk
///     bench-safetensors read PATH                    all tensors into memory of their own
///     bench-safetensors header PATH                  open and check alone
@main
struct Main {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3 else { fatalError("bench-safetensors write|read|header PATH [TENSORS COUNT]") }
        let path = arguments[2]
        let body: () throws -> Double
        switch arguments[1] {
        case "write":
            let (tensors, count) = (Int(arguments[3]) ?? 0, Int(arguments[4]) ?? 0)
            let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: tensors * count)
            for i in 0..<values.count { values[i] = Float(i % 4093) * 0.25 }
            body = {
                try seconds {
                    var writer = SafetensorsWriter(metadata: ["format": "pt"])
                    for i in 0..<tensors {
                        let part = UnsafeBufferPointer(rebasing: values[(i * count)..<((i + 1) * count)])
                        try writer.add(name(i), shape: [count / 512, 512], floats: part)
                    }
                    try writer.write(to: path)
                }
            }
        case "read":
            body = {
                var kept: [[Float]] = []
                let time = try seconds {
                    let file = try SafetensorsFile(path: path)
                    kept.reserveCapacity(file.tensors.count)
                    for tensor in file.tensors { kept.append(try file.floats(tensor.name)) }
                }
                guard kept.allSatisfy({ !$0.isEmpty }) else { fatalError("nothing was read") }
                return time
            }
        default: body = { try seconds { _ = try SafetensorsFile(path: path) } }
        }
        while readLine() != nil {
            print(try body())
            fflush(nil)
        }
    }

    static func name(_ i: Int) -> String {
        let module = ["q_proj", "k_proj", "v_proj", "o_proj"][i / 2 % 4]
        return "base_model.model.model.layers.\(i / 8).self_attn.\(module).lora_\(i % 2 == 0 ? "A" : "B").weight"
    }

    static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = now
        try body()
        return now - start
    }

    static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
