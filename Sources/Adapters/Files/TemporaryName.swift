import Glibc
import Tensor

/// Names beside a target that no other process uses.
enum TemporaryName {
    /// Tries names `.loragen-tmp-<hex>` in `folder` until `make` succeeds (a result that is not negative).
    /// Throws `.io` with the system's message when it fails for another reason than the name being taken.
    static func create(
        in folder: String, for path: String, make: (String) -> Int32
    ) throws(LoragenError) -> (name: String, result: Int32) {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<100 {
            let suffix = String(generator.next(), radix: 16)
            let name = joinPath(folder, AtomicFile.temporaryPrefix + suffix)
            let result = make(name)
            if result >= 0 { return (name, result) }
            let number = errno
            if number == EEXIST || number == EINTR { continue }
            throw .system("cannot create a temporary file beside it", path, number)
        }
        throw .system("cannot create a temporary file beside it", path, EEXIST)
    }
}
