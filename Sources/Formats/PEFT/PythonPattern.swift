import CPCRE2
import Files
import Synchronization
import Tensor

/// A regular expression of Python's `re`, as PEFT's configs hold them, matched by PCRE2 after `PythonSyntax` has put it into
/// PCRE2's words. Patterns come from files: memory and steps are bounded, and machine code is never made.
final class PythonPattern: Sendable {
    /// Which of Python's functions is meant.
    enum Extent {
        /// `re.fullmatch`
        case whole
        /// `re.match`
        case start
    }

    /// Steps that a name may take, and that a few names may take when the first are used up: a pattern that backtracks
    /// without end costs its reader less than a second, whatever the number of names.
    private static let (steps, manySteps, manyLimit): (UInt32, UInt32, Int) = (20_000, 2_000_000, 32)
    private static let heapKiB: UInt32 = 32 << 10
    /// PCRE2 compiles at most 64 KiB of code; alternatives that stand side by side are compiled in parts of this size.
    private static let partSize = 8_000

    private let codes: [Code]
    private let ignoresCase: Bool
    /// For messages: where the pattern stands, and what it is.
    private let source: String
    private let slow = Atomic<Int>(0)

    /// A compiled expression. It is never changed, and PCRE2 allows it to many threads at once.
    private final class Code: @unchecked Sendable {
        let pointer: OpaquePointer

        /// `nil` for an expression that is too large for PCRE2.
        init?(_ text: String, _ extent: Extent) {
            let context = pcre2_compile_context_create_8(nil)
            defer { pcre2_compile_context_free_8(context) }
            pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF))
            var options = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C
            if extent == .whole { options |= PCRE2_ENDANCHORED }
            var (failure, place, text) = (Int32(0), 0, text)
            let code = text.withUTF8 { bytes in
                pcre2_compile_8(bytes.baseAddress, bytes.count, options, &failure, &place, context)
            }
            guard let code else { return nil }
            pointer = code
        }

        deinit { pcre2_code_free_8(pointer) }
    }

    /// `source` says where the pattern stands. Throws `.format` for what Python refuses, and `.unsupported` for what is
    /// not read or is too large.
    init(_ text: String, _ extent: Extent = .whole, source: String) throws(LoragenError) {
        self.source = "\(source): the regular expression \"\(shortened(text))\""
        let syntax: PythonSyntax
        do throws(PythonSyntax.Failure) {
            syntax = try PythonSyntax(text)
        } catch {
            throw LoragenError(
                error.isPython ? .format : .unsupported,
                "\(self.source), at character \(error.place): \(error.reason); correct it, or write a list of module names "
                    + "or their endings")
        }
        ignoresCase = syntax.ignoresCase
        var parts: [String] = []
        for alternative in syntax.alternatives {
            if let last = parts.last, last.utf8.count + alternative.utf8.count <= Self.partSize {
                parts[parts.count - 1] += "|" + alternative
            } else {
                parts.append(alternative)
            }
        }
        var codes: [Code] = []
        for part in parts {
            guard let code = Code(part, extent) else {
                throw LoragenError(
                    .unsupported, "\(self.source) is too large; write a list of module names or their endings")
            }
            codes.append(code)
        }
        self.codes = codes
    }

    /// Whether the name matches. Throws `.unsupported` when the pattern takes more steps than it may.
    func matches(_ name: String) throws(LoragenError) -> Bool {
        if ignoresCase, !name.utf8.allSatisfy({ $0 < 0x80 }) {
            throw LoragenError(
                .unsupported,
                "\(source) ignores case, and the module '\(shortened(name))' has letters for which that is not read; write a "
                    + "list of module names or their endings")
        }
        for code in codes {
            var result = run(code, name, steps: Self.steps)
            if Self.exceeded.contains(result), slow.wrappingAdd(1, ordering: .relaxed).newValue <= Self.manyLimit {
                result = run(code, name, steps: Self.manySteps)
            }
            if result >= 0 { return true }
            if result == PCRE2_ERROR_NOMATCH { continue }
            throw LoragenError(
                .unsupported,
                "\(source) takes too many steps at the module '\(shortened(name))'; write a list of module names or their "
                    + "endings")
        }
        return false
    }

    private static let exceeded = [PCRE2_ERROR_MATCHLIMIT, PCRE2_ERROR_DEPTHLIMIT, PCRE2_ERROR_HEAPLIMIT]

    private func run(_ code: Code, _ name: String, steps: UInt32) -> Int32 {
        let (context, data) = (pcre2_match_context_create_8(nil), pcre2_match_data_create_8(1, nil))
        defer {
            pcre2_match_data_free_8(data)
            pcre2_match_context_free_8(context)
        }
        pcre2_set_match_limit_8(context, steps)
        pcre2_set_heap_limit_8(context, Self.heapKiB)
        var name = name
        return name.withUTF8 { bytes in
            pcre2_match_8(code.pointer, bytes.baseAddress, bytes.count, 0, 0, data, context)
        }
    }
}
