import Glibc
import Synchronization

/// A text that a getter hands out, made when it is first asked for; it stays as long as this does. For many threads.
final class LazyText: Sendable {
    /// An address, which may be handed from thread to thread.
    private let address = Mutex<UInt?>(nil)

    func callAsFunction(_ make: () -> String?) -> UnsafePointer<CChar>? {
        let found = address.withLock { address in
            if address == nil, let text = make() { address = UInt(bitPattern: strdup(text)) }
            return address
        }
        return found.flatMap { UnsafePointer(bitPattern: $0) }
    }

    deinit {
        address.withLock { address in
            if let address { free(UnsafeMutableRawPointer(bitPattern: address)) }
        }
    }
}
