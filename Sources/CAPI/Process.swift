// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Generators
import Glibc
import Synchronization
import Tensor

let versionText: StaticString = "0.1.0"

@c @implementation
public func loragen_version() -> UnsafePointer<CChar>? {
    text(versionText)
}

/// Texts that were handed out stay; there is a second one only where a program adds to what the library knows.
private let nameTexts = Mutex<[String: UInt]>([:])

@c @implementation
public func loragen_names() -> UnsafePointer<CChar>? {
    guard let text = try? names.text() else { return nil }
    let address = nameTexts.withLock { texts in
        let address = texts[text] ?? UInt(bitPattern: strdup(text))
        texts[text] = address
        return address
    }
    return UnsafePointer(bitPattern: address)
}

@c @implementation
public func loragen_set_log(_ callback: loragen_log_callback?, _ payload: UnsafeMutableRawPointer?) {
    guard let callback else { return Log.set(nil) }
    nonisolated(unsafe) let payload = payload
    Log.set { level, message in
        message.withCString { callback(level, $0, payload) }
    }
}

@c @implementation
public func loragen_set_threads(_ threads: Int32) -> loragen_status {
    status { () throws(LoragenError) in
        guard (1...16).contains(threads) else {
            throw LoragenError(.invalidArgument, "threads is \(threads); expected 1 to 16")
        }
        Threads.count = Int(threads)
    }
}

@c @implementation
public func loragen_threads() -> Int32 {
    Int32(clamping: Threads.count)
}
