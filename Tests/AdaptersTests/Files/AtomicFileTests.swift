import Glibc
import Tensor
import Testing

@testable import Files

@Suite("Files appear whole or not at all") struct AtomicFileTests {
    @Test("A committed file has its bytes, and nothing is left beside it") func commit() throws {
        let scratch = try Scratch()
        let file = try AtomicFile(path: scratch("a"), expectedSize: 5_000_000)
        try file.append("head")
        try file.append([UInt8](repeating: 7, count: 1_000_000))
        try file.append("tail")
        #expect(scratch.names.allSatisfy { $0.hasPrefix(AtomicFile.temporaryPrefix) })
        try file.commit()
        #expect(scratch.names == ["a"])
        let bytes = try contents(scratch("a"))
        #expect(bytes.count == 1_000_008 && bytes[4] == 7 && bytes.suffix(4) == ArraySlice("tail".utf8))
    }

    @Test("Without a commit the old file stays and the temporary one goes") func abandon() throws {
        let scratch = try Scratch()
        try write("old", to: scratch("a"))
        do {
            let file = try AtomicFile(path: scratch("a"))
            try file.append("new")
        }
        #expect(try contents(scratch("a")) == Array("old".utf8))
        #expect(scratch.names == ["a"])
    }

    @Test("A replaced file keeps its permissions; one that is mapped keeps its content") func replace() throws {
        let scratch = try Scratch()
        try write("old", to: scratch("a"))
        chmod(scratch("a"), 0o600)
        let before = try MappedFile(path: scratch("a"))
        let file = try AtomicFile(path: scratch("a"))
        try file.append("newer")
        try file.commit()
        #expect(withExtendedLifetime(before) { Array(before.bytes) } == Array("old".utf8))
        #expect(try contents(scratch("a")) == Array("newer".utf8))
        var info = stat()
        #expect(stat(scratch("a"), &info) == 0 && info.st_mode & 0o777 == 0o600)
    }

    @Test("A disk that fills up is an error that says so, and leaves nothing", arguments: [ENOSPC, EDQUOT, EIO])
    func diskFull(number: Int32) throws {
        let scratch = try Scratch()
        try write("old", to: scratch("a"))
        var budget = 300_000
        let file = try AtomicFile(
            path: scratch("a"),
            write: { descriptor, bytes, count in
                if budget == 0 {
                    errno = number
                    return -1
                }
                let part = min(count, budget)
                budget -= part
                return Glibc.write(descriptor, bytes, part)
            })
        let error = failure { try file.append([UInt8](repeating: 1, count: 400_000)) }
        #expect(error.code == .io)
        #expect(contains(error.message, scratch("a")) && contains(error.message, systemMessage(number)))
        #expect(contains(error.message, "byte 300000"))
        #expect(scratch.names == ["a"])
        #expect(try contents(scratch("a")) == Array("old".utf8))
        #expect(failure { try file.append([UInt8](repeating: 1, count: 400_000)) }.code == .internalError)
        #expect(failure { try file.commit() }.code == .internalError)
    }

    @Test("Interrupted and partial writes go on") func partialWrites() throws {
        let scratch = try Scratch()
        var calls = 0
        let file = try AtomicFile(
            path: scratch("a"),
            write: { descriptor, bytes, count in
                calls += 1
                if calls % 2 == 0 {
                    errno = EINTR
                    return -1
                }
                return Glibc.write(descriptor, bytes, min(count, 1000))
            })
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        try file.append(bytes)
        try file.commit()
        #expect(try contents(scratch("a")) == bytes)
    }

    @Test("Paths that cannot be written are errors that say why")
    func badPaths() throws {
        let scratch = try Scratch()
        mkdir(scratch("folder"), 0o755)
        try write("x", to: scratch("file"))
        let cases: [(path: String, says: String)] = [
            (scratch("folder"), "it is a folder"), (scratch("none/a"), "No such file"),
            (scratch("file/a"), "Not a directory"), (scratch("b/"), "ends in '/'"), ("", "is empty"),
            (scratch("nul\0a"), "NUL"), (scratch(String(repeating: "n", count: 5000)), "name too long"),
            ("/proc/loragen", "No such file"),
        ]
        for (path, says) in cases {
            let error = failure { _ = try AtomicFile(path: path) }
            #expect(error.code == .io || error.code == .invalidArgument)
            #expect(contains(error.message, says), "\(error.message)")
        }
        #expect(scratch.names == ["file", "folder"])
    }

    @Test("A file size limit is an error, not the signal that would kill the host") func sizeLimit() throws {
        let scratch = try Scratch()
        let file = try AtomicFile(path: scratch("a"), sizeLimit: 1 << 21) { Glibc.write($0, $1, $2) }
        let error = failure { try file.append([UInt8](repeating: 0, count: 1 << 22)) }
        #expect(error.code == .io && contains(error.message, "File too large"))
        #expect(scratch.names.isEmpty)
    }
}

@Suite("Folders appear whole") struct AtomicFolderTests {
    @Test("A new folder appears by one rename") func new() throws {
        let scratch = try Scratch()
        let folder = try AtomicFolder(path: scratch("f/"))
        try folder.add("a") { file throws(LoragenError) in try file.append("1") }
        #expect(scratch.names.count == 1 && scratch.names[0].hasPrefix(AtomicFile.temporaryPrefix))
        try folder.add("b") { file throws(LoragenError) in try file.append("2") }
        try folder.commit()
        #expect(scratch.names == ["f"])
        #expect(Scratch.names(scratch("f")) == ["a", "b"])
    }

    @Test("A folder that is there keeps its other files") func existing() throws {
        let scratch = try Scratch()
        mkdir(scratch("f"), 0o755)
        try write("mine", to: scratch("f/README.md"))
        try write("old", to: scratch("f/a"))
        let folder = try AtomicFolder(path: scratch("f"))
        try folder.add("a") { file throws(LoragenError) in try file.append("new") }
        #expect(try contents(scratch("f/a")) == Array("old".utf8))
        try folder.commit()
        #expect(try contents(scratch("f/a")) == Array("new".utf8))
        #expect(Scratch.names(scratch("f")) == ["README.md", "a"])
    }

    @Test("A folder that is there is exchanged as a whole, and keeps its permissions; with folders in it, file by file")
    func exchanged() throws {
        let scratch = try Scratch()
        for (name, isExchanged) in [("f", true), ("g/", true), ("deep", false), ("link", false)] {
            let path = scratch(name == "link" ? "behind" : name)
            mkdir(path, 0o700)
            if name == "link" { symlink(path, scratch(name)) }
            for (file, text) in [("a", "old"), ("b", "old"), ("README.md", "mine")] {
                try write(text, to: joinPath(path, file))
            }
            if name == "deep" { mkdir(scratch("deep/inside"), 0o755) }
            let before = FileIdentity(path)
            let folder = try AtomicFolder(path: scratch(name))
            for file in ["a", "b"] { try folder.add(file) { file throws(LoragenError) in try file.append("new") } }
            try folder.commit()
            #expect((FileIdentity(path) != before) == isExchanged, "\(name)")
            #expect(try contents(joinPath(path, "a")) == Array("new".utf8))
            #expect(try contents(joinPath(path, "README.md")) == Array("mine".utf8))
            #expect(Scratch.names(path) == (["README.md", "a", "b"] + (name == "deep" ? ["inside"] : [])))
            var info = stat()
            #expect(stat(path, &info) == 0 && info.st_mode & 0o777 == 0o700)
        }
        #expect(scratch.names == ["behind", "deep", "f", "g", "link"])
    }

    @Test("An error in one file leaves the target as it was and nothing beside it") func failing() throws {
        let scratch = try Scratch()
        mkdir(scratch("f"), 0o755)
        try write("old", to: scratch("f/a"))
        do {
            let folder = try AtomicFolder(path: scratch("f"))
            try folder.add("a") { file throws(LoragenError) in try file.append("new") }
            let error = failure {
                try folder.add("b") { file throws(LoragenError) in throw LoragenError(.nonFinite, "NaN in b") }
            }
            #expect(error.code == .nonFinite)
        }
        do {
            var calls = 0
            let full = try AtomicFolder(
                path: scratch("g"),
                write: { descriptor, bytes, count in
                    calls += 1
                    errno = ENOSPC
                    return calls > 1 ? -1 : Glibc.write(descriptor, bytes, count)
                })
            try full.add("a") { file throws(LoragenError) in try file.append("1") }
            let error = failure { try full.add("b") { file throws(LoragenError) in try file.append("1") } }
            #expect(contains(error.message, scratch("g/b")) && contains(error.message, "No space left"))
        }
        #expect(scratch.names == ["f"])
        #expect(Scratch.names(scratch("f")) == ["a"])
        #expect(try contents(scratch("f/a")) == Array("old".utf8))
    }

    @Test("A file or a folder in the way is an error that says so") func inTheWay() throws {
        let scratch = try Scratch()
        try write("x", to: scratch("file"))
        #expect(contains(failure { _ = try AtomicFolder(path: scratch("file")) }.message, "in the way"))
        #expect(failure { _ = try AtomicFolder(path: scratch("none/f")) }.code == .io)
        mkdir(scratch("f"), 0o755)
        mkdir(scratch("f/a"), 0o755)
        do {
            let folder = try AtomicFolder(path: scratch("f"))
            try folder.add("a") { file throws(LoragenError) in try file.append("1") }
            #expect(contains(failure { try folder.commit() }.message, "in the way"))
            #expect(failure { try folder.add("../x") { _ in } }.code == .internalError)
        }
        #expect(scratch.names == ["f", "file"])
    }
}

@Suite("Mapped files") struct MappedFileTests {
    @Test("An empty file has no bytes") func empty() throws {
        let scratch = try Scratch()
        try write("", to: scratch("a"))
        #expect(try MappedFile(path: scratch("a")).size == 0)
    }

    @Test("What is no regular file is refused at once, a named pipe too") func refused() throws {
        let scratch = try Scratch()
        mkfifo(scratch("pipe"), 0o600)
        #expect(contains(failure { _ = try MappedFile(path: scratch("pipe")) }.message, "regular file"))
        #expect(contains(failure { _ = try MappedFile(path: scratch.path) }.message, "folder"))
        #expect(contains(failure { _ = try MappedFile(path: "/dev/zero") }.message, "regular file"))
        #expect(contains(failure { _ = try MappedFile(path: scratch("none")) }.message, "No such file"))
    }
}
