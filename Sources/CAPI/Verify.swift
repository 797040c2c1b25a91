// swift-format-ignore-file: AlwaysUseLowerCamelCase
// The names are those of include/loragen.h.

import CLoragen
import Hosts
import Learning
import Tensor

/// What a `loragen_verification` is.
final class VerificationBox {
    fileprivate let errors: Int
    fileprivate let warnings: Int
    fileprivate let text: UnsafePointer<CChar>
    fileprivate let json: UnsafePointer<CChar>
    private let arena = Arena()

    init(_ verification: Verification) throws(LoragenError) {
        errors = verification.count(.error)
        warnings = verification.count(.warning)
        self.text = arena.text(verification.text.joined(separator: "\n"))
        self.json = arena.text(try verification.json.text(indent: 2))
    }
}

@c @implementation
public func loragen_verify(
    _ out: UnsafeMutablePointer<OpaquePointer?>?, _ adapter: UnsafePointer<CChar>?, _ base: UnsafePointer<CChar>?,
    _ corpus: UnsafePointer<CChar>?
) -> loragen_status {
    status(making: out) { () throws(LoragenError) in
        let norms = try optionalPath(corpus, "corpus").map { (path) throws(LoragenError) in
            try Corpus(path: path).norms()
        }
        return try VerificationBox(
            try Verification(
                adapter: try path(adapter, "adapter"), base: try optionalPath(base, "base"), norms: norms ?? nil))
    }
}

@c @implementation
public func loragen_verification_errors(_ verification: OpaquePointer?) -> Int {
    existing(verification, as: VerificationBox.self)?.errors ?? 0
}

@c @implementation
public func loragen_verification_warnings(_ verification: OpaquePointer?) -> Int {
    existing(verification, as: VerificationBox.self)?.warnings ?? 0
}

@c @implementation
public func loragen_verification_text(_ verification: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(verification, as: VerificationBox.self)?.text
}

@c @implementation
public func loragen_verification_json(_ verification: OpaquePointer?) -> UnsafePointer<CChar>? {
    existing(verification, as: VerificationBox.self)?.json
}

@c @implementation
public func loragen_verification_free(_ verification: OpaquePointer?) {
    release(verification, as: VerificationBox.self)
}
