import CAPI
import CLoragen
import Foundation
import Testing

@Suite("Errors") struct ErrorTests {
    @Test("The version is semantic") func version() {
        #expect(String(cString: loragen_version()).split(separator: ".").count == 3)
    }

    @Test("Every status has a name, also those that do not exist") func names() {
        let known = (0...10).map { String(cString: loragen_status_name($0)) }
        #expect(Set(known).count == 11)
        for status in [-1, 11, Int32.min, Int32.max] {
            #expect(String(cString: loragen_status_name(status)) == "unknown status")
        }
    }

    @Test("A message that is too long is cut between two characters") func cut() {
        for prefix in ["", "x", "xy", "xyz"] {
            var generator: OpaquePointer?
            let path = "/" + prefix + String(repeating: "/€", count: 5000)
            #expect(loragen_generator_open(&generator, path) == LORAGEN_IO)
            let message = String(validatingCString: loragen_last_error())
            #expect(message != nil)
            #expect((message?.utf8.count ?? 0) < 4096)
        }
    }

    @Test("A thread's message is its own") func threads() async {
        var generator: OpaquePointer?
        #expect(loragen_generator_open(&generator, nil) == LORAGEN_INVALID_ARGUMENT)
        let mine = String(cString: loragen_last_error())
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                #expect(String(cString: loragen_last_error()).isEmpty)
                #expect(loragen_set_threads(0) == LORAGEN_INVALID_ARGUMENT)
                continuation.resume()
            }
        }
        #expect(mine.contains("path"))
    }
}

/// Statuses are constants of C's `int` in Swift.
func == (status: loragen_status, constant: Int) -> Bool { Int(status) == constant }
