import Foundation
import Testing

/// The files that hosts get: the header, and the library as the linker left it.
@Suite("Library") struct LibraryTests {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [program] + arguments
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }

    @Test("The library shows a host what the header says and needs nothing that a host may lack") func library() throws
    {
        let built = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let library = URL(filePath: built).deletingLastPathComponent().appending(path: "libloragen.so")
        let (status, output) = try run(
            "sh", [root.appending(path: "Tests/hosts/check_library.sh").path, library.path])
        #expect(status == 0, "\(output)")
    }

    @Test("The header is clean C99 and C++17, and its structs lie as version 0 laid them out") func header() throws {
        let include = root.appending(path: "include").path
        let strict = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I\(include)"]
        for arguments in [
            ["gcc", "-std=c99", "-x", "c", "\(include)/loragen.h"],
            ["g++", "-std=c++17", "-x", "c++", "\(include)/loragen.h"],
            ["gcc", "-std=c11", root.appending(path: "Tests/hosts/abi.c").path],
        ] {
            let (status, output) = try run(arguments[0], strict + arguments.dropFirst())
            #expect(status == 0, "\(output)")
        }
    }
}
