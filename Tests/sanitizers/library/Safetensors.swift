import CAPI
import Files
import Glibc
import Tensor

/// The reader of safetensors by itself, without what an adapter or a generator asks of its tensors: the one reader that
/// is judged against another library's. The rest of the product is fuzzed through include/loragen.h.
///
/// Returns 1 if the bytes are a safetensors file. Every value is then read.
@_cdecl("fuzz_safetensors")
public func fuzzSafetensors(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do throws(LoragenError) {
        let file = try SafetensorsFile(
            file: MappedFile(copying: UnsafeRawBufferPointer(start: start, count: count), name: "input"))
        for tensor in file.tensors {
            if tensor.type.isFloat { _ = try file.floats(tensor.name) }
            _ = file.bytes(of: tensor).reduce(0) { $0 ^ $1 }
        }
        return 1
    } catch {
        return 0
    }
}
