import Tensor

@testable import Conditions

/// A word as how often it has each vowel.
struct ToyKind: ConditionKind {
    let name = "vowels"

    func phrase(_ length: Int) -> String { "a word" }

    func numbers(_ bytes: [UInt8]) throws(LoragenError) -> [Float] {
        guard bytes.allSatisfy({ $0 >= 0x61 && $0 <= 0x7a }) else {
            throw LoragenError(.invalidArgument, "\"\(String(decoding: bytes, as: UTF8.self))\" is no word of a to z")
        }
        return "aeiou".utf8.map { vowel in Float(bytes.count { $0 == vowel }) }
    }
}
