import CLoragen
import COpenBLAS
import Tensor

private let versionText: StaticString = "0.1.0"

@c @implementation
public func loragen_version() -> UnsafePointer<CChar>? {
    UnsafeRawPointer(versionText.utf8Start).assumingMemoryBound(to: CChar.self)
}
